"""An independent check of a finished timeline: was every order that memory needs kept?

Knows nothing of tags, dependencies or schedules: two instructions that touch the same bytes, one of them writing,
must not overlap in time and must run in program order. On one unit they do; this looks across units.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from isa.instructions import Instruction, Unit
from isa.layout import Box, Window
from isa.npu import NpuConfig
from isa.operands import DramWindow, Range, Role
from isa.timing.clock import Event, Timeline


class Access(NamedTuple):
    """Memory that an operand touches. tensor and box say which part of the range, where the operand is a window."""

    operand: str
    range: Range
    writes: bool
    tensor: object
    box: Box | None

    def conflicts(self, other: Access) -> bool:
        """Whether the order of the two matters. Disjoint boxes of the very same tensor share no byte."""
        if not (self.writes or other.writes) or not self.range.overlaps(other.range):
            return False
        if self.box is None or other.box is None or self.tensor != other.tensor:
            return True
        return _meet(self.box, other.box)


@dataclass(slots=True)
class _Lane:
    """Events of one unit in program order, and for each the latest end of it and all before it."""

    events: list[Event] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    latest_ends: list[float] = field(default_factory=list)


def races(timeline: Timeline, npu: NpuConfig) -> list[str]:
    """Each pair on different units that conflicts in memory while the later one starts before the earlier one ends."""
    lanes = _lanes(timeline.events)
    touched = {e.index: accesses(e.instruction, npu) for e in timeline.events}
    found = []
    for later in timeline.events:
        for unit, lane in lanes.items():
            if unit is later.instruction.unit:
                continue
            for earlier in _unfinished(lane, later):
                pair = _conflict(touched[earlier.index], touched[later.index])
                if pair is not None:
                    found.append(_report(earlier, later, *pair))
    return found


def accesses(instruction: Instruction, npu: NpuConfig) -> tuple[Access, ...]:
    """What an instruction reads and writes."""
    result = []
    for operand, value in zip(instruction.spec.operands, instruction.values, strict=True):
        if operand.role is Role.VALUE:
            continue
        tensor: object = None
        box = None
        if isinstance(value, Window):
            tensor, box = value.place, value.box
        elif isinstance(value, DramWindow):
            tensor, box = (value.address, value.order, value.shape), value.box
        writes = operand.role is not Role.READ
        for touched in operand.touches(value, npu.sram_access_bytes):
            result.append(Access(operand.name, touched, writes, tensor, box))
    return tuple(result)


def _lanes(events: Sequence[Event]) -> dict[Unit, _Lane]:
    lanes: dict[Unit, _Lane] = {}
    for event in sorted(events, key=lambda e: e.index):
        lane = lanes.setdefault(event.instruction.unit, _Lane())
        lane.events.append(event)
        lane.indices.append(event.index)
    for lane in lanes.values():
        lane.latest_ends = list(accumulate((e.end for e in lane.events), max))
    return lanes


def _unfinished(lane: _Lane, later: Event) -> list[Event]:
    """Events of a lane that stand before `later` in the program and have not ended when it starts."""
    first = bisect_right(lane.latest_ends, later.start)
    last = bisect_left(lane.indices, later.index)
    return [event for event in lane.events[first:last] if event.end > later.start]


def _conflict(earlier: tuple[Access, ...], later: tuple[Access, ...]) -> tuple[Access, Access] | None:
    return next(((a, b) for a in earlier for b in later if a.conflicts(b)), None)


def _meet(a: Box, b: Box) -> bool:
    """Whether two boxes of one tensor share an element."""
    return (
        a.n0 < b.n0 + b.n and b.n0 < a.n0 + a.n
        and a.c0 < b.c0 + b.c and b.c0 < a.c0 + a.c
        and a.h0 < b.h0 + b.h and b.h0 < a.h0 + a.h
    )  # fmt: skip


def _report(earlier: Event, later: Event, a: Access, b: Access) -> str:
    def side(event: Event, access: Access) -> str:
        does = "writes" if access.writes else "reads"
        r = access.range
        place = f"{r.space} 0x{r.start:x}..0x{r.stop:x}"
        when = f"cycles {event.start:g}..{event.end:g}"
        insn = event.instruction
        return f"#{event.index} {insn.mnemonic} on {insn.unit} ({when}) {does} {place} as {access.operand}"

    return f"{side(earlier, a)}, but {side(later, b)}: it starts {earlier.end - later.start:g} cycles too early"
