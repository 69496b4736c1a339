"""Run a batch in groups of images, one after another or overlapping: a copy of the graph for each group.

before:
    %q = quantize(x=%images) : i8[1,3,8,8]
    %y = conv2d(x=%q, ...) : i8[1,4,8,8]
after (batch 2, groups of one image):
    %q = quantize(x=%images) : i8[2,3,8,8]
    %q.0 = slice(x=%q) {start=[0,0,0,0], size=[1,3,8,8], step=[1,1,1,1]}
    %y.0 = conv2d(x=%q.0, ...) : i8[1,4,8,8]
    %q.1 = slice(x=%q) {start=[1,0,0,0], size=[1,3,8,8], step=[1,1,1,1]}
    %y.1 = conv2d(x=%q.1, ...) : i8[1,4,8,8]
    %y = concat(inputs=[%y.0, %y.1]) {axis=0}

Used by set-batch where a whole batch does not stay on chip: weights are read once a group, activations stay. Groups may
overlap: of a graph of three stretches a, b and c with a stagger of one, two groups run as a.0 b.0 a.1 c.0 b.1 c.1. The
host has its turns on the whole batch.
Keeps: every value. Raises LowerError BatchNotPossible where an output has no batch axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby

from isa.errors import LowerError
from passes.analysis.turns import is_hosts, turn_numbers
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Runs, Value
from passes.ops.concat import Concat
from passes.ops.conv import Conv2d
from passes.ops.move import Slice


def unroll_batch(graph: Graph, factor: int, stagger: int | None) -> Graph:
    """Replicate every turn of the NPU; the graph runs a group of images, afterwards `factor` groups.

    stagger: stretches that each group is ahead of the next; all by default."""
    return _Unrolling(graph, factor, stagger).run()


def stretches(ops: Sequence[Op]) -> list[list[Op]]:
    """Ops cut before every convolution that pads: while the sub context pads for one group, main works for another."""
    found: list[list[Op]] = []
    for op in ops:
        if not found or (isinstance(op, Conv2d) and max(op.kernel.pads) > 0):
            found.append([])
        found[-1].append(op)
    return found


def mixes_images(op: Op) -> LowerError:
    """The batch of an op cannot grow."""
    return LowerError(
        "BatchNotPossible",
        f"{'a part on the host' if op.runs is Runs.HOST else op.mnemonic} mixes images of a batch",
        at=op.loc,
        hint="export the model with the batch you need and compile it with the same --batch",
    )


def no_batch(value: Value) -> LowerError:
    """A tensor at the edge of the model has not the axis that is to grow."""
    what = f"'{value.name}' is {list(value.type.shape)}: its first axis is no batch"
    return LowerError("BatchNotPossible", what, hint="compile with --batch 1")


class _Unrolling:
    def __init__(self, graph: Graph, factor: int, stagger: int | None) -> None:
        self.stagger = stagger
        self.graph, self.factor, self.group, self.names = graph, factor, graph.batch, Names(graph.names())
        self.ops: list[Op] = []
        self.groups: dict[Value, list[Value]] = {}  # what the NPU makes or is given, group by group
        self.joined: dict[Value, Value] = {}  # the whole batch of what the NPU makes
        self.batched = set(graph.inputs)  # what has all images already, and what the host makes

    def run(self) -> Graph:
        graph, turn = self.graph, turn_numbers(self.graph)
        for value in graph.inputs:
            self._grow(value)
        for number, ops in groupby(sorted(graph.ops, key=turn.__getitem__), key=turn.__getitem__):
            if is_hosts(number):
                for op in ops:
                    self._host(op)
            else:
                self._npu(list(ops))
        graph.outputs = [self._whole(value) for value in graph.outputs]
        graph.ops, graph.batch = self.ops, self.factor * self.group
        graph.remove_dead()
        return graph

    def _host(self, op: Op) -> None:
        """Once, on the whole batch."""
        op.substitute({v: self._whole(v) for v in op.activations()})
        if op.grown(dict.fromkeys(op.activations(), 0), self.factor) != 0:
            raise mixes_images(op)
        for value in op.results:
            self._grow(value)
        self.batched.update(op.results)
        self.ops.append(op)

    def _npu(self, ops: list[Op]) -> None:
        """Once a group, each `stagger` stretches behind the one before it; by default when that is done."""
        given = {v for op in ops for v in op.operands()} - {v for op in ops for v in op.results} - set(self.groups)
        for value in self._in_order(given):
            self.groups[value] = []
        parts = stretches(ops)
        ahead = min(self.stagger or len(parts), len(parts))
        for step in range(ahead * (self.factor - 1) + len(parts)):
            for number in range(self.factor):
                at = step - number * ahead
                if at == 0:
                    for value in self._in_order(given):
                        self.groups[value].append(self._slice(value, number))
                if 0 <= at < len(parts):
                    self._copy(parts[at], number)

    def _copy(self, ops: list[Op], number: int) -> None:
        for op in ops:
            made = tuple(Value(self.names.fresh(f"{v.name}.{number}"), v.type) for v in op.results)
            self.ops.append(op.on(partial(self._one, number), made))
            for value, copy in zip(op.results, made, strict=True):
                self.groups.setdefault(value, []).append(copy)

    def _in_order(self, values: set[Value]) -> Iterable[Value]:
        """Those that hold a batch, as they are made."""
        made = (*self.graph.inputs, *(v for op in self.ops for v in op.results))
        return [value for value in made if value in values and value in self.batched]

    def _one(self, number: int, value: Value) -> Value:
        """One group of a tensor; constants have no batch."""
        return self.groups[value][number] if value in self.groups else value

    def _slice(self, whole: Value, number: int) -> Value:
        images = whole.type.shape[0] // self.factor
        size = (images, *whole.type.shape[1:])
        result = Value(self.names.fresh(f"{whole.name}.{number}"), whole.type.shaped(size))
        corner = (number * images, *(0 for _ in size[1:]))
        self.ops.append(Slice(results=(result,), x=whole, start=corner, size=size, step=(1,) * len(size)))
        return result

    def _whole(self, value: Value) -> Value:
        """The batch of a tensor: its groups joined, where the NPU made them."""
        if value in self.joined or value not in self.groups or value in self.batched:
            return self.joined.get(value, value)
        if not value.type.shape:
            raise no_batch(value)
        parts = self.groups[value]
        joined = Value(value.name, value.type.shaped((self.factor * value.type.shape[0], *value.type.shape[1:])))
        self.ops.append(Concat(results=(joined,), inputs=tuple(parts), axis=0))
        self.joined[value] = joined
        return joined

    def _grow(self, value: Value) -> None:
        if not value.type.shape or value.type.shape[0] != self.group:
            raise no_batch(value)
        value.type = value.type.shaped((self.factor * value.type.shape[0], *value.type.shape[1:]))
