"""Find what each instruction must wait for, and give completion tags to what is waited for.

lir -> lir. Instructions of one unit run in order; between units, an instruction waits for the latest earlier one
whose memory conflicts with its own (write after write, read after write, write after read). What is already implied
by earlier waits is left out. Where tags run out, a waiter waits for a later instruction of the same unit: more than
it must, never less. Keeps: every instruction and their order. Raises: nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isa.instructions import Instruction, Unit
from isa.npu import NpuConfig
from isa.operands import Range
from passes.ir.lir import Program, Run
from passes.options import CompileOptions

MOST_TAGS = {Unit.DMA_IN: 20}  # weight loads run far ahead: the rest is kept for the other units


def assign_tags(program: Program, options: CompileOptions) -> Program:
    """Fill in signal and wait of every instruction. Runs are apart: all of one is complete when the next one starts."""
    for run in program.runs:
        _tag(run, options.npu)
    return program


def _tag(run: Run, npu: NpuConfig) -> None:
    instructions = [step.instruction for step in run.steps]
    tagged = _Tags(instructions, find_waits(instructions, npu), npu).run()
    run.steps = [replace(step, instruction=insn) for insn, step in zip(tagged, run.steps, strict=True)]


@dataclass(frozen=True, slots=True)
class _Access:
    range: Range
    unit: Unit
    index: int
    writes: bool


def find_waits(instructions: list[Instruction], npu: NpuConfig) -> list[list[int]]:
    """For each instruction, the earlier ones it must wait for: at most one of each other unit."""
    access = npu.sram_access_bytes
    recent: dict[str, list[_Access]] = {}
    known: dict[Unit, dict[Unit, int]] = {unit: {} for unit in Unit}  # complete when the unit's next one starts
    known_at: list[dict[Unit, int]] = []
    waits: list[list[int]] = []
    for index, insn in enumerate(instructions):
        touched = [_Access(r, insn.unit, index, False) for r in insn.reads(access)]
        touched += [_Access(r, insn.unit, index, True) for r in insn.writes(access)]
        needed: dict[Unit, int] = {}
        for new in touched:
            for old in recent.get(new.range.space, ()):
                if old.unit is not insn.unit and (old.writes or new.writes) and old.range.overlaps(new.range):
                    needed[old.unit] = max(needed.get(old.unit, -1), old.index)
        mine = known[insn.unit]
        needed = {unit: other for unit, other in needed.items() if other > mine.get(unit, -1)}
        for unit, other in needed.items():
            for third, reached in (*known_at[other].items(), (unit, other)):
                mine[third] = max(mine.get(third, -1), reached)
        known_at.append(dict(mine))
        waits.append(sorted(needed.values()))
        for new in touched:
            kept = [old for old in recent.get(new.range.space, ()) if not _supersedes(new, old)]
            recent[new.range.space] = [*kept, new]
    return waits


def _supersedes(new: _Access, old: _Access) -> bool:
    """True where whoever conflicts with the old access also conflicts with the new one, which comes after it."""
    inside = new.range.start <= old.range.start and old.range.stop <= new.range.stop
    return inside and (new.writes or (new.unit is old.unit and not old.writes))


class _Tags:
    """Hands out completion tags in program order."""

    def __init__(self, instructions: list[Instruction], waits: list[list[int]], npu: NpuConfig) -> None:
        self.instructions, self.waits, self.npu = instructions, waits, npu
        self.last_waiter: dict[int, int] = {}
        for index, others in enumerate(waits):
            for other in others:
                self.last_waiter[other] = index
        self.tag_of: dict[int, int] = {}
        self.busy_until: dict[int, int] = {}  # tag -> last instruction that waits for it
        self.holder: dict[int, int] = {}  # tag -> instruction that signals it now

    def run(self) -> list[Instruction]:
        result = []
        for index, insn in enumerate(self.instructions):
            mask = 0
            for other in self.waits[index]:
                mask |= 1 << self.tag_of[other]
            signal = self._take(index, insn.unit) if index in self.last_waiter else None
            result.append(insn.scheduled(signal, mask))
        return result

    def _take(self, index: int, unit: Unit) -> int:
        free = [tag for tag in range(self.npu.completion_tags) if self.busy_until.get(tag, -1) <= index]
        held = [tag for tag in self.holder if self.busy_until.get(tag, -1) > index and self._unit(tag) is unit]
        limit = MOST_TAGS.get(unit, 4)
        if not free or len(held) >= limit:
            tag = max(held, key=lambda t: self.holder[t])
        else:
            tag = free[0]
        # Whoever still waits for the tag now waits for this instruction, which completes later.
        self.last_waiter[index] = max(self.last_waiter[index], self.busy_until.get(tag, -1))
        self.tag_of[index] = tag
        self.holder[tag] = index
        self.busy_until[tag] = self.last_waiter[index]
        return tag

    def _unit(self, tag: int) -> Unit:
        return self.instructions[self.holder[tag]].unit
