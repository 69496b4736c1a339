"""Give a graph made for one image the asked batch: the batch axis of every tensor grows.

before:
    in %x : i8[1,3,8,8]
    %y = reshape(x=%x) {to=[3,64]} : i8[3,64]
after (batch 2):
    in %x : i8[2,3,8,8]
    %y = reshape(x=%x) {to=[6,64]} : i8[6,64]

dfg -> dfg. The batch axis is followed through reshapes and transposes; merged with others it stays the slowest of
them. Raises LowerError BatchNotPossible where an op has no such axis, e.g. a slice of the batch.
Leaves alone: constants, and everything where batch is what the model already has. Where fewer images are to run
together, unroll_batch makes the rest."""

from __future__ import annotations

from dataclasses import replace

from isa.errors import LowerError
from passes.dfg.unroll_batch import mixes_images, no_batch, unroll_batch
from passes.ir.graph import Graph
from passes.ir.op import Runs, Value
from passes.options import CompileOptions


def set_batch(graph: Graph, options: CompileOptions) -> Graph:
    """Multiply the batch axis of every activation by batch / graph.batch."""
    if graph.batch == options.batch:
        return graph
    if graph.batch != 1:
        raise LowerError(
            "BatchNotPossible",
            f"the model has batch {graph.batch}, {options.batch} was asked for",
            hint=f"compile with --batch {graph.batch}, or export the model with batch 1",
        )
    together = options.images_together
    axes = _grow_all(graph, together) if together > 1 else {}
    if together == options.batch:
        return graph
    outer = next((v for v in (*graph.outputs, *_hosts(graph)) if axes.get(v, 0) != 0), None)
    if outer is not None:
        raise no_batch(outer)
    return unroll_batch(graph, options.batch // together, options.stagger)


def _hosts(graph: Graph) -> list[Value]:
    """What the host reads and makes."""
    return [v for op in graph.ops if op.runs is Runs.HOST for v in (*op.activations(), *op.results)]


def _grow_all(graph: Graph, factor: int) -> dict[Value, int]:
    """Multiply the batch axis of every activation; which axis that is."""
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
        read = {v: axes[v] for v in op.operands() if v in axes}
        if not read:
            continue
        axis = op.grown(read, factor)
        if axis is None:
            raise mixes_images(op)
        for value in op.results:
            _grow(value, axis, factor, axes)
    graph.batch = factor
    return axes


def _grow(value: Value, axis: int, factor: int, axes: dict[Value, int]) -> None:
    shape = list(value.type.shape)
    shape[axis] *= factor
    value.type = replace(value.type, shape=tuple(shape))
    axes[value] = axis
