"""What an op costs under given layouts: the clock's cost of the instructions it will become, kept by geometry.

One model of time: the compiler asks isa/timing, as the clock does. The tensor unit's main context computes while the
sub context prepares, so an op takes what the slower of the two takes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

from isa.instructions import Unit
from isa.layout import Layout, LayoutKind, Place, Window
from isa.npu import NpuConfig
from isa.operands import DramWindow, SramRange
from isa.timing.cost import cost
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import constant_bytes
from passes.ir.op import ATTRIBUTES, Op, Runs, Value, fields_in
from passes.ir.types import InDram

Layouts = Mapping[Value, Layout]  # by buffer
DOES_NOT_FIT = 1e9  # cycles a byte


class Costs:
    """Costs of the ops of one ldfg graph. usable: bytes of each slice that an op may use."""

    def __init__(self, aliases: Aliases, npu: NpuConfig, usable: float) -> None:
        self.aliases, self.npu, self.usable = aliases, npu, usable
        self._signature: dict[Op, int] = {}
        self._buffers: dict[Op, tuple[Value, ...]] = {}
        self._known: dict[tuple[object, ...], float] = {}
        self._timed: dict[tuple[int, Hashable], float] = {}  # cycles alone
        self._ids: dict[Hashable, int] = {}

    def buffers(self, op: Op) -> tuple[Value, ...]:
        """The SRAM buffers that an op reads or writes, each once."""
        if op not in self._buffers:
            roots = (self.aliases.root(v) for v in (*op.activations(), *op.results))
            self._buffers[op] = tuple(dict.fromkeys(r for r in roots if not isinstance(r.type.place, InDram)))
        return self._buffers[op]

    def of(self, op: Op, layouts: Layouts) -> float:
        """Cycles of an op; more than any real op's where what it needs does not fit SRAM together."""
        if op not in self._signature:
            signature = self._signed(op)
            self._signature[op] = self._ids.setdefault(signature, len(self._ids))
        key = (self._signature[op], *map(layouts.__getitem__, self.buffers(op)))
        cycles = self._known.get(key)
        if cycles is None:
            cycles = self._known[key] = self._fresh(op, layouts)
        return cycles

    def _signed(self, op: Op) -> Hashable:
        """What the cost of an op depends on besides layouts: ops that agree here cost alike."""
        buffers = self.buffers(op)
        places = tuple(
            (buffers.index(root) if root in buffers else -1, root.type.shape4, box)
            for value in (*op.activations(), *op.results)
            for root, box in (self.aliases.of(value),)
        )
        attributes = tuple(
            getattr(op, field.name) for field in fields_in(type(op), ATTRIBUTES) if field.name not in op.timeless
        )
        return type(op), attributes, places

    def _fresh(self, op: Op, layouts: Layouts) -> float:
        access = self.npu.sram_access_bytes
        need = sum(layouts[b].bytes_per_slice(b.type.shape4, access) for b in self.buffers(op))
        on_chip = not isinstance(op.result.type.place, InDram)
        site = Imagined(self.npu, self.aliases, layouts)
        if on_chip:
            need += constant_bytes(op, site.target(op), self.npu)
        if op.at_once and need > self.usable:
            return DOES_NOT_FIT * need  # finite, so that the search finds its way to what fits
        cycles = self._cycles(op, site) if op.runs is Runs.NPU else 0.0
        # Less than a cycle: of layouts that cost alike, the one that takes less room.
        return cycles + (need / self.npu.sram_bytes_per_slice if op.at_once else 0.0)

    def _cycles(self, op: Op, site: Imagined) -> float:
        told = op.timed_by(site)
        if told is None:
            return tensor_cycles(op, site)
        key = (self._signature[op], told)
        if key not in self._timed:
            self._timed[key] = tensor_cycles(op, site)
        return self._timed[key]


def tensor_cycles(op: Op, at: Imagined) -> float:
    """Cycles that the tensor unit is busy with an op."""
    busy = {Unit.MAIN: 0.0, Unit.SUB: 0.0}
    for instruction, count in op.distinct_instructions(at):
        if instruction.unit in busy:
            busy[instruction.unit] += count * cost(instruction, at.npu).cycles
    return max(busy.values())


class Imagined:
    """A site where every buffer lies at offset 0 of the layout under trial: all that costs depend on."""

    def __init__(self, npu: NpuConfig, aliases: Aliases, layouts: Layouts) -> None:
        self.npu, self.aliases, self.layouts = npu, aliases, layouts

    def window(self, value: Value) -> Window:
        root, box = self.aliases.of(value)
        return Window(Place(0, self.layouts[root], root.type.shape4), box)

    def target(self, op: Op) -> Window:
        root, box = self.aliases.written(op)
        return Window(Place(0, self.layouts[root], root.type.shape4), box)

    def dram(self, value: Value) -> DramWindow:
        root, box = self.aliases.of(value)
        return DramWindow(0, LayoutKind.HCHCW, root.type.shape4, box)

    def dram_target(self, op: Op) -> DramWindow:
        root, box = self.aliases.written(op)
        return DramWindow(0, LayoutKind.HCHCW, root.type.shape4, box)

    def striped(self, value: Value | None) -> SramRange:
        return SramRange(0, 0)

    def weight_bank(self) -> int:
        return 0

    def table_bank(self) -> int:
        return 0
