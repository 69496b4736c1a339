"""Models whose batch is open, as exporters write them: they are surveyed and split as any, and stay open."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from quantizer_models import images, run
from test_quantizer_split import hard_silu

import furc
from furc.quantizer import QuantizeOptions, noise_report, quantize_explained, quantize_model


def opened() -> onnx.ModelProto:
    made = hard_silu()
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    del made.graph.value_info[:]
    for info in made.graph.output:
        info.type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(made)


def extents(info: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in info.type.tensor_type.shape.dim]


def test_it_gets_the_splits_and_grids_of_a_fixed_one() -> None:
    whole, fixed = quantize_explained(opened(), images(8)), quantize_explained(hard_silu(), images(8))
    assert [str(choice) for choice in whole.splits] == [str(choice) for choice in fixed.splits] != []
    assert whole.findings() == fixed.findings()
    for feed in images(10)[8:]:
        np.testing.assert_array_equal(run(whole.model, feed)[0], run(fixed.model, feed)[0])


@pytest.mark.parametrize("options", [{}, {"form": "calibrated"}, {"method": "auto"}], ids=str)
def test_the_result_takes_any_batch(options: dict[str, Any]) -> None:
    model = quantize_model(opened(), images(8), QuantizeOptions(**options))
    onnx.checker.check_model(model, full_check=True)
    assert extents(model.graph.input[0]) == ["n", 3, 12, 12] and extents(model.graph.output[0]) == ["n", 4, 12, 12]
    pair = {"x": np.concatenate([feed["x"] for feed in images(2)])}
    apart = np.concatenate([run(model, feed)[0] for feed in images(2)])
    np.testing.assert_allclose(run(model, pair)[0], apart, atol=1e-4 * np.abs(apart).max())
    furc.compile(model, batch_size=4)


def test_pixels_as_input_are_open_too() -> None:
    model = quantize_model(opened(), images(8), QuantizeOptions(input_dtype="uint8"))
    assert extents(model.graph.input[0]) == ["n", 3, 12, 12]
    assert run(model, {"x": np.zeros((3, 3, 12, 12), np.uint8)})[0].shape == (3, 4, 12, 12)


def test_samples_of_unlike_batches_are_no_hindrance() -> None:
    """Those behind the ones that are kept as well."""
    pair = {"x": np.concatenate([feed["x"] for feed in images(2)])}
    assert quantize_explained(opened(), [pair, *images(6)]).splits == []
    assert quantize_explained(opened(), [*images(32), pair]).splits != []
    assert quantize_explained(opened(), [pair] * 4).splits != []


def test_its_noise_is_told_as_that_of_a_fixed_one() -> None:
    found, wanted = noise_report(opened(), images(8)), noise_report(hard_silu(), images(8))
    assert found.layers and found == wanted


def test_layers_kept_in_float_stay_so() -> None:
    model = quantize_model(opened(), images(8), QuantizeOptions(keep_float=("y_node",)))
    [last] = [node for node in model.graph.node if node.name == "y_node"]
    makers = {name: node for node in model.graph.node for name in node.output}
    assert last.input[1] not in makers and model.graph.output[0].name == "y" and makers["y"] is last


def test_extents_that_are_read_behind_a_layer_stay_integers() -> None:
    """As tf2onnx writes Keras' Dense of three axes: the shape of what the layer reads is that of what it makes."""
    random = np.random.default_rng(0)
    text = """<ir_version: 8, opset_import: ["" : 15]> dense (float[n, 7, 20] x) => (float[n, 7, 16] y)
        <int64[2] kept = {0, 1}, int64[1] channels = {16}, int64[2] rows = {-1, 20}> {
            whole = Shape(x)
            outer = Gather(whole, kept)
            shape = Concat<axis = 0>(outer, channels)
            flat = Reshape(x, rows)
            product = MatMul(flat, w)
            y = Reshape(product, shape)
        }"""
    model = onnx.parser.parse_model(text)
    weights = random.normal(0, 0.2, (20, 16)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    feeds = [{"x": random.normal(0, 1, (1, 7, 20)).astype(np.float32)} for _ in range(8)]
    quantized = quantize_model(model, feeds)
    exact, rounded = run(model, feeds[0])[0], run(quantized, feeds[0])[0]
    assert 10 * np.log10(np.sum(exact**2) / np.sum((exact - rounded) ** 2)) > 25
    furc.compile(quantized)


def test_a_batch_that_a_slice_of_extents_tells_is_known() -> None:
    """As tf2onnx writes attention: inference does not look through the Slice, and no gradient came past the Reshape."""
    text = """<ir_version: 8, opset_import: ["" : 13]> heads (float[n, 6, 16] x) => (float[n, 2, 6, 8] y)
        <int64[1] none = {0}, int64[1] one = {1}, int64[3] rest = {6, 2, 8}> {
            flat = MatMul(x, w)
            whole = Shape(x)
            images = Slice(whole, none, one, none)
            shape = Concat<axis = 0>(images, rest)
            split = Reshape(flat, shape)
            heads = Transpose<perm = [0, 2, 1, 3]>(split)
            y = Relu(heads)
        }"""
    gains = []
    for batch in ("n", "1"):
        model = onnx.parser.parse_model(text.replace("float[n,", f"float[{batch},"))
        random = np.random.default_rng(0)
        weights = random.normal(0, 0.2, (16, 16)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
        feeds = [{"x": random.normal(0, 1, (1, 6, 16)).astype(np.float32)} for _ in range(4)]
        found = quantize_explained(model, feeds)
        gains.append(found.tensors["flat"].gain)
        if batch == "n":
            two = np.concatenate([feed["x"] for feed in feeds[:2]])
            assert run(found.model, {"x": two})[0].shape == (2, 2, 6, 8)
    opened_batch, fixed = gains
    assert opened_batch.any() and np.array_equal(opened_batch, fixed)
