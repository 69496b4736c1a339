"""Run the images of a batch one after another: a copy of the graph for each image.

before:
    %q = quantize(x=%images) : i8[1,3,8,8]
    %y = conv2d(x=%q, ...) : i8[1,4,8,8]
after (batch 2):
    %q = quantize(x=%images) : i8[2,3,8,8]
    %q.0 = slice(x=%q) {start=[0,0,0,0], size=[1,3,8,8], step=[1,1,1,1]}
    %y.0 = conv2d(x=%q.0, ...) : i8[1,4,8,8]
    %q.1 = slice(x=%q) {start=[1,0,0,0], size=[1,3,8,8], step=[1,1,1,1]}
    %y.1 = conv2d(x=%q.1, ...) : i8[1,4,8,8]
    %y = concat(inputs=[%y.0, %y.1]) {axis=0}

Used by set-batch where a whole batch does not stay on chip: weights are read once an image, activations stay.
Keeps: every value. Raises LowerError BatchNotPossible where an output has no batch axis."""

from __future__ import annotations

from dataclasses import replace

from isa.errors import LowerError
from passes.ir.dfg import Concat, HostOp, Slice
from passes.ir.graph import Graph, Names, Op, Value
from passes.ir.types import DType, TensorType


def unroll_batch(graph: Graph, factor: int) -> Graph:
    """Replicate everything between the host's ops at both ends."""
    names = Names(graph.names())
    heads = [op for op in graph.ops if isinstance(op, HostOp) and op.x in graph.inputs]
    starts = [v for v in (*graph.inputs, *(op.result for op in heads)) if v.type.dtype is DType.I8]
    tails = [op for op in graph.ops if isinstance(op, HostOp) and op not in heads]
    wanted = dict.fromkeys([*(op.x for op in tails), *(v for v in graph.outputs if v.type.dtype is DType.I8)])
    ends = [value for value in wanted if value not in starts]  # what the host makes for it has all images already
    for value in dict.fromkeys([*graph.inputs, *(op.result for op in heads), *graph.outputs]):
        _grow(value, factor)
    body = [op for op in graph.ops if not isinstance(op, HostOp)]
    ops: list[Op] = list(heads)
    pieces: dict[Value, list[Value]] = {end: [] for end in ends}
    for image in range(factor):
        made = {start: _image(start, image, factor, names, ops) for start in starts}
        for op in body:
            copy = replace(
                op, result=Value(names.fresh(f"{op.result.name}.{image}"), _single(op.result, graph, factor))
            )
            copy.substitute(made)
            made[op.result] = copy.result
            ops.append(copy)
        for end in ends:
            pieces[end].append(made[end])
    for end, parts in pieces.items():
        joined = Value(end.name, parts[0].type.shaped((factor, *parts[0].type.shape[1:])))
        ops.append(Concat(result=joined, inputs=tuple(parts), axis=0))
        for tail in tails:
            tail.substitute({end: joined})
        graph.outputs = [joined if v is end else v for v in graph.outputs]
    graph.ops, graph.batch = [*ops, *tails], factor
    graph.remove_dead()
    return graph


def _grow(value: Value, factor: int) -> None:
    if not value.type.shape or value.type.shape[0] != 1:
        raise LowerError(
            "BatchNotPossible", f"'{value.name}' is {list(value.type.shape)}: its first axis is no batch of 1",
            hint="compile with --batch 1",
        )  # fmt: skip
    value.type = value.type.shaped((factor, *value.type.shape[1:]))


def _single(value: Value, graph: Graph, factor: int) -> TensorType:
    """The type of one image's copy: graph outputs have grown already."""
    if value in graph.outputs:
        return value.type.shaped((value.type.shape[0] // factor, *value.type.shape[1:]))
    return value.type


def _image(start: Value, image: int, factor: int, names: Names, ops: list[Op]) -> Value:
    """One image of a batched tensor."""
    size = (1, *start.type.shape[1:])
    result = Value(names.fresh(f"{start.name}.{image}"), start.type.shaped(size))
    corner = (image, *(0 for _ in size[1:]))
    ops.append(Slice(result=result, x=start, start=corner, size=size, step=(1,) * len(size)))
    return result
