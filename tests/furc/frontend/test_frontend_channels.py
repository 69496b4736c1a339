"""What computes over whole axes or of several activations: within 1 LSB of ONNX Runtime, on the machine too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdq_models import Qdq, agree, mnemonics

from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.runtime.session import Session
from isa.npu import target
from passes.execute import execute
from passes.ir.graph import Graph
from passes.options import CompileOptions

NPU = target("warboy")


def on_machine(m: Qdq, within: int = 1) -> Graph:
    """Imported it agrees with ONNX Runtime; compiled it gives the same bits."""
    graph = agree(m, optimized=False, within=within)
    model, feeds = m.model(), m.feeds()
    held = execute(load_onnx(model), feeds, NPU)
    options = CompileOptions(npu=NPU, batch=graph.batch)
    made = Session(compile_graph(load_onnx(model), options).enf, npu=NPU).run(feeds)
    by_name = {value.name: array for value, array in held.items()}
    for name, array in made.items():
        assert np.array_equal(array, by_name[name]), name
    return graph


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("shape", "attributes"),
    [
        ((1, 10), {}),
        ((2, 7, 5, 3), {"axis": 1}),
        ((2, 7, 5, 3), {"axis": -1}),
        ((2, 7, 5, 3), {"axis": 2}),
        ((2, 7, 3), {"axis": 0}),
        ((1, 1000), {"axis": 1}),
        ((1, 3, 8, 4, 5), {"axis": 2}),
    ],
)
def test_softmax(kind: str, shape: tuple[int, ...], attributes: dict[str, Any]) -> None:
    m = Qdq(kind)
    m.quantized(m.node("Softmax", m.float_input(*shape, scale=0.05), **attributes), 1 / 256, -128)
    assert "softmax" in mnemonics(on_machine(m))


def test_softmax_of_old_opsets_is_over_all_axes_behind_the_first() -> None:
    m = Qdq(opset=12)
    m.quantized(m.node("Softmax", m.float_input(2, 3, 4, 5), axis=1), 1 / 256, -128)
    on_machine(m)


@pytest.mark.parametrize(("shape", "axis"), [((2, 16, 5, 3), 1), ((1, 128), -1), ((2, 3, 4, 9), -1)])
def test_lp_normalization(shape: tuple[int, ...], axis: int) -> None:
    m = Qdq()
    m.quantized(m.node("LpNormalization", m.float_input(*shape), axis=axis, p=2), 1 / 128, 2)
    assert "l2_normalize" in mnemonics(on_machine(m))


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceL2"])
@pytest.mark.parametrize("axes", [[1], [1, 2, 3], [0], [0, 2], [-1], [2, 3], [1, 3], []])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions_over_any_axes(op: str, axes: list[int], keepdims: int) -> None:
    m = Qdq(opset=18)
    x = m.float_input(2, 12, 5, 7)
    listed = (m.integers(*axes),) if axes else ()
    m.quantized(m.node(op, x, *listed, keepdims=keepdims), 0.4 if op == "ReduceSum" else 0.05, -3)
    on_machine(m)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 4, 9, 16), (1, 4, 16, 11)),
        ((2, 4, 9, 16), (1, 4, 16, 11)),
        ((5, 40), (40, 7)),
        ((3, 5, 8), (3, 8, 2)),
        ((3, 5, 8), (8, 2)),
        ((2, 1, 5, 8), (3, 8, 2)),
        ((8,), (8, 3)),
        ((6, 8), (8,)),
        ((2, 3, 1, 4, 8), (1, 5, 8, 3)),
        ((40, 3, 8), (40, 8, 2)),
    ],
)
def test_matmul_of_two_activations(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    m = Qdq()
    m.quantized(m.node("MatMul", m.float_input(*left), m.float_input(*right, scale=0.03, zero=-9)), 0.09, 4)
    assert "matmul" in mnemonics(on_machine(m))


def test_matmul_with_constants_on_the_left_or_of_more_axes() -> None:
    m = Qdq("int8")
    left = m.node("DequantizeLinear", m.const(m.rng.integers(-128, 128, (6, 5)), np.int8), m.const(0.02, np.float32))
    x = m.quantized(m.node("MatMul", left, m.float_input(2, 5, 4)), 0.05, 1)
    right = m.node("DequantizeLinear", m.const(m.rng.integers(-9, 99, (2, 4, 3)), np.int8), m.const(0.02, np.float32))
    m.quantized(m.node("MatMul", x, right), 0.05, 1)
    on_machine(m)


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_of_several_tensors(op: str, count: int) -> None:
    """Each of another scale and zero point, some of extent 1, one constant."""
    m = Qdq()
    inputs = [m.float_input(*shape, scale=0.01 + 0.013 * i, zero=7 * i - 9) for i, shape in enumerate(
        [(2, 3, 4, 5), (1, 3, 1, 5), (5,), (2, 1, 4, 1)][:count]
    )]  # fmt: skip
    if count == 5:
        stored = m.const(m.rng.integers(0, 256, (3, 4, 1)), np.uint8)
        inputs.append(m.node("DequantizeLinear", stored, m.const(0.02, np.float32), m.const(11, np.uint8)))
    m.quantized(m.node(op, *inputs), 0.05, -3)
    on_machine(m, within=0 if op in ("Max", "Min") else 1)


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
def test_pads_of_what_is_there(mode: str) -> None:
    m = Qdq(opset=19)
    m.quantized(m.node("Pad", m.float_input(1, 3, 4, 5), m.integers(0, 1, 2, 0, 0, 2, 3, 4), mode=mode), 0.02, 3)
    on_machine(m, within=0)
