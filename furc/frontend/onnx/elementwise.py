"""Functions of one tensor, which become tables, and Add, Mul, Sub and Div of two."""

from __future__ import annotations

import numpy as np

from furc.frontend import tables
from furc.frontend.entries import Constant, Entry, Pending, Quantized, QuantizedConstant, Stored, Unary
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.refusals import refusal
from furc.frontend.onnx.registry import OnnxContext, operator
from isa.errors import counted
from passes.dfg.legality import OperatorSet, accelerated
from passes.ir.op import Array, Op, Value
from passes.ir.types import DType, TensorType, per_tensor
from passes.ops.base import broadcast
from passes.ops.elementwise import Add, Max, Min, Mul, Sub, Sum

BINARY: dict[str, type[Op]] = {"Add": Add, "Mul": Mul, "Max": Max, "Min": Min}


@operator("Exp", "Sigmoid", "Softplus")
def unary(context: OnnxContext, node: Node) -> Entry:
    return _function(context, node, {})


@operator("Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Sqrt", "Tanh")
def wider_unary(context: OnnxContext, node: Node) -> Entry:
    """Tables as well, for the set that has them."""
    return _function(context, _accelerated(context, node), {})


@operator("Pow")
def power(context: OnnxContext, node: Node) -> Entry:
    exponent = _number_at(context, _accelerated(context, node), 1)
    if exponent is None:
        raise node.unsupported("Pow by an exponent that varies does not run on the NPU", "raise it to a constant power")
    return _function(context, node, {1: exponent})


def _accelerated(context: OnnxContext, node: Node) -> Node:
    """The node, where the operator set has it. Raises LowerError else."""
    if not accelerated(node.op, context.operator_set):
        raise refusal(node)
    return node


@operator("Relu", moves=True)
def relu(context: OnnxContext, node: Node) -> Entry:
    entry = context.entry(node, 0)
    return entry.clamped(0.0, np.inf, node.loc) if isinstance(entry, Pending) else _function(context, node, {})


@operator("Clip", moves=True)
def clip(context: OnnxContext, node: Node) -> Entry:
    """Bounds are attributes up to opset 10, constant inputs from 11 on."""
    entry = context.entry(node, 0)
    bounds = {i: _scalar(context, node, i).astype(np.float32) for i in (1, 2) if node.has_input(i)}
    if not isinstance(entry, Pending):
        return _function(context, node, bounds)
    lo = float(bounds[1]) if 1 in bounds else node.number("min", -np.inf)
    hi = float(bounds[2]) if 2 in bounds else node.number("max", np.inf)
    return entry.clamped(lo, hi, node.loc)


def _scalar(context: OnnxContext, node: Node, index: int) -> Array:
    array = context.known(node, index)
    if array.size != 1:
        raise node.invalid(f"input '{node.inputs[index]}' is {list(array.shape)}, expected one number")
    return array.reshape(())


@operator("Sum", "Mean", "Max", "Min")
def several(context: OnnxContext, node: Node) -> Entry:
    """Of any number of tensors: of one nothing changes, of two it is one instruction, more are added in float32."""
    count = len(node.inputs)
    if count == 0:
        raise node.invalid("it has no inputs")
    if count == 1:
        return context.entry(node, 0)
    if node.op in ("Max", "Min"):
        return _compared(context, node)
    if count == 2 and node.op == "Sum":
        return _of_two(context, node, Add)
    values = tuple(operand(context, node, index) for index in range(count))
    shape = values[0].type.shape
    for value in values[1:]:
        shape = _broadcast(node, shape, value.type.shape)
    fields = {"inputs": values, "divisor": count if node.op == "Mean" else 1}
    return Pending(op=Sum, fields=fields, inner=shape, shape=shape, loc=node.loc)


