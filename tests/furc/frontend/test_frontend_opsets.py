"""Operators whose meaning or form ONNX changed between opsets 10 and 23: furc computes at each what ONNX Runtime does.

A form writes an operator as its opset has it: attributes that became inputs, defaults that changed, axes that count
from the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from qdq_models import Qdq, on_host, runtime

from furc.frontend import load_onnx
from furc.onnx.files import NEWEST_OPSET
from furc.onnx.run import RunModel
from furc.operators import forms
from furc.quantizer import optimize_model
from isa.npu import target
from passes.dfg.legality import OPERATORS
from passes.execute import execute


class Form(NamedTuple):
    """write: puts the operator into a model; first: the opset since which ONNX has it, or this way to say it."""

    write: Callable[[Qdq], object]
    first: int = 10


def x4(m: Qdq) -> str:
    return m.float_input(2, 6, 8, 10)


def one(op: str, *shape: int, **attributes: Any) -> Callable[[Qdq], object]:
    """An operator of one input."""
    return lambda m: m.quantized(m.node(op, m.float_input(*(shape or (2, 6, 8, 10))), **attributes))


def axes_of(op: str, since: int, *values: int, **attributes: Any) -> Callable[[Qdq], object]:
    """An operator whose axes are an attribute, and an input since an opset."""

    def write(m: Qdq) -> object:
        if m.opset < since:
            return m.quantized(m.node(op, x4(m), axes=list(values), **attributes))
        return m.quantized(m.node(op, x4(m), m.integers(*values), **attributes))

    return write


def squeeze(m: Qdq) -> object:
    x = m.float_input(1, 6, 1, 10)
    return m.quantized(m.node("Squeeze", x, axes=[0, 2]) if m.opset < 13 else m.node("Squeeze", x, m.integers(0, 2)))


def squeeze_all(m: Qdq) -> object:
    return m.quantized(m.node("Squeeze", m.float_input(1, 6, 1, 10)))


def unsqueeze(m: Qdq) -> object:
    x = m.float_input(6, 10)
    return m.quantized(
        m.node("Unsqueeze", x, axes=[0, 3]) if m.opset < 13 else m.node("Unsqueeze", x, m.integers(-1, 0))
    )


def pad(m: Qdq) -> object:
    pads = [0, 0, 1, 2, 0, 0, 3, 0]
    if m.opset < 11:
        return m.quantized(m.node("Pad", x4(m), pads=pads, value=0.5))
    return m.quantized(m.node("Pad", x4(m), m.integers(*pads), m.const(0.5, np.float32)))


def pad_of_axes(m: Qdq) -> object:
    return m.quantized(m.node("Pad", x4(m), m.integers(1, 2, 3, 0), "", m.integers(2, -1)))


def clip(m: Qdq) -> object:
    if m.opset < 11:
        return m.quantized(m.node("Clip", x4(m), min=-0.7, max=1.1))
    return m.quantized(m.node("Clip", x4(m), m.const(-0.7, np.float32), m.const(1.1, np.float32)))


def clip_above(m: Qdq) -> object:
    if m.opset < 11:
        return m.quantized(m.node("Clip", x4(m), max=0.4))
    return m.quantized(m.node("Clip", x4(m), "", m.const(0.4, np.float32)))


def split(m: Qdq) -> object:
    if m.opset < 13:
        return [m.quantized(part) for part in m.several("Split", 2, x4(m), axis=1, split=[2, 4])]
    return [m.quantized(part) for part in m.several("Split", 2, x4(m), m.integers(2, 4), axis=1)]


def split_evenly(m: Qdq) -> object:
    more: dict[str, Any] = {"num_outputs": 3} if m.opset >= 18 else {}
    return [m.quantized(part) for part in m.several("Split", 3, x4(m), axis=-3 if m.opset > 10 else 1, **more)]


def split_unevenly(m: Qdq) -> object:
    return [m.quantized(part) for part in m.several("Split", 3, x4(m), axis=2, num_outputs=3)]


def slice_(m: Qdq) -> object:
    return m.quantized(
        m.node("Slice", x4(m), m.integers(-6, 1), m.integers(-1, 2**62), m.integers(1, -1), m.integers(2, 3))
    )


def gemm(m: Qdq) -> object:
    w = m.weights(5, 7, axis=None)
    bias = [] if m.opset >= 11 else [m.const(np.full(5, 0.1), np.float32)]  # needed at first
    operands = (m.float_input(3, 7), w, *bias)
    return m.quantized(m.node("Gemm", *operands, transB=1))


def resize(scales: tuple[float, ...] = (1, 1, 2, 3), **attributes: Any) -> Callable[[Qdq], object]:
    def write(m: Qdq) -> object:
        if m.opset < 11:
            return m.quantized(m.node("Resize", x4(m), m.const(scales, np.float32), mode="nearest"))
        region = m.const([], np.float32) if m.opset < 13 else ""  # needed at first, and never read
        scale = m.const(scales, np.float32)
        return m.quantized(m.node("Resize", x4(m), region, scale, mode="nearest", **attributes))

    return write


def resize_to(m: Qdq) -> object:
    sizes = m.integers(2, 6, 16, 30)
    none = m.const([], np.float32) if m.opset < 13 else ""
    return m.quantized(m.node("Resize", x4(m), none, none, sizes, coordinate_transformation_mode="asymmetric",
                              nearest_mode="floor"))  # fmt: skip


def resize_of_axes(m: Qdq) -> object:
    return m.quantized(m.node("Resize", x4(m), "", m.const([2, 3], np.float32), axes=[2, 3],
                              coordinate_transformation_mode="asymmetric", nearest_mode="floor"))  # fmt: skip


def reshape(m: Qdq) -> object:
    return m.quantized(m.node("Reshape", x4(m), m.integers(0, -1, 5)))


def reshape_allowzero(m: Qdq) -> object:
    return m.quantized(m.node("Reshape", x4(m), m.integers(2, -1, 5), allowzero=1))


def gather(m: Qdq) -> object:
    return m.quantized(m.node("Gather", x4(m), m.integers(1, 3, 5), axis=1))


def gather_from_the_end(m: Qdq) -> object:
    return m.quantized(m.node("Gather", x4(m), m.integers(-5, -3, -1), axis=-3))


def concat(m: Qdq) -> object:
    axis = -2 if m.opset >= 11 else 2
    return m.quantized(m.node("Concat", x4(m), m.quantized(x4(m), 0.02, 3), axis=axis))


def expand(m: Qdq) -> object:
    return m.quantized(m.node("Expand", m.float_input(1, 6, 1, 10), m.integers(2, 1, 8, 1)))


def tile(m: Qdq) -> object:
    return m.quantized(m.node("Tile", x4(m), m.integers(1, 2, 1, 3)))


def of_two(op: str) -> Callable[[Qdq], object]:
    return lambda m: m.quantized(m.node(op, x4(m), m.float_input(6, 1, 10)))


def of_number(op: str, number: float) -> Callable[[Qdq], object]:
    return lambda m: m.quantized(m.node(op, x4(m), m.const(number, np.float32)))


def prelu(m: Qdq) -> object:
    return m.quantized(m.node("PRelu", x4(m), m.const(np.linspace(0, 1, 6).reshape(6, 1, 1), np.float32)))


def batch_normalization(m: Qdq) -> object:
    numbers = [m.const(m.rng.uniform(0.5, 2, 6), np.float32) for _ in range(4)]
    return m.quantized(m.node("BatchNormalization", x4(m), *numbers))


def dropout(m: Qdq) -> object:
    if m.opset < 12:
        return m.quantized(m.node("Dropout", x4(m), ratio=0.4))
    return m.quantized(m.node("Dropout", x4(m), m.const(0.4, np.float32)))


def conv(op: str, **attributes: Any) -> Callable[[Qdq], object]:
    def write(m: Qdq) -> object:
        w = m.weights(6, 6, 3, 3, axis=0 if m.opset >= 13 else None)  # a scale a channel since 13
        return m.quantized(m.node(op, x4(m), w, m.const(np.linspace(-1, 1, 6), np.float32), **attributes))

    return write


def cast(m: Qdq) -> object:
    return m.quantized(m.node("Cast", x4(m), to=onnx.TensorProto.FLOAT))


def top_k(m: Qdq) -> object:
    return m.several("TopK", 2, x4(m), m.integers(2))[0] and m.output(m.nodes[-1].output[0])


POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
FORMS = {
    "Softmax": Form(one("Softmax", 2, 6, 4, 5)),  # the default axis, and what it means, changed at 13
    "Softmax axis 1": Form(one("Softmax", 2, 6, 4, 5, axis=1)),  # of all that follows, before 13
    "Softmax axis 2": Form(one("Softmax", 2, 6, 4, 5, axis=2)),
    "Softmax last axis": Form(one("Softmax", 2, 6, 4, 5, axis=-1), first=11),
    "LogSoftmax": Form(one("LogSoftmax", 2, 6, 4, 5)),
    "Hardmax": Form(one("Hardmax", 2, 6, 4, 5)),
    "ReduceSum": Form(axes_of("ReduceSum", 13, 2, 3)),
    "ReduceSum from the end": Form(axes_of("ReduceSum", 13, -1, keepdims=0), first=11),
    "ReduceSum of all": Form(one("ReduceSum", 2, 3, 4)),
    "ReduceSum of nothing": Form(one("ReduceSum", 2, 3, 4, noop_with_empty_axes=1), first=13),
    "ReduceMean": Form(axes_of("ReduceMean", 18, 2, 3)),
    "ReduceMean of channels": Form(axes_of("ReduceMean", 18, 1, keepdims=0)),
    "ReduceL2": Form(axes_of("ReduceL2", 18, 1)),
    "ReduceMax": Form(axes_of("ReduceMax", 18, 2)),
    "GlobalMaxPool": Form(one("GlobalMaxPool")),
    "Squeeze": Form(squeeze),
    "Squeeze of all": Form(squeeze_all),
    "Unsqueeze": Form(unsqueeze),
    "Pad": Form(pad),
    "Pad of axes": Form(pad_of_axes, first=18),
    "Clip": Form(clip),
    "Clip above": Form(clip_above),
    "Split": Form(split),
    "Split evenly": Form(split_evenly),
    "Split unevenly": Form(split_unevenly, first=18),
    "Slice": Form(slice_),
    "Gemm": Form(gemm),
    "Resize": Form(resize()),  # nearest at 10 is floor of asymmetric coordinates, since 11 half pixels
    "Resize asymmetric": Form(
        resize(coordinate_transformation_mode="asymmetric", nearest_mode="floor"), first=11
    ),
    "Resize to sizes": Form(resize_to, first=11),
    "Resize of axes": Form(resize_of_axes, first=18),
    "Reshape": Form(reshape),
    "Reshape allowzero": Form(reshape_allowzero, first=14),
    "Flatten": Form(one("Flatten", axis=2)),
    "Flatten from the end": Form(one("Flatten", axis=-2), first=11),
    "Transpose": Form(one("Transpose", perm=[0, 2, 3, 1])),
    "Gather": Form(gather),
    "Gather from the end": Form(gather_from_the_end, first=11),
    "Concat": Form(concat),
    "Expand": Form(expand),
    "Tile": Form(tile),
    "Add": Form(of_two("Add")),
    "Sub": Form(of_two("Sub")),
    "Mul": Form(of_two("Mul")),
    "Max": Form(of_two("Max")),
    "Min": Form(of_two("Min")),
    "Mean": Form(of_two("Mean")),
    "Sum": Form(of_two("Sum")),
    "Pow": Form(of_number("Pow", 2)),
    "Div": Form(of_number("Div", 3)),
    "PRelu": Form(prelu),
    "BatchNormalization": Form(batch_normalization),
    "Dropout": Form(dropout),
    "Identity": Form(one("Identity")),
    "Cast": Form(cast),
    "Relu": Form(one("Relu")),
    "LeakyRelu": Form(one("LeakyRelu", alpha=0.2)),
    "Elu": Form(one("Elu", alpha=0.7)),
    "Sigmoid": Form(one("Sigmoid")),
    "HardSigmoid": Form(one("HardSigmoid")),
    "HardSwish": Form(one("HardSwish"), first=14),
    "Gelu": Form(one("Gelu"), first=20),
    "Gelu of tanh": Form(one("Gelu", approximate="tanh"), first=20),
    "Tanh": Form(one("Tanh")),
    "Exp": Form(one("Exp")),
    "MaxPool": Form(one("MaxPool", **POOL, ceil_mode=1)),
    "MaxPool dilated": Form(one("MaxPool", **POOL, dilations=[2, 1])),
    "AveragePool": Form(one("AveragePool", **POOL, pads=[1, 1, 1, 1])),
    "AveragePool of padding": Form(one("AveragePool", **POOL, pads=[1, 1, 1, 1], count_include_pad=1)),
    "AveragePool rounded up": Form(one("AveragePool", **POOL, ceil_mode=1)),
    "AveragePool rounded up of padding": Form(
        one("AveragePool", **POOL, pads=[1, 1, 1, 1], ceil_mode=1, count_include_pad=1)
    ),
    "AveragePool dilated": Form(one("AveragePool", **POOL, dilations=[2, 2]), first=19),
    "GlobalAveragePool": Form(one("GlobalAveragePool")),
    "LpNormalization": Form(one("LpNormalization", axis=1)),
    "DepthToSpace": Form(one("DepthToSpace", 1, 8, 4, 5, blocksize=2)),
    "DepthToSpace CRD": Form(one("DepthToSpace", 1, 8, 4, 5, blocksize=2, mode="CRD"), first=11),
    "SpaceToDepth": Form(one("SpaceToDepth", blocksize=2)),
    "Conv": Form(conv("Conv", pads=[1, 1, 1, 1])),
    "ConvTranspose": Form(conv("ConvTranspose", strides=[2, 2])),
    "TopK": Form(top_k),
}  # fmt: skip


def changes(name: str, form: Form) -> list[int]:
    """The opsets at which an operator got another form, from the first on that has this one."""
    return [form.first, *(opset for opset in forms(name.split()[0]) if opset > form.first)]


CASES = [(name, opset) for name, form in FORMS.items() for opset in dict.fromkeys((*changes(name, form), NEWEST_OPSET))]
QUANTIZED = [(name, opset) for name, opset in CASES if opset < 13 and len(changes(name, FORMS[name])) > 1]
QUANTIZED += [(name, NEWEST_OPSET) for name in FORMS if name in ("Add", "Relu") or max(forms(name.split()[0])) > 13]


class Float(Qdq):
    """The same forms as a float model."""

    def quantized(self, x: str, scale: float = 0.05, zero: int = -7) -> str:
        if x not in self.inputs:
            self.outputs[x] = "float32"
        return x

    def weights(self, *shape: int, axis: int | None = 0, scale: float = 0.01) -> str:
        return self.const(self.rng.normal(size=shape), np.float32)


@pytest.mark.parametrize(("name", "opset"), CASES)
def test_an_operator_means_at_each_opset_what_onnx_runtime_computes(name: str, opset: int) -> None:
    m = Qdq("int8", opset=opset, seed=opset)
    FORMS[name].write(m)
    model, feeds = m.model(), m.feeds()
    graph = load_onnx(model, operator_set="sdk0.10", max_npu_segments="all")
    held = execute(graph, feeds, target("warboy"))
    expected = runtime(model, feeds, optimized=False)
    for value in graph.outputs:
        array, got = expected[value.name], held[value]
        assert got.dtype == array.dtype and got.shape == array.shape
        limit = 1 if array.dtype == np.int8 else 1e-5
        assert np.abs(got.astype(np.float64) - array.astype(np.float64)).max() <= limit, value.name


@pytest.mark.parametrize(("name", "opset"), QUANTIZED)
def test_the_quantizer_takes_it_for_the_same(name: str, opset: int) -> None:
    m = Float("int8", opset=opset, seed=opset)
    FORMS[name].write(m)
    model, feeds = m.model(), m.feeds()
    found, expected = RunModel(optimize_model(model))(feeds), RunModel(model, plain=True)(feeds)
    for output, array in expected.items():
        np.testing.assert_allclose(found[output], array, rtol=1e-4, atol=1e-4)


def test_every_operator_of_the_table_has_a_form() -> None:
    """Those that are tables of one input are alike: one of them speaks for the others."""
    tables = {"Exp", "Erf", "Log", "Sqrt", "Softplus"}
    without = set(OPERATORS) - {name.split()[0] for name in FORMS} - tables
    assert without == {"MatMul", "Upsample"}  # of one form; of opset 9
    assert forms("Softmax") == [10, 13] and forms("HardSwish") == [14] and forms("Upsample") == []


@pytest.mark.parametrize(("op", "attribute"), [("QuantizeLinear", "precision"), ("DequantizeLinear", "output_dtype")])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_what_quantizes_by_halves_is_the_hosts(op: str, attribute: str, kind: int) -> None:
    """Attributes of opset 23."""
    m = Qdq("int8", opset=23)
    x, scale, zero = m.fresh("x"), m.const(0.02, np.float32), m.const(3, np.int8)
    m.inputs[x] = ("float32", (1, 4, 6, 6))
    for each in ("QuantizeLinear", "DequantizeLinear"):
        stated: dict[str, Any] = {attribute: kind} if each == op else {}
        x = m.node(each, x, scale, zero, **stated)
    m.output(m.quantized(m.node("Cast", m.node("Relu", x), to=TensorProto.FLOAT), 0.02, -128))
    reasons = on_host(load_onnx(m.model(), max_npu_segments="all"))
    halves = f"{op} computes in float16, the NPU as in float32"
    assert (halves in reasons) == (kind == TensorProto.FLOAT16)
