"""The oracle sums integers wherever furc does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from qdq_models import Qdq, runtime

from furc.compiler import compile_options
from furc.onnx.oracle import Oracle
from furc.verify import verify
from isa.execute.numerics import BinaryScales, multiply_matrices, requantize

SX, SW, SY = np.float32(0.11), np.float32(0.01), np.float32(0.3)  # 1500 of these products are a tie but for rounding
MOVES: dict[str, tuple[list[str], dict[str, Any]]] = {
    "Identity": ([], {}),
    "Reshape": (["as_before"], {}),
    "Transpose": ([], {"perm": [0, 1, 3, 2]}),
    "MaxPool": ([], {"kernel_shape": [1, 1]}),
    "Pad": (["no_pads"], {}),
    "Resize": (["", "", "as_before"], {"mode": "nearest"}),
}


@pytest.mark.parametrize("moved", [[], ["Identity"], ["Reshape"], ["Transpose", "MaxPool"], ["Pad"], ["Resize"]])
def test_a_convolution_behind_what_only_moves_is_the_integer_one(moved: list[str]) -> None:
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 16, 16)
    w = np.arange(1, 31, dtype=np.int8).reshape(30, 1, 1, 1)
    constants = {"sx": SX, "sw": SW, "sy": SY, "zero": np.int8(0), "w": w, "as_before": np.array([1, 1, 16, 16])}
    constants["no_pads"] = np.zeros(8, np.int64)
    nodes, at = [helper.make_node("DequantizeLinear", ["x", "sx", "zero"], ["0"])], "0"
    for number, op in enumerate(moved, 1):
        more, attributes = MOVES[op]
        nodes.append(helper.make_node(op, [at, *more], [str(number)], **attributes))
        at = str(number)
    nodes += [
        helper.make_node("DequantizeLinear", ["w", "sw", "zero"], ["weights"]),
        helper.make_node("Conv", [at, "weights"], ["c"]),
        helper.make_node("QuantizeLinear", ["c", "sy", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.INT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 30, 16, 16])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    sums = (x.astype(np.int32) * w.reshape(1, 30, 1, 1)).astype(np.int32)
    wanted = requantize(sums, np.full(30, SX * SW / SY, np.float32), 0, -128, 127)
    if "Transpose" in moved:
        wanted = wanted.transpose(0, 1, 3, 2)
    assert np.array_equal(Oracle(model).run({"x": x})["y"], wanted)


@pytest.mark.parametrize("attributes", [{}, {"alpha": 0.5}, {"alpha": -0.5}, {"beta": 3.0}, {"transA": 1}])
def test_all_that_a_product_says_of_itself_and_its_bias_counts(attributes: dict[str, Any]) -> None:
    """The bias has steps of its own, two and a half of those of the sums."""
    m = Qdq("int8")
    rows, columns = (4, 3) if "transA" in attributes else (3, 4)
    x, w = m.float_input(rows, columns), m.weights(4, 7, axis=1)
    m.quantized(m.node("Gemm", x, w, m.bias(w, 7, input_scale=0.05), **attributes))
    made = list(m.outputs)[-1]
    model, feeds = m.model(), m.feeds()
    [row] = verify(model, feeds, compile_options("warboy", rows, {})).tensors
    assert row.elements == 21 and row.arrived.different == 0
    exact, found = runtime(model, feeds, optimized=False)[made], Oracle(model).run(feeds)[made]
    assert np.abs(found.astype(np.int32) - exact).max() <= 1


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("kind", ["weights", "columns", "activations"])
def test_a_product_is_the_integer_one(kind: str, moved: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, shape).astype(np.int8) for shape in ((1, 2, 40, 30), (30, 50)))
    scales = np.full(50, SW) if kind == "columns" else SW
    constants: dict[str, Any] = {
        "sx": SX,
        "sw": scales,
        "sy": np.float32(0.0022),
        "zero": np.int8(1),
        "zeros": np.int8(0 * scales),
    }
    if kind != "activations":
        constants["b"] = b
    constants["as_before"] = np.array(a.shape)
    nodes = [
        helper.make_node("DequantizeLinear", ["a", "sx", "zero"], ["0"]),
        helper.make_node("Reshape", ["0", "as_before"], ["1"]),
        helper.make_node("DequantizeLinear", ["b", "sw", "zeros"], ["2"]),
        helper.make_node("MatMul", ["1" if moved else "0", "2"], ["3"]),
        helper.make_node("QuantizeLinear", ["3", "sy", "zero"], ["y"]),
    ]
    fed = {name: array for name, array in (("a", a), ("b", b)) if name not in constants}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info(name, TensorProto.INT8, x.shape) for name, x in fed.items()],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [1, 2, 40, 50])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    wanted = multiply_matrices(a, b[None, None], BinaryScales(sa=0.11, za=1, sb=0.01, zb=0, sy=0.0022, zy=1))
    assert np.array_equal(Oracle(model).run(fed)["y"], wanted)
    assert not np.array_equal(Oracle(model, {"3"}).run(fed)["y"], wanted)  # left to float32: these are ties
