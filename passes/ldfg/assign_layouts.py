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

from isa.layout import Layout, LayoutKind
from passes.analysis.aliases import Aliases
from passes.analysis.costs import Costs
from passes.analysis.footprint import candidates
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs, Value
from passes.ir.types import InDram, InSram
from passes.ldfg.split_operators import USABLE_SHARE
from passes.options import CompileOptions

ROUNDS = 3


def assign_layouts(graph: Graph, options: CompileOptions) -> Graph:
    """Give every int8 tensor that is not in DRAM an SRAM layout, and DRAM tensors an order."""
    _Assignment(graph, options).run()
    return graph


class _Assignment:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.npu, self.slices = graph, options.npu, options.layout_slices
        self.costs = Costs(Aliases(graph), options.npu, USABLE_SHARE * options.npu.sram_bytes_per_slice)
        self.layout: dict[Value, Layout] = {}
        self.touching: dict[Value, list[Op]] = {}

    def run(self) -> None:
        self._collect()
        for value in self.layout:
            self.layout[value] = self._smallest(value)
        for _ in range(ROUNDS):
            if not self._improve():
                break
        self._write()

    def _collect(self) -> None:
        """Every buffer that gets a layout, and the ops whose cost depends on it."""
        for op in self.graph.ops:
            if op.runs is Runs.HOST:
                continue
            for root in self.costs.buffers(op):
                self.layout.setdefault(root, Layout(LayoutKind.HCHCW, 1, 1))
                self.touching.setdefault(root, []).append(op)

    def _smallest(self, value: Value) -> Layout:
        shape, access = value.type.shape4, self.npu.sram_access_bytes
        return min(candidates(shape, self.npu, self.slices), key=lambda c: c.bytes_per_slice(shape, access))

    def _improve(self) -> bool:
        changed = False
        for value in self.layout:
            before = self.layout[value]
            best, best_cost = before, self._cost_around(value)
            for candidate in candidates(value.type.shape4, self.npu, self.slices):
                if candidate != before:
                    self.layout[value] = candidate
                    cost = self._cost_around(value)
                    if cost < best_cost:
                        best, best_cost = candidate, cost
            self.layout[value] = best
            changed |= best != before
        return changed

    def _cost_around(self, value: Value) -> float:
        return sum(self.costs.of(op, self.layout) for op in self.touching[value])

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
