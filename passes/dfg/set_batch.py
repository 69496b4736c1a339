"""Give a graph made for one image the asked batch: the batch axis of every tensor grows.

before:
    in %x : i8[1,3,8,8]
    %y = reshape(x=%x) {to=[3,64]} : i8[3,64]
after (batch 2):
    in %x : i8[2,3,8,8]
    %y = reshape(x=%x) {to=[6,64]} : i8[6,64]

dfg -> dfg. The batch axis is followed through reshapes and transposes; merged with others it stays the slowest of
them. Raises LowerError BatchNotPossible where an op has no such axis, e.g. a slice of the batch.
Leaves alone: constants, and everything where batch is what the model already has."""

from __future__ import annotations

import math
from dataclasses import replace

from isa.errors import LowerError
from passes.dfg.unroll_batch import unroll_batch
from passes.ir.dfg import Concat, DfgOp, Expand, Pad, Reshape, Slice, Transpose
from passes.ir.graph import Graph, Op, Value
from passes.options import CompileOptions


def set_batch(graph: Graph, options: CompileOptions) -> Graph:
    """Multiply the batch axis of every activation by batch / graph.batch."""
    factor = options.batch
    if graph.batch == factor:
        return graph
    if options.unroll_batch:
        return unroll_batch(graph, factor)
    if graph.batch != 1:
        raise LowerError(
            "BatchNotPossible",
            f"the model has batch {graph.batch}, {factor} was asked for",
            hint=f"compile with --batch {graph.batch}, or export the model with batch 1",
        )
    axes: dict[Value, int] = {}
    for value in graph.inputs:
        if not value.type.shape or value.type.shape[0] != 1:
            raise LowerError(
                "BatchNotPossible",
                f"input '{value.name}' is {list(value.type.shape)}: its first axis is no batch of 1",
                hint="compile with --batch 1",
            )
        _grow(value, 0, factor, axes)
    for op in graph.ops:
        axis = _batch_axis(op, axes, factor)
        if axis is not None:
            _grow(op.result, axis, factor, axes)
    graph.batch = factor
    return graph


def _grow(value: Value, axis: int, factor: int, axes: dict[Value, int]) -> None:
    shape = list(value.type.shape)
    shape[axis] *= factor
    value.type = replace(value.type, shape=tuple(shape))
    axes[value] = axis


def _batch_axis(op: Op, axes: dict[Value, int], factor: int) -> int | None:
    """The axis of the result that grows, after adapting the op's own attributes; None where nothing batched is read."""
    read = [v for v in op.operands() if v in axes]
    if not read:
        return None
    axis = axes[read[0]]
    if isinstance(op, Reshape):
        return _reshape(op, axis, factor)
    if isinstance(op, Transpose):
        return op.perm.index(axis)
    if isinstance(op, Slice):
        return _slice(op, axis, factor)
    if isinstance(op, Expand):
        axis += len(op.to) - op.x.type.rank
        if op.to[axis] != 1:
            op.to = _scaled(op.to, axis, factor)
        return axis
    if (isinstance(op, Concat) and op.axis == axis) or (isinstance(op, Pad) and (op.before[axis] or op.after[axis])):
        raise _impossible(op)
    if isinstance(op, Concat) and len(read) < len(dict.fromkeys(op.inputs)):
        raise _impossible(op)  # a constant part has no batch to grow; image by image it fits
    assert isinstance(op, DfgOp)
    ranks = {op.result.type.rank - v.type.rank + axes[v] for v in read}
    if len(ranks) != 1:
        raise _impossible(op)
    return ranks.pop()


def _reshape(op: Reshape, axis: int, factor: int) -> int:
    """The axis of the result that starts where the batch axis starts in row-major order."""
    before = math.prod(op.x.type.shape[:axis])
    for target in range(len(op.to)):
        if math.prod(op.to[:target]) == before:
            op.to = _scaled(op.to, target, factor)
            return target
    raise _impossible(op)


def _slice(op: Slice, axis: int, factor: int) -> int:
    whole = op.x.type.shape[axis] // factor
    if (op.start[axis], op.size[axis], op.step[axis]) != (0, whole, 1):
        raise _impossible(op)
    op.size = _scaled(op.size, axis, factor)
    return axis


def _scaled(shape: tuple[int, ...], axis: int, factor: int) -> tuple[int, ...]:
    return (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :])


def _impossible(op: Op) -> LowerError:
    return LowerError(
        "BatchNotPossible",
        f"{op.mnemonic} mixes images of a batch",
        at=op.loc,
        hint="export the model with the batch you need and compile it with the same --batch",
    )
