"""Find what each instruction must wait for, and give completion tags to what is waited for.

lir -> lir. Instructions of one unit run in order; between units, an instruction waits for the latest earlier one
whose memory conflicts with its own (write after write, read after write, write after read). What is already implied
by earlier waits is left out. Where a unit's tags run out, a waiter waits for a later instruction of the same unit: more
than it must, never less. Keeps: every instruction and their order. Raises: nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import NamedTuple

from isa.instructions import Instruction, Unit
from isa.npu import NpuConfig
from isa.operands import Range
from passes.ir.lir import Program, Run, Step
from passes.options import CompileOptions


def assign_tags(program: Program, options: CompileOptions) -> Program:
    """Fill in signal and wait of every instruction. Runs are apart: all of one is complete when the next one starts."""
    for run in program.runs:
        _tag(run, options.npu)
    return program


def _tag(run: Run, npu: NpuConfig) -> None:
    instructions = [step.instruction for step in run.steps]
    tagged = _Tags(instructions, find_waits(instructions, npu), npu).run()
    run.steps = [Step(insn, step.operator, step.command) for insn, step in zip(tagged, run.steps, strict=True)]


def find_waits(instructions: list[Instruction], npu: NpuConfig) -> list[list[int]]:
    """For each instruction, the earlier ones it must wait for: at most one of each other unit."""
    access = npu.sram_access_bytes
    spaces = defaultdict[str, _Touched](_Touched)
    known: dict[Unit, dict[Unit, int]] = {unit: {} for unit in Unit}  # complete when the unit's next one starts
    known_at: list[dict[Unit, int]] = []
    waits: list[list[int]] = []
    for index, insn in enumerate(instructions):
        needed: dict[Unit, int] = {}
        for writes, ranges in ((False, insn.reads(access)), (True, insn.writes(access))):
            for each in ranges:
                spaces[each.space].take(each, insn.unit, index, writes, needed)
        mine = known[insn.unit]
        needed = {unit: other for unit, other in needed.items() if other > mine.get(unit, -1)}
        for unit, other in needed.items():
            for third, reached in (*known_at[other].items(), (unit, other)):
                mine[third] = max(mine.get(third, -1), reached)
        known_at.append(dict(mine))
        waits.append(sorted(needed.values()))
    return waits


class _Last(NamedTuple):
    """The latest instruction of each unit that wrote some bytes, and that read them since."""

    writers: dict[Unit, int]
    readers: dict[Unit, int]


class _Touched:
    """The bytes of a memory in pieces that instructions treated alike: piece i goes from starts[i] to the next start.

    What comes after a write need not wait for what came before it: the write did."""

    def __init__(self) -> None:
        self.starts = [0]
        self.pieces = [_Last({}, {})]

    def take(self, touched: Range, unit: Unit, index: int, writes: bool, needed: dict[Unit, int]) -> None:
        """Add what an access must wait for, and note it."""
        if touched.start >= touched.stop:
            return
        first, end = self._cut(touched.start), self._cut(touched.stop)
        for last in self.pieces[first:end]:
            for others in (last.writers, last.readers) if writes else (last.writers,):
                for other, at in others.items():
                    if other is not unit:
                        needed[other] = max(needed.get(other, -1), at)
            if not writes:
                last.readers[unit] = index
        if writes:
            self.starts[first:end] = [touched.start]
            self.pieces[first:end] = [_Last({unit: index}, {})]

    def _cut(self, at: int) -> int:
        """The piece that starts at an address, cut off what lies before it."""
        index = bisect_right(self.starts, at) - 1
        if self.starts[index] != at:
            index += 1
            before = self.pieces[index - 1]
            self.starts.insert(index, at)
            self.pieces.insert(index, _Last(dict(before.writers), dict(before.readers)))
        return index


def tag_shares(tags: int) -> dict[Unit, int]:
    """Of 5 completion tags or more, how many each unit may hold: all of them in sum, so that none is ever without.

    Weight loads run far ahead of what waits for them and get most, 18 of 32. The command processor
    needs two: the `loadp` that overwrites where a `jump` went waits for it, and comes only behind the next jump."""
    each = tags // 8 or 1
    others = {Unit.CONTROL: min(2, each), Unit.DMA_OUT: each, Unit.SUB: each, Unit.MAIN: each}
    return {**others, Unit.DMA_IN: tags - sum(others.values())}


class _Tags:
    """Hands out completion tags in program order."""

    def __init__(self, instructions: list[Instruction], waits: list[list[int]], npu: NpuConfig) -> None:
        self.instructions, self.waits, self.npu = instructions, waits, npu
        self.shares = tag_shares(npu.completion_tags)
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
        free = next((tag for tag in range(self.npu.completion_tags) if self.busy_until.get(tag, -1) <= index), None)
        held = [tag for tag in self.holder if self.busy_until.get(tag, -1) > index and self._unit(tag) is unit]
        tag = free if free is not None and len(held) < self.shares[unit] else max(held, key=lambda t: self.holder[t])
        # Whoever still waits for the tag now waits for this instruction, which completes later.
        self.last_waiter[index] = max(self.last_waiter[index], self.busy_until.get(tag, -1))
        self.tag_of[index] = tag
        self.holder[tag] = index
        self.busy_until[tag] = self.last_waiter[index]
        return tag

    def _unit(self, tag: int) -> Unit:
        return self.instructions[self.holder[tag]].unit
