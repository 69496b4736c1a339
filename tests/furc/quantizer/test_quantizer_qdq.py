"""The quantized models that are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from quantizer_models import image, images, model, node, normal, residual, run, sqnr_db, uneven_depthwise

from furc.onnx.graph import Array, Graph
from furc.quantizer import (
    CalibrationMethod,
    Calibrator,
    QuantizeOptions,
    calibrate,
    is_calibrated,
    optimize_model,
    quantize,
    quantize_model,
    ranges_of,
)
from isa.errors import QuantizeError, SourceError


def quantized(made: onnx.ModelProto, feeds: list[dict[str, Array]] | None = None) -> Graph:
    ranges = calibrate(made, feeds or images(4))
    written = onnx.load_model_from_string(quantize(made, ranges))
    onnx.checker.check_model(written, full_check=True)
    return Graph(written)


def grid_of(graph: Graph, name: str) -> tuple[float, int]:
    """Scale and zero point of the tensor `name`."""
    return float(graph.constants[f"{name}_scale"]), int(graph.constants[f"{name}_zero"])


def stored(graph: Graph) -> set[str]:
    return {n.output.removesuffix("_quantized") for n in graph.nodes if n.op == "QuantizeLinear"}


def test_the_result_is_close_to_float_and_keeps_the_interface() -> None:
    made = residual()
    written = quantized(made).model()
    assert [i.name for i in written.graph.input] == ["x"] and [o.name for o in written.graph.output] == ["y"]
    assert sqnr_db(run(made, image(9))[0], run(written, image(9))[0]) > 25


def test_results_that_only_a_clamp_reads_are_not_stored() -> None:
    graph = quantized(residual())
    assert stored(graph) == {
        "x", "r1", "r2", "c3", "sum", "gate", "silu", "pool", "mean", "both", "global", "flat", "logits", "y",
    }  # fmt: skip


def test_moved_data_keeps_its_grid_and_concat_shares_one() -> None:
    graph = quantized(residual())
    assert grid_of(graph, "pool") == grid_of(graph, "silu")
    assert grid_of(graph, "mean") == grid_of(graph, "both") != grid_of(graph, "pool")
    assert grid_of(graph, "flat") == grid_of(graph, "global")


def test_sigmoid_and_softmax_cover_zero_to_one() -> None:
    graph = quantized(residual())
    for name in ("gate", "y"):
        assert grid_of(graph, name) == (float(np.float32(1 / 255)), -128)


def test_weights_are_symmetric_per_channel_and_bias_is_int32() -> None:
    graph = quantized(residual())
    assert graph.constants["w1_quantized"].dtype == np.int8 and graph.constants["w1_scale"].shape == (8,)
    assert np.abs(graph.constants["w1_quantized"].astype(int)).max(axis=(1, 2, 3)).tolist() == [127] * 8
    assert not graph.constants["w1_zero"].any() and graph.constants["w4_scale"].shape == ()
    assert graph.constants["b1_quantized"].dtype == np.int32
    np.testing.assert_array_equal(graph.constants["b1_scale"], graph.constants["x_scale"] * graph.constants["w1_scale"])


def test_constant_operands_are_quantized_on_their_own_grid() -> None:
    constants = {"k": normal(0, 1, 3, 12, 12)}
    graph = quantized(
        model([node("Mul", ["x", "k"], "m"), node("Add", ["m", "k"], "y")], {"x": (1, 3, 12, 12)}, ["y"], constants)
    )
    stored_constants = [v for n, v in graph.constants.items() if n.startswith("k") and n.endswith("_quantized")]
    assert [v.dtype for v in stored_constants] == [np.int8, np.int8]


def test_conv_transpose_weights_have_scales_along_axis_one() -> None:
    constants = {"w": normal(1, 4, 3, 3, 3), "b": normal(2, 6)}
    made = model(
        [node("ConvTranspose", ["x", "w", "b"], "y", group=2, strides=[2, 2])], {"x": (1, 4, 5, 5)}, ["y"], constants
    )
    graph = quantized(made, images(3, (1, 4, 5, 5)))
    (dequantize,) = [n for n in graph.nodes if n.output == "w_dequantized"]
    assert graph.constants["w_scale"].shape == (3,) and dequantize.get("axis") == 1
    feed = image(7, (1, 4, 5, 5))
    assert sqnr_db(run(made, feed)[0], run(graph.model(), feed)[0]) > 25


def test_operators_that_are_not_quantized_stay_in_float() -> None:
    nodes = [node("Relu", ["x"], "r"), node("Sin", ["r"], "s"), node("Cos", ["s"], "c"), node("Relu", ["c"], "y")]
    graph = quantized(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], {}))
    assert stored(graph) == {"x", "r", "c", "y"}


def test_shared_weights_are_quantized_for_each_reader() -> None:
    constants = {"w": normal(1, 3, 3, 1, 1), "b": normal(2, 3)}
    nodes = [node("Conv", ["x", "w", "b"], "a"), node("Conv", ["a", "w", "b"], "y")]
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = quantized(made)
    biases = {n.inputs[2] for n in graph.nodes if n.op == "Conv"}
    assert len(biases) == 2
    assert sqnr_db(run(made, image(9))[0], run(graph.model(), image(9))[0]) > 25


def test_an_output_that_others_read_and_an_input_that_is_an_output() -> None:
    nodes = [node("Conv", ["x", "w"], "y"), node("Relu", ["y"], "z")]
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y", "z"], {"w": normal(1, 3, 3, 1, 1)})
    graph = quantized(made)
    assert stored(graph) == {"x", "y", "z"} and graph.outputs == ["y", "z"]
    for wanted, found in zip(run(made, image(9)), run(graph.model(), image(9)), strict=True):
        assert sqnr_db(wanted, found) > 25


def test_zero_empty_and_constant_tensors_quantize() -> None:
    constants = {"w": np.zeros((4, 3, 1, 1), np.float32), "b": np.array([0, 1, -2, 3], np.float32)}
    nodes = [node("Conv", ["x", "w", "b"], "c"), node("Relu", ["c"], "y")]
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = quantized(made, [{"x": np.zeros((1, 3, 12, 12), np.float32)}])
    assert all((v > 0).all() for n, v in graph.constants.items() if n.endswith("_scale"))
    np.testing.assert_allclose(run(graph.model(), image())[0], run(made, image())[0], atol=0.02)


def test_a_huge_bias_beside_tiny_weights_fits_into_int32() -> None:
    constants = {"w": np.full((1, 3, 1, 1), 1e-6, np.float32), "b": np.array([1e5], np.float32)}
    graph = quantized(model([node("Conv", ["x", "w", "b"], "y")], {"x": (1, 3, 12, 12)}, ["y"], constants))
    bias = graph.constants["b_quantized"].astype(np.float64) * graph.constants["b_scale"]
    np.testing.assert_allclose(bias, [1e5], rtol=1e-6)


def test_names_that_the_model_already_has_are_not_taken() -> None:
    constants = {"x_scale": normal(0, 1, 3, 1, 1), "y_quantized": normal(1, 1, 3, 1, 1)}
    nodes = [node("Mul", ["x", "x_scale"], "m"), node("Add", ["m", "y_quantized"], "y")]
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = Graph(onnx.load_model_from_string(quantize(made, calibrate(made, images(2)))))
    assert sqnr_db(run(made, image(9))[0], run(graph.model(), image(9))[0]) > 25


def test_a_quantized_model_is_refused() -> None:
    twice = quantized(residual()).model()
    with pytest.raises(QuantizeError) as caught:
        quantize(twice, {})
    assert caught.value.name == "AlreadyQuantized" and "x/QuantizeLinear" in str(caught.value)
    with pytest.raises(QuantizeError, match="the model already holds QuantizeLinear"):
        Calibrator(twice, "MIN_MAX_ASYM")


def test_missing_and_bad_ranges_name_the_tensor() -> None:
    ranges = calibrate(residual(), images(1))
    with pytest.raises(QuantizeError, match="the ranges have no entry for tensor 'c3'"):
        quantize(residual(), {n: r for n, r in ranges.items() if n != "c3"})
    with pytest.raises(QuantizeError, match=r"tensor 'c3' has the range \[nan, 1.0\]"):
        quantize(residual(), {**ranges, "c3": (float("nan"), 1.0)})


def test_the_calibrated_form_of_an_activation_behind_moved_data_gives_the_same_int8_model() -> None:
    """A SiLU has its minimum between values: one form had told it from all its results, the other from some."""
    constants: dict[str, Array] = {"w": 0.4 * normal(1, 8, 3, 3, 3), "b": np.full(8, 1.2, np.float32)}
    constants |= {"v": normal(2, 4, 8, 1, 1), "shape": np.array([1, 8, 32, 128])}
    nodes = [
        node("Conv", ["x", "w", "b"], "u", pads=[1] * 4), node("Reshape", ["u", "shape"], "t"),
        node("Sigmoid", ["t"], "g"), node("Mul", ["t", "g"], "a"), node("Conv", ["a", "v"], "y"),
    ]  # fmt: skip
    made, feeds = model(nodes, {"x": (1, 3, 64, 64)}, ["y"], constants), images(16, (1, 3, 64, 64))
    plain, ranged = (quantize_model(made, feeds, QuantizeOptions(form=form)) for form in ("qdq", "calibrated"))
    wanted, found = Graph(plain).constants, Graph(onnx.load_model_from_string(quantize(ranged))).constants
    assert wanted.keys() == found.keys()
    assert all(np.array_equal(value, found[name]) for name, value in wanted.items())


def test_the_calibrated_form_gives_the_same_int8_model() -> None:
    ranges = calibrate(residual(), images(4))
    calibrated = onnx.load_model_from_string(quantize(residual(), ranges, form="calibrated"))
    assert is_calibrated(calibrated) and not any("Quantize" in n.op_type for n in calibrated.graph.node)
    assert ranges_of(calibrated) == ranges
    direct, by_metadata = (
        Graph(onnx.load_model_from_string(quantize(residual(), ranges))),
        Graph(onnx.load_model_from_string(quantize(calibrated))),
    )
    assert direct.constants.keys() == by_metadata.constants.keys()
    for name, value in direct.constants.items():
        np.testing.assert_array_equal(value, by_metadata.constants[name])


def test_both_forms_agree_with_every_option_on() -> None:
    options = {"method": "MSE_ASYM", "equalize": True, "bias_correction": True, "adaround": True}
    direct = quantize_model(uneven_depthwise(), images(8), QuantizeOptions(**options))  # type: ignore[arg-type]
    calibrated = quantize_model(uneven_depthwise(), images(8), QuantizeOptions(**options, form="calibrated"))  # type: ignore[arg-type]
    again = onnx.load_model_from_string(quantize(calibrated))
    np.testing.assert_array_equal(run(direct, image(9))[0], run(again, image(9))[0])


def test_metadata_that_is_no_mapping_is_an_error() -> None:
    made = optimize_model(residual())
    onnx.helper.set_model_props(made, {"FurisoaAI.CalibrationResult": "- 1"})
    with pytest.raises(QuantizeError, match="is not a mapping"):
        quantize(made)
    with pytest.raises(QuantizeError, match="holds no calibrated ranges"):
        quantize(residual())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_typed_inputs_take_stored_values(dtype: type) -> None:
    plain = QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM)
    typed = QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM, input_dtype=np.dtype(dtype).name)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 12))
    data = [{"x": np.full((1, 3, 12, 12), v, np.float32)} for v in (0, 1)] + [{"x": (pixels / 255).astype(np.float32)}]
    by_float = run(quantize_model(residual(), data, plain), {"x": (pixels / 255).astype(np.float32)})
    values = pixels.astype(np.uint8) if dtype is np.uint8 else (pixels - 128).astype(np.int8)
    by_value = run(quantize_model(residual(), data, typed), {"x": values})
    np.testing.assert_array_equal(by_float[0], by_value[0])


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 1000), channels=st.integers(1, 6), kernel=st.sampled_from([1, 3]), clamp=st.booleans())
def test_random_convs_quantize_within_the_noise_of_int8(seed: int, channels: int, kernel: int, clamp: bool) -> None:
    constants = {"w": normal(seed, channels, 3, kernel, kernel), "b": normal(seed + 1, channels)}
    nodes = [node("Conv", ["x", "w", "b"], "c" if clamp else "y")] + ([node("Relu", ["c"], "y")] if clamp else [])
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = quantized(made)
    exact, found = run(made, image(seed)), run(graph.model(), image(seed))
    low, high = float(exact[0].min()), float(exact[0].max())
    weights = graph.constants["w_quantized"]
    assert weights.min() >= -127
    bound = 2.5 * grid_of(graph, "y")[0] + 0.02 * (high - low) + 1e-6
    outside = (exact[0] < calibrated_low(graph)) | (exact[0] > calibrated_high(graph))
    assert (np.abs(exact[0] - found[0])[~outside] <= bound).all()


def calibrated_low(graph: Graph) -> float:
    scale, zero = grid_of(graph, "y")
    return (-128 - zero) * scale


def calibrated_high(graph: Graph) -> float:
    scale, zero = grid_of(graph, "y")
    return (127 - zero) * scale


def test_initializers_that_are_stored_are_small() -> None:
    written = quantized(residual()).model()
    floats = [numpy_helper.to_array(i) for i in written.graph.initializer if i.data_type == onnx.TensorProto.FLOAT]
    assert max(v.size for v in floats) <= 16  # scales and clip bounds, no weights


def test_a_path_and_no_options_are_enough(tmp_path: Path) -> None:
    made = residual()
    onnx.save(made, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    expected = quantize_model(residual(), images(4)).SerializeToString(deterministic=True)
    for path in (tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        assert quantize_model(path, images(4)).SerializeToString(deterministic=True) == expected
    with pytest.raises(SourceError, match="no such file"):
        quantize_model(tmp_path / "n.onnx", images(4))
