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

from isa.layout import Layout, LayoutKind, Place, Window
from passes.ir.dfg import HOST_OPS
from passes.ir.graph import Graph, Op, Value
from passes.ir.lowlevel import LowLevelConcat, LowLevelSlice
from passes.ir.types import InDram, InSram
from passes.ir.windows import Windows
from passes.lower import cost_model
from passes.options import CompileOptions
from passes.split.split_operators import USABLE_SHARE, activations

ROUNDS = 3
DOES_NOT_FIT = 1e9  # cycles a byte


def assign_layouts(graph: Graph, options: CompileOptions) -> Graph:
    """Give every int8 tensor that is not in DRAM an SRAM layout, and DRAM tensors an order."""
    _Assignment(graph, options).run()
    return graph


class _Assignment:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.npu, self.slices = graph, options.npu, options.layout_slices
        self.windows = Windows(graph)
        self.layout: dict[Value, Layout] = {}
        self.touching: dict[Value, list[Op]] = {}
        self.known: dict[tuple[Op, tuple[Layout, ...]], float] = {}

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
            if isinstance(op, HOST_OPS):
                continue
            for root in dict.fromkeys(self._buffers(op)):
                self.layout.setdefault(root, Layout(LayoutKind.HCHCW, 1, 1))
                self.touching.setdefault(root, []).append(op)

    def _buffers(self, op: Op) -> list[Value]:
        """SRAM buffers that an op reads or makes."""
        roots = [self.windows.root(v) for v in (*activations(op), op.result)]
        return [root for root in roots if not isinstance(root.type.place, InDram)]

    def _smallest(self, value: Value) -> Layout:
        shape, access = value.type.shape4, self.npu.sram_access_bytes
        return min(cost_model.candidates(shape, self.npu, self.slices), key=lambda c: c.bytes_per_slice(shape, access))

    def _improve(self) -> bool:
        changed = False
        for value in self.layout:
            before = self.layout[value]
            best, best_cost = before, self._cost_around(value)
            for candidate in cost_model.candidates(value.type.shape4, self.npu, self.slices):
                if candidate != before:
                    self.layout[value] = candidate
                    cost = self._cost_around(value)
                    if cost < best_cost:
                        best, best_cost = candidate, cost
            self.layout[value] = best
            changed |= best != before
        return changed

    def _cost_around(self, value: Value) -> float:
        return sum(self._cost(op) for op in self.touching[value])

    def _cost(self, op: Op) -> float:
        """Cycles of an op under the current layouts; more than any real op's where its working set does not fit."""
        buffers = self._buffers(op)
        key = (op, tuple(self.layout[b] for b in buffers))
        if key not in self.known:
            self.known[key] = self._fresh_cost(op, list(dict.fromkeys(buffers)))
        return self.known[key]

    def _fresh_cost(self, op: Op, buffers: list[Value]) -> float:
        access = self.npu.sram_access_bytes
        need = sum(self.layout[b].bytes_per_slice(b.type.shape4, access) for b in buffers)
        on_chip = not isinstance(op.result.type.place, InDram)
        if on_chip:
            y = self._placed(op.result)
            need += cost_model.scratch_bytes(op, y, self.npu)
            need += cost_model.weight_bytes_per_slice(op, y.layout, y.place.shape.c, self.npu)
        if isinstance(op, LowLevelConcat):
            return cost_model.cycles(op, self._placed, self.npu) if on_chip else 0.0
        if need > USABLE_SHARE * self.npu.sram_bytes_per_slice:
            return DOES_NOT_FIT * need  # finite, so that the search finds its way to what fits
        return cost_model.cycles(op, self._placed, self.npu) + need / self.npu.sram_bytes_per_slice

    def _placed(self, value: Value) -> Window:
        root, box = self.windows.of(value)
        return Window(Place(0, self.layout[root], root.type.shape4), box)

    def _write(self) -> None:
        for value, layout in self.layout.items():
            value.type = value.type.at(InSram(layout))
        for op in self.graph.ops:
            if isinstance(op, LowLevelSlice) and isinstance(op.x.type.place, InDram):
                op.x.type = op.x.type.at(InDram(op.result.type.layout.kind))
            elif isinstance(op, LowLevelSlice):
                op.result.type = op.result.type.at(op.x.type.place)  # a view has the layout of its buffer
            elif isinstance(op, LowLevelConcat) and isinstance(op.result.type.place, InDram):
                op.result.type = op.result.type.at(InDram(op.inputs[0].type.layout.kind))
