"""Functions of one tensor, which become tables, and Add, Mul, Sub and Div of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from furc.frontend.onnx import tables
from furc.frontend.onnx.entries import Constant, Entry, Pending, Quantized, QuantizedConstant, Stored, Unary
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.refusals import refusal
from furc.frontend.onnx.registry import operator
from passes.ir import dfg
from passes.ir.graph import Array, Op, Value
from passes.ir.types import DType, TensorType, per_tensor

if TYPE_CHECKING:
    from furc.frontend.onnx.importer import Importer

BINARY: dict[str, type[Op]] = {"Add": dfg.Add, "Mul": dfg.Mul}


@operator("Exp", "Sigmoid", "Softplus")
def unary(imp: Importer, node: Node) -> Entry:
    return _function(imp, node, {})


@operator("Relu", moves=True)
def relu(imp: Importer, node: Node) -> Entry:
    entry = imp.entry(node, 0)
    return entry.clamped(0.0, np.inf, node.loc) if isinstance(entry, Pending) else _function(imp, node, {})


@operator("Clip", moves=True)
def clip(imp: Importer, node: Node) -> Entry:
    """Bounds are attributes up to opset 10, constant inputs from 11 on."""
    entry = imp.entry(node, 0)
    bounds = {i: _scalar(imp, node, i).astype(np.float32) for i in (1, 2) if node.has_input(i)}
    if not isinstance(entry, Pending):
        return _function(imp, node, bounds)
    lo = float(bounds[1]) if 1 in bounds else node.number("min", -np.inf)
    hi = float(bounds[2]) if 2 in bounds else node.number("max", np.inf)
    return entry.clamped(lo, hi, node.loc)


def _scalar(imp: Importer, node: Node, index: int) -> Array:
    array = imp.known(node, index)
    if array.size != 1:
        raise node.invalid(f"input '{node.inputs[index]}' is {list(array.shape)}, expected one number")
    return array.reshape(())


@operator("Add", "Mul", "Sub", "Div")
def binary(imp: Importer, node: Node) -> Entry:
    if len(node.inputs) != 2:
        raise node.invalid(f"{len(node.inputs)} inputs, expected 2")
    for index in (0, 1):
        number = _uniform(imp.entry(node, index), imp.entry(node, 1 - index))
        if number is not None:
            return _function(imp, node, {index: number}, of=1 - index)
        gated = _with_itself(imp, node, index)
        if gated is not None:
            return gated
    if node.op not in BINARY:
        raise refusal(node)
    a, b = _operand(imp, node, 0), _operand(imp, node, 1)
    shape = dfg.broadcast(a.type.shape, b.type.shape)
    if -1 in shape:
        raise node.invalid(f"{list(a.type.shape)} and {list(b.type.shape)} do not broadcast")
    return Pending(op=BINARY[node.op], fields={"a": a, "b": b}, inner=shape, shape=shape, loc=node.loc)


def _with_itself(imp: Importer, node: Node, index: int) -> Entry | None:
    """x * f(x), where f(x) was not quantized on the way: one function of x. index: of the operand f(x)."""
    gate, plain = imp.entry(node, index), imp.entry(node, 1 - index)
    if not isinstance(gate, Unary) or not isinstance(plain, Quantized) or plain.value is not gate.x:
        return None
    step = tables.with_itself(node.proto, gate.chain, index, node.opset)
    return Unary(x=gate.x, chain=(step,), loc=gate.loc.merged(node.loc))


def _uniform(entry: Entry, other: Entry) -> Array | None:
    """The one number a constant holds, where broadcasting it does not enlarge the other operand."""
    if not isinstance(entry, Constant | QuantizedConstant) or entry.array.size == 0:
        return None
    array, shape = entry.array, other.shape
    fits = array.ndim <= len(shape) and all(
        d in (1, s) for d, s in zip(array.shape[::-1], shape[::-1], strict=False)
    )  # fmt: skip
    return array.reshape(-1)[0].astype(np.float32) if fits and np.all(array == array.reshape(-1)[0]) else None


def _operand(imp: Importer, node: Node, index: int) -> Value:
    """An activation, or a quantized constant as a value of the graph."""
    entry, name = imp.entry(node, index), node.inputs[index]
    if isinstance(entry, Constant):
        raise node.unquantized(f"the constant '{name}' of {node.op} is {entry.array.dtype}, not quantized")
    if not isinstance(entry, QuantizedConstant):
        return imp.activation(node, index)
    if entry.axis is not None:
        raise node.unsupported(f"the constant '{name}' of {node.op} has one scale a channel", "quantize it per tensor")
    stored, zero = entry.stored, int(entry.zero[0])
    if stored.dtype == np.uint8:
        stored, zero = (stored ^ np.uint8(0x80)).view(np.int8), zero - 128
    if stored.dtype != np.int8:
        raise node.unsupported(f"the constant '{name}' is {stored.dtype}, the NPU has int8", "quantize to int8")
    type = TensorType(entry.shape, DType.I8, per_tensor(float(entry.scale[0]), zero))
    return imp.builder.constant(entry.name, stored, type)


def _function(imp: Importer, node: Node, constants: dict[int, Array], of: int = 0) -> Entry:
    """One more float function of a quantized tensor. of: which input varies."""
    entry, step = imp.entry(node, of), tables.step(node.proto, constants, node.opset)
    if isinstance(entry, Stored):
        raise node.unquantized(f"{node.op} of integers: a DequantizeLinear is missing before it")
    if isinstance(entry, Unary):
        return Unary(x=entry.x, chain=(*entry.chain, step), loc=entry.loc.merged(node.loc))
    return Unary(x=imp.activation(node, of), chain=(step,), loc=node.loc)
