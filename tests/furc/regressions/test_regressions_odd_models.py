"""Odd models that the quantizer took apart wrongly, or refused without saying why."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from furc.quantizer import QuantizeOptions, optimize_model, quantize_model
from isa.errors import QuantizeError

SHAPE = (1, 4, 6, 6)


def model(nodes: list[onnx.NodeProto], outputs: list[str], **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def refusal(proto: onnx.ModelProto) -> QuantizeError:
    with pytest.raises(QuantizeError) as caught:
        quantize_model(proto, [{"x": np.ones(SHAPE, np.float32)}], QuantizeOptions(method="MIN_MAX_ASYM"))
    return caught.value


def test_a_constant_that_is_an_output_is_made_once() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Relu", ["k"], ["z"])]
    optimized = optimize_model(model(nodes, ["y", "z"], k=np.ones((1, 3), np.float32)))
    made = [name for node in optimized.graph.node for name in node.output]
    names = made + [initializer.name for initializer in optimized.graph.initializer]
    assert names.count("z") == 1


def test_a_model_without_anything_to_quantize_is_refused_by_the_quantizer() -> None:
    error = refusal(model([helper.make_node("Dropout", ["x"], ["y"])], ["y"]))
    assert error.name == "NothingToQuantize" and error.hint


def test_a_tensor_without_elements_is_named() -> None:
    bounds = {name: np.array([value], np.int64) for name, value in {"a": 2, "b": 2, "c": 1}.items()}
    error = refusal(model([helper.make_node("Slice", ["x", "a", "b", "c"], ["y"], name="cut")], ["y"], **bounds))
    assert str(error).startswith("error[EmptyTensor]: node 'cut': tensor 'y' has no elements: [1, 0, 6, 6]")
