"""Execute a dfg graph on arrays, op by op. What a pass keeps, and what later levels must give, is measured by this.

Activations are int8 of any rank the op allows; scales and zero points come from the types.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import numpy as np

from isa.errors import Loc, RunError
from isa.execute import numerics
from isa.execute.numerics import BinaryScales, Geometry
from passes.ir import dfg
from passes.ir.graph import Array, Graph, Op, Value
from passes.ir.quantization import conv_multiplier
from passes.ir.types import per_tensor

Held = Mapping[Value, Array]
Rule = Callable[[Any, Held], Array]
RULES: dict[type[Op], Rule] = {}
T = TypeVar("T", bound=Op)


def run(graph: Graph, inputs: Mapping[str, Array]) -> dict[Value, Array]:
    """Every value of the graph. inputs: one array for each graph input, by name.

    Raises RunError when an input is missing or has another shape or element type than the graph says.
    """
    held: dict[Value, Array] = dict(graph.constants)
    for value in graph.inputs:
        held[value] = _input(graph, value, inputs)
    for op in graph.ops:
        held[op.result] = execute(op, held)
    return held


def execute(op: Op, held: Held) -> Array:
    """The result of one op, from what its operands hold."""
    return RULES[type(op)](op, held)


def _input(graph: Graph, value: Value, inputs: Mapping[str, Array]) -> Array:
    at = Loc(graph.source, detail=f"input '{value.name}'")
    if value.name not in inputs:
        given = ", ".join(f"'{name}'" for name in inputs) or "nothing"
        raise RunError("MissingInput", f"no array was given; got {given}", at=at)
    array = np.asarray(inputs[value.name])
    if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
        expected = f"{value.type.dtype.numpy}{list(value.type.shape)}"
        raise RunError("WrongInput", f"expected {expected}, got {array.dtype}{list(array.shape)}", at=at)
    return array


def rule(cls: type[T]) -> Callable[[Callable[[T, Held], Array]], Callable[[T, Held], Array]]:
    """Decorator: how to compute the result of one op class."""

    def add(function: Callable[[T, Held], Array]) -> Callable[[T, Held], Array]:
        assert cls not in RULES, f"two rules for {cls.mnemonic}"
        RULES[cls] = cast(Rule, function)
        return function

    return add


@rule(dfg.Quantize)
def _quantize(op: dfg.Quantize, held: Held) -> Array:
    q = op.result.type.q
    with np.errstate(over="ignore"):  # a value far outside the range becomes infinite and saturates
        return numerics.quantize(held[op.x], q.s, q.z)


@rule(dfg.Dequantize)
def _dequantize(op: dfg.Dequantize, held: Held) -> Array:
    q = op.x.type.q
    return numerics.dequantize(held[op.x], q.s, q.z)


@rule(dfg.Recast)
def _recast(op: dfg.Recast, held: Held) -> Array:
    flipped: Array = held[op.x].view(np.uint8) ^ np.uint8(0x80)
    return flipped.view(op.result.type.dtype.numpy)


@rule(dfg.Conv2d)
def _conv2d(op: dfg.Conv2d, held: Held) -> Array:
    geometry = Geometry(
        kernel=op.kernel, stride=op.stride, pad_top=op.pads[0], pad_left=op.pads[1], dilation=op.dilation
    )
    out = op.result.type.shape[2:]
    acc = numerics.contract(held[op.x], held[op.w], op.x.type.q.z, geometry, (out[0], out[1]), op.group)
    acc = _with_bias(acc, op.bias, held)
    if op.table is None:
        return _requantize(op, acc)
    mid = per_tensor(op.mid_scale, op.mid_zero)
    multiplier = conv_multiplier(op.x.type.q, op.w.type.q, mid, acc.shape[1])
    return numerics.lookup(numerics.requantize(acc, multiplier, op.mid_zero, op.lo, op.hi), held[op.table])


@rule(dfg.ConvTranspose2d)
def _conv_transpose2d(op: dfg.ConvTranspose2d, held: Held) -> Array:
    """A convolution with the flipped kernel over the input with zeros between its elements."""
    x, w, zero = held[op.x], held[op.w], op.x.type.q.z
    (n, c, h, width), (sh, sw) = x.shape, op.stride
    wide = np.full((n, c, (h - 1) * sh + 1, (width - 1) * sw + 1), zero, np.int8)
    wide[:, :, ::sh, ::sw] = x
    kernel = (w.shape[2], w.shape[3])
    grouped = w.reshape(op.group, c // op.group, w.shape[1], *kernel).transpose(0, 2, 1, 3, 4)
    flipped = grouped.reshape(op.group * w.shape[1], c // op.group, *kernel)[:, :, ::-1, ::-1]
    geometry = Geometry(
        kernel=kernel,
        pad_top=op.dilation[0] * (kernel[0] - 1) - op.pads[0],
        pad_left=op.dilation[1] * (kernel[1] - 1) - op.pads[1],
        dilation=op.dilation,
    )
    out = op.result.type.shape[2:]
    acc = numerics.contract(wide, flipped, zero, geometry, (out[0], out[1]), op.group)
    return _requantize(op, _with_bias(acc, op.bias, held))


@rule(dfg.Gemm)
def _gemm(op: dfg.Gemm, held: Held) -> Array:
    x = held[op.x][:, :, None, None]
    acc = numerics.contract(x, held[op.w][:, :, None, None], op.x.type.q.z, Geometry(), (1, 1))
    return _requantize(op, _with_bias(acc, op.bias, held))[:, :, 0, 0]


def _with_bias(acc: Array, bias: Value | None, held: Held) -> Array:
    """acc [n, o, h, w] plus bias [o]; a sum beyond int32 wraps as the accumulator does."""
    return acc if bias is None else acc + held[bias].reshape(1, -1, 1, 1)


def _requantize(op: dfg.Conv2d | dfg.ConvTranspose2d | dfg.Gemm, acc: Array) -> Array:
    y = op.result.type.q
    return numerics.requantize(acc, conv_multiplier(op.x.type.q, op.w.type.q, y, acc.shape[1]), y.z, op.lo, op.hi)


@rule(dfg.Add)
def _add(op: dfg.Add, held: Held) -> Array:
    return numerics.binary("add", held[op.a], held[op.b], _scales(op))


@rule(dfg.Mul)
def _mul(op: dfg.Mul, held: Held) -> Array:
    return numerics.binary("mul", held[op.a], held[op.b], _scales(op))


def _scales(op: dfg.Add | dfg.Mul) -> BinaryScales:
    a, b, y = op.a.type.q, op.b.type.q, op.result.type.q
    return BinaryScales(sa=a.s, za=a.z, sb=b.s, zb=b.z, sy=y.s, zy=y.z, lo=op.lo, hi=op.hi)


@rule(dfg.Table)
def _table(op: dfg.Table, held: Held) -> Array:
    return numerics.lookup(held[op.x], held[op.table])


@rule(dfg.MaxPool)
def _max_pool(op: dfg.MaxPool, held: Held) -> Array:
    out = op.result.type.shape[2:]
    return numerics.max_pool(held[op.x], _window(op), (out[0], out[1]), op.lo, op.hi)


@rule(dfg.AveragePool)
def _average_pool(op: dfg.AveragePool, held: Held) -> Array:
    out, x, y = op.result.type.shape[2:], op.x.type.q, op.result.type.q
    return numerics.average_pool(
        held[op.x], _window(op), (out[0], out[1]),
        sx=x.s, zx=x.z, sy=y.s, zy=y.z, padded=op.padded, lo=op.lo, hi=op.hi,
    )  # fmt: skip


def _window(op: dfg.MaxPool | dfg.AveragePool) -> Geometry:
    top, left = op.pads[:2]
    return Geometry(kernel=op.kernel, stride=op.stride, pad_top=top, pad_left=left, dilation=op.dilation)


@rule(dfg.Concat)
def _concat(op: dfg.Concat, held: Held) -> Array:
    return np.concatenate([held[v] for v in op.inputs], op.axis)


@rule(dfg.Slice)
def _slice(op: dfg.Slice, held: Held) -> Array:
    x = held[op.x]
    for axis, (start, size, step) in enumerate(zip(op.start, op.size, op.step, strict=True)):
        x = x.take(range(start, start + size * step, step), axis)
    return x


@rule(dfg.Pad)
def _pad(op: dfg.Pad, held: Held) -> Array:
    return np.pad(held[op.x], list(zip(op.before, op.after, strict=True)), constant_values=op.value)


@rule(dfg.Reshape)
def _reshape(op: dfg.Reshape, held: Held) -> Array:
    return held[op.x].reshape(op.to)


@rule(dfg.Transpose)
def _transpose(op: dfg.Transpose, held: Held) -> Array:
    return np.ascontiguousarray(held[op.x].transpose(op.perm))


@rule(dfg.Expand)
def _expand(op: dfg.Expand, held: Held) -> Array:
    return np.ascontiguousarray(np.broadcast_to(held[op.x], op.result.type.shape))
