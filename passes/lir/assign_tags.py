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
    """For each instruction, the indices of earlier ones it must wait for: at most one of each other unit, the latest,
    since that one ran behind all before it.

    What an instruction has waited for was complete when it started, and so was what that had waited for itself: whoever
    comes after it on its unit, or waits for it, need not wait for any of these again. Nor need anybody behind a `jump`
    wait for what stands before it, loads apart: they were complete before the command processor went on.
    """
    access = npu.sram_access_bytes
    memories = defaultdict[str, _Memory](_Memory)
    complete: dict[Unit, _Latest] = {unit: {} for unit in Unit}  # of the others, when a unit's next instruction starts
    complete_at: list[_Latest] = []  # the same, when each instruction started
    waits: list[list[int]] = []
    for index, insn in enumerate(instructions):
        conflicts: _Latest = {}
        for writes, ranges in ((False, insn.reads(access)), (True, insn.writes(access))):
            for each in ranges:
                memories[each.space].touch(each, insn.unit, index, writes, conflicts)
        mine = complete[insn.unit]
        needed = {unit: other for unit, other in conflicts.items() if other > mine.get(unit, -1)}
        for unit, other in needed.items():
            _advance(mine, {**complete_at[other], unit: other})
        if insn.unit is Unit.CONTROL:
            _advance(mine, {unit: index for unit in Unit if unit is not Unit.DMA_IN})
            for others in complete.values():
                _advance(others, mine)
        complete_at.append(dict(mine))
        waits.append(sorted(needed.values()))
    return waits


_Latest = dict[Unit, int]  # of some units, the index of one instruction


def _advance(mine: _Latest, theirs: _Latest) -> None:
    """The later one of each unit."""
    for unit, index in theirs.items():
        mine[unit] = max(mine.get(unit, -1), index)


class _Last(NamedTuple):
    """The latest instruction of each unit that wrote some bytes, and that read them since."""

    writers: _Latest
    readers: _Latest


class _Memory:
    """The bytes of a memory in pieces that instructions treated alike: piece i goes from starts[i] to the next start.

    What comes after a write need not wait for what came before it: the write did."""

    def __init__(self) -> None:
        self.starts = [0]
        self.pieces = [_Last({}, {})]

    def touch(self, touched: Range, unit: Unit, index: int, writes: bool, conflicts: _Latest) -> None:
        """Note an access by an instruction, and add to `conflicts` those of other units that must come before it."""
        if touched.start >= touched.stop:
            return
        first, end = self._cut(touched.start), self._cut(touched.stop)
        for last in self.pieces[first:end]:
            for others in (last.writers, last.readers) if writes else (last.writers,):
                for other, at in others.items():
                    if other is not unit:
                        conflicts[other] = max(conflicts.get(other, -1), at)
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
    """Of 4 completion tags or more, how many each unit with a queue may hold: all of them in sum, so that none is ever
    without.

    Weight loads run far ahead of what waits for them and get most, 17 of 32; what computes holds 6 and 6, stores 3.
    Nobody waits for the command processor."""
    computing, stores = tags * 3 // 16 or 1, tags * 3 // 32 or 1
    others = {Unit.DMA_OUT: stores, Unit.SUB: computing, Unit.MAIN: computing}
    return {**others, Unit.DMA_IN: tags - sum(others.values())}


class _Tags:
    """Hands out completion tags in program order.

    A tag is held from the instruction that signals it to the last one that waits for it, and is free then. waits: as
    `find_waits` has them. Instructions are called by their indices.
    """

    def __init__(self, instructions: list[Instruction], waits: list[list[int]], npu: NpuConfig) -> None:
        self.instructions, self.waits = instructions, waits
        self.tags, self.shares = range(npu.completion_tags), tag_shares(npu.completion_tags)
        self.last_waiter: dict[int, int] = {}
        for index, others in enumerate(waits):
            for other in others:
                self.last_waiter[other] = index
        self.tag_of: dict[int, int] = {}
        self.busy_until: dict[int, int] = {}  # of a tag, the last instruction that waits for it
        self.holder: dict[int, int] = {}  # of a tag, the instruction that signals it

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
        """The tag that an instruction signals: a free one, or where its unit has its share, its latest one."""
        held = [tag for tag in self.holder if self._busy(tag, index) and self._unit(tag) is unit]
        if len(held) < self.shares[unit]:
            tag = next(tag for tag in self.tags if not self._busy(tag, index))  # there is one: shares add up to all
        else:  # whoever still waits for the tag waits for this instruction from now on, which completes later
            tag = max(held, key=lambda t: self.holder[t])
            self.last_waiter[index] = max(self.last_waiter[index], self.busy_until[tag])
        self.tag_of[index] = tag
        self.holder[tag] = index
        self.busy_until[tag] = self.last_waiter[index]
        return tag

    def _busy(self, tag: int, index: int) -> bool:
        """Some instruction after this one waits for it."""
        return self.busy_until.get(tag, -1) > index

    def _unit(self, tag: int) -> Unit:
        return self.instructions[self.holder[tag]].unit