def _compared(context: OnnxContext, node: Node) -> Entry:
    """Pairs in turn, each on the grid of the result: quantization keeps order, so that nothing is rounded twice."""
    count, quant = len(node.inputs), context.quantization_after(node.output)
    if count == 2:
        return _of_two(context, node, BINARY[node.op])
    if quant is None:
        raise node.unquantized(f"{node.op} of {count} tensors needs the quantization of its result")
    made = operand(context, node, 0)
    for index in range(1, count):
        other = operand(context, node, index)
        shape = _broadcast(node, made.type.shape, other.type.shape)
        name = node.output if index == count - 1 else f"{node.output}.{index}"
        type = TensorType(shape, DType.I8, quant)
        made = context.builder.add(BINARY[node.op], name, type, node.loc, a=made, b=other)
    return Quantized(made)


@operator("Add", "Mul", "Sub", "Div")
def binary(context: OnnxContext, node: Node) -> Entry:
    if len(node.inputs) != 2:
        raise node.invalid(f"{counted(len(node.inputs), 'input')}, expected 2")
    for index in (0, 1):
        gated = _with_itself(context, node, index)
        if gated is not None:
            return gated
    number = any(_number_at(context, node, index) is not None for index in (0, 1))
    if node.op == "Sub" and context.operator_set == OperatorSet.SDK010:
        return _of_two(context, node, Sub)
    if node.op not in BINARY and not number:
        raise refusal(node)
    return _of_two(context, node, BINARY.get(node.op, Add))


def _number_at(context: OnnxContext, node: Node, index: int) -> Array | None:
    return _uniform(context.entry(node, index), context.entry(node, 1 - index))


def _broadcast(node: Node, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    shape = broadcast(a, b)
    if -1 in shape:
        raise node.invalid(f"{list(a)} and {list(b)} do not broadcast")
    return shape


def _of_two(context: OnnxContext, node: Node, cls: type[Op]) -> Entry:
    """A table where one of them is a number."""
    for index in (0, 1):
        number = _number_at(context, node, index)
        if number is not None:
            return _function(context, node, {index: number}, of=1 - index)
    a, b = operand(context, node, 0), operand(context, node, 1)
    shape = _broadcast(node, a.type.shape, b.type.shape)
    return Pending(op=cls, fields={"a": a, "b": b}, inner=shape, shape=shape, loc=node.loc)


def _with_itself(context: OnnxContext, node: Node, index: int) -> Entry | None:
    """x * f(x), where f(x) was not quantized on the way: one function of x. index: of the operand f(x)."""
    gate, plain = context.entry(node, index), context.entry(node, 1 - index)
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


def operand(context: OnnxContext, node: Node, index: int) -> Value:
    """An activation, or a quantized constant as a value of the graph."""
    entry, name = context.entry(node, index), node.inputs[index]
    if isinstance(entry, Constant):
        raise node.unquantized(f"the constant '{name}' of {node.op} is {entry.array.dtype}, not quantized")
    if not isinstance(entry, QuantizedConstant):
        return context.activation(node, index)
    if entry.axis is not None:
        raise node.unsupported(f"the constant '{name}' of {node.op} has one scale a channel", "quantize it per tensor")
    stored, zero = entry.signed()
    if stored.dtype != np.int8:
        raise node.unsupported(f"the constant '{name}' is {stored.dtype}, the NPU has int8", "quantize to int8")
    type = TensorType(entry.shape, DType.I8, per_tensor(float(entry.scale[0]), int(zero[0])))
    return context.builder.constant(entry.name, stored, type)


def _function(context: OnnxContext, node: Node, constants: dict[int, Array], of: int = 0) -> Entry:
    """One more float function of a quantized tensor. of: which input varies."""
    entry, step = context.entry(node, of), tables.step(node.proto, constants, node.opset)
    if isinstance(entry, Stored):
        raise node.unquantized(f"{node.op} of integers: a DequantizeLinear is missing before it")
    if isinstance(entry, Unary):
        return Unary(x=entry.x, chain=(*entry.chain, step), loc=entry.loc.merged(node.loc))
    return Unary(x=context.activation(node, of), chain=(step,), loc=node.loc)
