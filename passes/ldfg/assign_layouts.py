"""Choose the layout of every tensor: kind and partition over the slices, by cost.

before:
    %y = LowLevelTable(x=%x, table=%t) : i8[1,1,64,64] q(0.1,-3)
after:
    %y = LowLevelTable(x=%x, table=%t) : i8[1,1,64,64] q(0.1,-3) @sram:HCHCW(64x1)

ldfg -> ldfg. Starts from the most compact layouts, which fit because splitting saw to it, then changes one tensor
at a time to what makes its producer and readers cheapest, for a few rounds. A tensor in DRAM takes the order that
its SRAM neighbours read or write.
Keeps: every value. Raises: nothing."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from isa.layout import Layout, LayoutKind
from passes.analysis.aliases import Aliases
from passes.analysis.costs import DOES_NOT_FIT, Costs
from passes.analysis.footprint import MOST_COLUMNS, ROOMY, USABLE_SHARE, candidates, smallest_bytes
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs, Value
from passes.ir.types import InDram, InSram
from passes.options import CompileOptions

ROUNDS = 3


def assign_layouts(graph: Graph, options: CompileOptions) -> Graph:
    """Give every int8 tensor that is not in DRAM an SRAM layout, and DRAM tensors an order."""
    Assignment(graph, options).run()
    return graph


class Assignment:
    """The search. layout: what every buffer has so far."""

    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.npu, self.slices = graph, options.npu, options.layout_slices
        self.free = options.free_columns
        self.costs = Costs(Aliases(graph), options.npu, USABLE_SHARE * options.npu.sram_bytes_per_slice)
        self.layout: dict[Value, Layout] = {}
        self.share: dict[Value, int] = {}  # values made of a channel slice: which part of the slices they keep
        self.touching: dict[Value, list[Op]] = {}

    def run(self) -> None:
        self._collect()
        self._search(self.layout)
        if cramped := [value for value in self.share if value in self.layout and not self._fits_around(value)]:
            self.share |= dict.fromkeys(cramped, 1)
            self._search(cramped)
        self._write()

    def _search(self, values: Iterable[Value]) -> None:
        """From the most compact layouts of some values on."""
        for value in values:
            self.layout[value] = self._smallest(value)
        for _ in range(ROUNDS):
            if not self._improve():
                break

    def _fits_around(self, value: Value) -> bool:
        return all(self.costs.of(op, self.layout) < DOES_NOT_FIT for op in self.touching[value])

    def _collect(self) -> None:
        """Every buffer that gets a layout, and the ops whose cost depends on it."""
        for op in self.graph.ops:
            if op.runs is Runs.HOST:
                continue
            share = self._columns_share(op)
            self.share |= dict.fromkeys(op.results, share)
            for root in self.costs.buffers(op):
                self.layout.setdefault(root, Layout(LayoutKind.HCHCW, 1, 1))
                self.touching.setdefault(root, []).append(op)

    def _columns_share(self, op: Op) -> int:
        """What is made of a slice of channels keeps that slice's columns, up to the next concatenation; all where that
        leaves no room."""
        if not op.at_once or self.free:
            return 1
        share = max((self.share.get(v, 1) for v in op.activations()), default=1)
        if op.runs is Runs.NOBODY and op.activations():
            share = max(share, _parts(op.activations()[0].type.shape4.c // op.result.type.shape4.c))
        return min(share, MOST_COLUMNS)

    def candidates(self, value: Value) -> tuple[Layout, ...]:
        shape, share = value.type.shape4, self.share.get(value, 1)
        smallest = smallest_bytes(shape, self.npu, self.slices, share)
        roomy = smallest <= ROOMY * self.npu.sram_bytes_per_slice
        return candidates(shape, self.npu, self.slices, share if roomy else 1, self.free)

    def _smallest(self, value: Value) -> Layout:
        shape, access = value.type.shape4, self.npu.sram_access_bytes
        return min(self.candidates(value), key=lambda c: c.bytes_per_slice(shape, access))

    def _improve(self) -> bool:
        changed = False
        for value in self.layout:
            before = self.layout[value]
            best, best_cost = before, self._cost_around(value)
            for candidate in self.candidates(value):
                if candidate != before:
                    self.layout[value] = candidate
                    cost = self._cost_around(value, best_cost)
                    if cost < best_cost:
                        best, best_cost = candidate, cost
            self.layout[value] = best
            changed |= best != before
        return changed

    def _cost_around(self, value: Value, most: float = inf) -> float:
        """Cycles of the ops that touch a value; any number from `most` on where they are as many."""
        cycles = 0.0
        for op in self.touching[value]:
            cycles += self.costs.of(op, self.layout)
            if cycles >= most:
                break
        return cycles

    def _write(self) -> None:
        for value, layout in self.layout.items():
            value.type = value.type.at(InSram(layout))
        for op in self.graph.ops:
            part = op.alias()
            if part is not None:
                op.result.type = op.result.type.at(part[0].type.place)  # a view has the layout of its buffer
            elif op.runs is Runs.NOBODY and isinstance(op.activations()[0].type.place, InDram):
                source = op.activations()[0]
                source.type = source.type.at(InDram(op.result.type.layout.kind))
            elif op.runs is Runs.NPU and isinstance(op.result.type.place, InDram):
                first = op.activations()[0].type
                order = first.place.order if isinstance(first.place, InDram) else first.layout.kind
                op.result.type = op.result.type.at(InDram(order))


def _parts(whole: int) -> int:
    """The largest power of two up to a number of equal parts."""
    return 1 << (whole.bit_length() - 1)
