"""Editing inputs and outputs, and the older names."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from quantizer_models import image, images, model, node, normal, residual, run

from furc.quantizer import (
    ModelEditor,
    TensorType,
    build_calibration_model,
    calibrate,
    calibrate_with_random_input,
    get_output_names,
    get_pure_input_names,
    optimize,
    post_training_quantization,
    quantize,
)
from isa.errors import QuantizeError


def quantized(made: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.load_model_from_string(quantize(made, calibrate(made, images(4))))


def conv(pads: int = 0) -> onnx.ModelProto:
    constants = {"w": normal(1, 4, 3, 3, 3), "b": normal(2, 4)}
    return model([node("Conv", ["x", "w", "b"], "y", pads=[pads] * 4)], {"x": (1, 3, 12, 12)}, ["y"], constants)


def test_names() -> None:
    assert get_pure_input_names(residual()) == ["x"] and get_output_names(residual()) == ["y"]


def test_an_output_becomes_its_stored_values() -> None:
    editor = ModelEditor(quantized(conv()))
    by_float = run(editor.model, image())[0]
    editor.convert_output_type("y", TensorType.INT8)
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in editor.model.graph.initializer}
    stored = run(editor.model, image())[0]
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(
        (stored - constants["y_zero_int8"].astype(np.float32)) * constants["y_scale"], by_float
    )
    onnx.checker.check_model(editor.model, full_check=True)


def test_an_output_range_sets_what_the_values_stand_for() -> None:
    editor = ModelEditor(quantized(residual()))
    by_float = run(editor.model, image())[0]
    editor.convert_output_type("y", "uint8", (0.0, 255.0))
    np.testing.assert_array_equal(run(editor.model, image())[0], np.rint(by_float).astype(np.uint8))


def test_an_output_that_others_read_can_be_converted() -> None:
    nodes = [node("Conv", ["x", "w"], "y"), node("Relu", ["y"], "z")]
    made = quantized(model(nodes, {"x": (1, 3, 12, 12)}, ["y", "z"], {"w": normal(1, 3, 3, 1, 1)}))
    editor = ModelEditor(made)
    editor.retype_as("y", TensorType.UINT8)
    editor.retype_as("x", TensorType.UINT8)
    stored, z = run(editor.model, {"x": np.full((1, 3, 12, 12), 7, np.uint8)})
    assert stored.dtype == np.uint8 and z.dtype == np.float32
    onnx.checker.check_model(editor.model, full_check=True)


def test_wrong_names_and_float_models_are_refused() -> None:
    with pytest.raises(QuantizeError, match="there is no input 'q'"):
        ModelEditor(quantized(conv())).convert_input_type("q", TensorType.UINT8)
    with pytest.raises(QuantizeError, match="there is no output 'q'"):
        ModelEditor(quantized(conv())).convert_output_type("q", TensorType.UINT8)
    typed = ModelEditor(quantized(conv()))
    typed.retype_as("x", TensorType.UINT8)
    with pytest.raises(QuantizeError, match="input 'x' is not read by one QuantizeLinear"):
        typed.convert_input_type("x", TensorType.UINT8)


@pytest.mark.parametrize("name", ["x", "y"])
def test_stored_values_do_not_become_floats_again(name: str) -> None:
    """It had been accepted, and nothing was done; of what is float there is nothing to do."""
    editor = ModelEditor(quantized(conv()))
    before = editor.model.SerializeToString(deterministic=True)
    editor.retype_as(name, TensorType.FLOAT32)
    assert editor.model.SerializeToString(deterministic=True) == before
    editor.retype_as(name, TensorType.UINT8)
    with pytest.raises(QuantizeError, match=f"'{name}' is stored values already"):
        editor.retype_as(name, TensorType.FLOAT32)


def test_a_type_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(QuantizeError) as raised:
        ModelEditor(quantized(conv())).convert_input_type("x", "uint16")
    assert raised.value.name == "BadOption" and "uint8, int8, float32" in str(raised.value)


@pytest.mark.parametrize("given", ["ab", "-1, 1", 3.0, (1.0,), (0.0, 1.0, 2.0), (0.0, (1.0, 2.0)), (None, 1.0)])
def test_a_range_that_is_not_two_numbers_is_refused(given: object) -> None:
    """It had ended in a traceback."""
    said = "is given the range .*, not two numbers"
    with pytest.raises(QuantizeError, match=f"output 'y' {said}") as caught:
        ModelEditor(quantized(conv())).convert_output_type("y", "int8", given)  # type: ignore[arg-type]
    assert caught.value.name == "BadRange" and caught.value.hint
    for form in ("qdq", "calibrated"):
        with pytest.raises(QuantizeError, match=f"tensor 'x' {said}"):
            quantize(conv(), calibrate(conv(), images(4)) | {"x": given}, form=form)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["qdq", "calibrated"])
def test_a_float_model_can_be_edited_before_it_is_quantized(form: str) -> None:
    before, after = conv(), conv()
    ranges = calibrate(before, images(4))
    ModelEditor(before).convert_input_type("x", TensorType.UINT8)
    written = quantize(before, ranges, form=form)  # type: ignore[arg-type]
    if form == "calibrated":
        written = quantize(written)
    editor = ModelEditor(quantize(after, ranges))
    editor.convert_input_type("x", TensorType.UINT8)
    pixels = {"x": np.random.default_rng(0).integers(0, 256, (1, 3, 12, 12)).astype(np.uint8)}
    np.testing.assert_array_equal(run(onnx.load_model_from_string(written), pixels)[0], run(editor.model, pixels)[0])


@pytest.mark.parametrize(("pads", "mean"), [(0, (0.4, 0.5, 0.6)), (1, (0.0, 0.0, 0.0))])
def test_normalization_folds_where_that_is_exact(pads: int, mean: tuple[float, ...]) -> None:
    std, scale = (0.2, 0.3, 0.4), 1 / 255
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 12, 12)).astype(np.float32)
    normalized = (pixels * scale - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    editor = ModelEditor(conv(pads))
    editor.fold_normalization("x", mean, std, scale)
    wanted = run(conv(pads), {"x": normalized.astype(np.float32)})[0]
    np.testing.assert_allclose(run(editor.model, {"x": pixels})[0], wanted, rtol=1e-4, atol=1e-4)


def test_a_mean_before_a_padding_conv_is_refused() -> None:
    with pytest.raises(QuantizeError, match="the Conv pads with zeros"):
        ModelEditor(conv(1)).fold_normalization("x", (0.5,), (0.5,))


def test_older_names() -> None:
    ranges = calibrate_with_random_input(residual(), 2)
    assert set(ranges) == {o.name for o in build_calibration_model(residual()).graph.output} | {"x"}
    assert [n.op_type for n in optimize(residual()).graph.node].count("Conv") == 3
    made = post_training_quantization(residual(), ["x"], [[i["x"]] for i in images(2)])
    assert any(n.op_type == "QuantizeLinear" for n in made.graph.node)
    with pytest.raises(QuantizeError, match="input_tensors are"):
        post_training_quantization(residual(), ["z"], [])
