"""Execute an ldfg graph on arrays, op by op: every tensor whole, wherever its type says that it lies.

What places decide is where bytes are, never what they are, so layouts, SRAM offsets and DRAM addresses are not read.
The one exception are packed weights, whose order follows the layout of the result (passes/reference/commands.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeVar, cast

import numpy as np

from isa.errors import RunError
from isa.execute import numerics
from isa.execute.numerics import BinaryScales, Geometry
from passes.ir import lowlevel
from passes.ir.dfg import Dequantize, HostOp, Lower, Quantize, Recast, Unlower
from passes.ir.graph import Array, Graph, Op, Value
from passes.reference import dfg

Held = dict[Value, Array]


class Weights(NamedTuple):
    """What a convolution contracts with: w [o, c / group, kh, kw], bias and multiplier [o], table [256] or None."""

    w: Array
    bias: Array
    multiplier: Array
    table: Array | None


@dataclass(eq=False)
class Executor:
    """The values made so far, and how to get at weights; `RULES` says how each op class computes its result."""

    held: Held

    def weights(self, op: lowlevel.LowLevelConv2d) -> Weights:
        """Plain constants at this level; the levels below unpack them."""
        assert op.w is not None and op.bias is not None and op.multiplier is not None, "a convolution without weights"
        table = self.held[op.table] if op.table is not None else None
        return Weights(self.held[op.w], self.held[op.bias], self.held[op.multiplier], table)

    def table(self, op: lowlevel.LowLevelTable) -> Array:
        """The table of a look-up, int8 [256]."""
        assert op.table is not None, "a look-up without table"
        return self.held[op.table]

    def run(self, graph: Graph) -> Held:
        """Every value of the graph."""
        for op in graph.ops:
            made = RULES[type(op)](op, self)
            self.held[op.result] = self._written(op, made) if isinstance(op, lowlevel.LowLevelOp) else made
        return self.held

    def _written(self, op: lowlevel.LowLevelOp, made: Array) -> Array:
        """The result: what was made, or the buffer `into` with the box at `at` replaced by it."""
        if op.into is None:
            return made
        buffer = self.held[op.into].copy()
        n0, c0, h0 = op.at
        n, c, h, _ = made.shape
        box = buffer[n0 : n0 + n, c0 : c0 + c, h0 : h0 + h]
        if box.shape != made.shape:
            raise RunError(
                "BoxOutsideBuffer", f"{list(made.shape)} at {list(op.at)} leaves {list(buffer.shape)}", at=op.loc
            )
        box[...] = made
        return buffer


Rule = Callable[[Any, Executor], Array]
RULES: dict[type[Op], Rule] = {}
T = TypeVar("T", bound=Op)


def run(graph: Graph, inputs: Mapping[str, Array]) -> Held:
    """Every value of an ldfg graph. inputs: one array for each graph input, by name. Raises RunError as dfg does."""
    return Executor(initial(graph, inputs)).run(graph)


def initial(graph: Graph, inputs: Mapping[str, Array]) -> Held:
    """Constants and checked inputs: what is held before the first op."""
    return dict(dfg.run(replace(graph, ops=[]), inputs))


def rule(*classes: type[T]) -> Callable[[Callable[[T, Executor], Array]], Callable[[T, Executor], Array]]:
    """Decorator: how to compute what an op of these classes makes."""

    def add(function: Callable[[T, Executor], Array]) -> Callable[[T, Executor], Array]:
        for cls in classes:
            assert cls not in RULES, f"two rules for {cls.mnemonic}"
            RULES[cls] = cast(Rule, function)
        return function

    return add


@rule(Lower, Unlower)
def _relayout(op: HostOp, run: Executor) -> Array:
    return run.held[op.x].reshape(op.result.type.shape)


@rule(Quantize, Dequantize, Recast)
def _host(op: Op, run: Executor) -> Array:
    """As in dfg; below it one side has four axes."""
    return dfg.RULES[type(op)](op, run.held).reshape(op.result.type.shape)


@rule(lowlevel.LowLevelConv2d, lowlevel.LowLevelDepthwiseConv2d)
def _conv(op: lowlevel.LowLevelConv2d, run: Executor) -> Array:
    weights = run.weights(op)
    geometry = replace(_geometry(op), up=op.up)
    x = run.held[op.x].reshape(op.x.type.shape4)
    acc = numerics.contract(x, weights.w, op.x.type.q.z, geometry, op.out, op.group)
    biased = acc + weights.bias.reshape(1, -1, 1, 1)
    result = numerics.requantize(biased, weights.multiplier, op.zero, op.lo, op.hi)
    return result if weights.table is None else numerics.lookup(result, weights.table)


@rule(lowlevel.LowLevelMaxPool)
def _max_pool(op: lowlevel.LowLevelMaxPool, run: Executor) -> Array:
    return numerics.max_pool(run.held[op.x], _geometry(op), op.out, op.lo, op.hi)


@rule(lowlevel.LowLevelAveragePool)
def _average_pool(op: lowlevel.LowLevelAveragePool, run: Executor) -> Array:
    x, y = op.x.type.q, op.result.type.q
    return numerics.average_pool(
        run.held[op.x], _geometry(op), op.out,
        sx=x.s, zx=x.z, sy=y.s, zy=y.z, padded=op.padded, lo=op.lo, hi=op.hi,
    )  # fmt: skip


def _geometry(op: lowlevel.WindowOp) -> Geometry:
    top, left = op.pad
    return Geometry(kernel=op.kernel, stride=op.stride, pad_top=top, pad_left=left, dilation=op.dilation)


@rule(lowlevel.LowLevelAdd)
def _add(op: lowlevel.LowLevelAdd, run: Executor) -> Array:
    return _binary("add", op, run)


@rule(lowlevel.LowLevelMul)
def _mul(op: lowlevel.LowLevelMul, run: Executor) -> Array:
    return _binary("mul", op, run)


def _binary(kind: Literal["add", "mul"], op: lowlevel.LowLevelBinary, run: Executor) -> Array:
    a, b, y = op.a.type.q, op.b.type.q, op.result.type.q
    scales = BinaryScales(sa=a.s, za=a.z, sb=b.s, zb=b.z, sy=y.s, zy=y.z, lo=op.lo, hi=op.hi)
    return numerics.binary(kind, run.held[op.a], run.held[op.b], scales)


@rule(lowlevel.LowLevelTable)
def _table(op: lowlevel.LowLevelTable, run: Executor) -> Array:
    return numerics.lookup(run.held[op.x], run.table(op))


@rule(lowlevel.LowLevelMove)
def _move(op: lowlevel.LowLevelMove, run: Executor) -> Array:
    """Reads x through strides of its row-major copy. Raises RunError where the loops leave it."""
    flat = run.held[op.x].flatten()
    reach = [(size - 1) * step for size, step in zip(op.sizes, op.steps, strict=True)]
    first, last = op.start + sum(min(0, r) for r in reach), op.start + sum(max(0, r) for r in reach)
    if not 0 <= first <= last < flat.size:  # as_strided checks nothing
        raise RunError("MoveOutsideSource", f"elements {first}..{last} of {flat.size}", at=op.loc)
    steps = [step * flat.itemsize for step in op.steps]
    return np.lib.stride_tricks.as_strided(flat[op.start :], op.sizes, steps).reshape(op.shape)


@rule(lowlevel.LowLevelPad)
def _pad(op: lowlevel.LowLevelPad, run: Executor) -> Array:
    return np.pad(run.held[op.x], list(zip(op.before, op.after, strict=True)), constant_values=op.value)


@rule(lowlevel.LowLevelSlice)
def _slice(op: lowlevel.LowLevelSlice, run: Executor) -> Array:
    return boxed(op.x, op.box, run)


def boxed(x: Value, box: tuple[int, ...], run: Executor) -> Array:
    """A box of a tensor: images, channels and rows; all columns."""
    n0, n, c0, c, h0, h = box
    return run.held[x].reshape(x.type.shape4)[n0 : n0 + n, c0 : c0 + c, h0 : h0 + h]


@rule(lowlevel.LowLevelConcat)
def _concat(op: lowlevel.LowLevelConcat, run: Executor) -> Array:
    return np.concatenate([run.held[v] for v in op.inputs], op.axis)
