"""The event-driven clock: when each instruction is issued, starts and ends. Sees no data.

The command processor issues in program order into the queues of the units and stalls on a full queue. A unit
takes its instructions in order; each starts when it is issued, the one before it is done, and the tags it waits
for are complete. The two DMA directions share the DRAM interface: a transfer starts when the interface is free.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from isa.instructions import End, Instruction, LoadWeights, Unit
from isa.npu import NpuConfig
from isa.operands import Space
from isa.timing.cost import Cost, cost, issue_cycles

UNITS = (Unit.DMA_IN, Unit.DMA_OUT, Unit.SUB, Unit.MAIN)
_DMA = (Unit.DMA_IN, Unit.DMA_OUT)


@dataclass(frozen=True, slots=True)
class Event:
    """One executed instruction: cycles at which it was issued, started and ended, and its cost."""

    index: int
    instruction: Instruction
    issued: float
    start: float
    end: float
    cost: Cost

    @property
    def works(self) -> bool:
        """False for a load of weights that are there from an earlier run: it takes no time."""
        return self.cost != FREE


@dataclass(frozen=True, slots=True)
class Timeline:
    """A program's events in program order, and its length in cycles."""

    events: tuple[Event, ...]
    cycles: float


@dataclass(slots=True)
class _Queue:
    """Instructions of one unit: waiting to start, and the start times that free queue places."""

    depth: int
    waiting: list[int] = field(default_factory=list)
    next: int = 0
    free: float = 0.0

    def head(self) -> int | None:
        return self.waiting[self.next] if self.next < len(self.waiting) else None


FREE = Cost(0.0)


def simulate(program: Sequence[Instruction], npu: NpuConfig, resident: frozenset[int] = frozenset()) -> Timeline:
    """Run the clock over instructions in the order the command processor meets them.

    resident: weight loads that take no time, since what they load is there from an earlier run."""
    costs = [FREE if index in resident else cost(insn, npu) for index, insn in enumerate(program)]
    return _Clock(program, costs, npu).run()


def first_run(following: Timeline, npu: NpuConfig) -> Timeline:
    """The first run of a program of which another one is known: it loads all weights."""
    program = [event.instruction for event in following.events]
    costs = [cost(event.instruction, npu) if not event.works else event.cost for event in following.events]
    return _Clock(program, costs, npu).run()


def resident_loads(programs: Sequence[Sequence[Instruction]], npu: NpuConfig) -> list[frozenset[int]]:
    """For each program of a model, the weight loads whose bytes in SRAM no other instruction of any of them writes.

    They stay from run to run: only the first run after loading the model pays for them."""
    writes = sorted(
        (r.start, r.stop, number, index)
        for number, program in enumerate(programs)
        for index, insn in enumerate(program)
        for r in insn.writes(npu.sram_access_bytes)
        if r.space is Space.SRAM
    )
    shared: set[tuple[int, int]] = set()
    reach, owner = -1, (-1, -1)
    for start, stop, number, index in writes:
        if start < reach:
            shared |= {(number, index), owner}
        if stop > reach:
            reach, owner = stop, (number, index)
    return [
        frozenset(i for i, insn in enumerate(program) if isinstance(insn, LoadWeights) and (n, i) not in shared)
        for n, program in enumerate(programs)
    ]


class WeightBytes(NamedTuple):
    """Of all weight loads of a model: that the first run alone does, and that every run does."""

    resident: int
    reloaded: int


def weight_bytes(programs: Sequence[Sequence[Instruction]], resident: Sequence[Container[int]]) -> WeightBytes:
    """How much of a model's weights stays in SRAM. resident: the loads of each program that do."""
    sizes = {True: 0, False: 0}
    for program, there in zip(programs, resident, strict=True):
        for index, insn in enumerate(program):
            if isinstance(insn, LoadWeights):
                sizes[index in there] += insn.src.bytes
    return WeightBytes(sizes[True], sizes[False])


def following_runs(programs: Sequence[Sequence[Instruction]], npu: NpuConfig) -> tuple[Timeline, ...]:
    """The timeline of each program of a model in every run but the first: with the weights that stay in place."""
    resident = resident_loads(programs, npu)
    return tuple(simulate(program, npu, there) for program, there in zip(programs, resident, strict=True))


class _Clock:
    def __init__(self, program: Sequence[Instruction], costs: Sequence[Cost], npu: NpuConfig) -> None:
        self.program, self.costs, self.npu = program, costs, npu
        count = len(program)
        self.issued, self.start, self.end = [0.0] * count, [-1.0] * count, [-1.0] * count
        self.awaited: list[list[int]] = [[] for _ in program]
        self.queues = {u: _Queue(npu.io_queue_depth if u in _DMA else npu.operand_queue_depth) for u in UNITS}
        self.ready: dict[Unit, float | None] = dict.fromkeys(UNITS)  # when heads can start, where that is known
        self.dram_free = 0.0
        self.issue_free = 0.0
        self.next_issue = 0
        self.latest: dict[int, int] = {}

    def run(self) -> Timeline:
        while True:
            issue, unit, start = self._issue_time(), None, 0.0
            for each in UNITS:
                time = self._start_time(each)
                if time is not None and (unit is None or time < start):
                    unit, start = each, time
            if unit is not None and (issue is None or start <= issue):
                self._begin(unit, start)
            elif issue is not None:
                self._issue(issue)
            else:
                break
        assert self.next_issue == len(self.program), "the clock stopped before the program"
        events = tuple(
            Event(i, insn, self.issued[i], self.start[i], self.end[i], self.costs[i])
            for i, insn in enumerate(self.program)
        )
        return Timeline(events, max(self.end, default=0.0))

    def _issue_time(self) -> float | None:
        """When the next instruction can be issued; None while that is not known yet."""
        if self.next_issue >= len(self.program):
            return None
        insn = self.program[self.next_issue]
        if insn.unit is Unit.CONTROL:
            return self._control_time(insn)
        queue = self.queues[insn.unit]
        if len(queue.waiting) - queue.next < queue.depth:
            behind = len(queue.waiting) - queue.depth
            freed = self.start[queue.waiting[behind]] if behind >= 0 else 0.0
            return max(self.issue_free, freed)
        return None

    def _control_time(self, insn: Instruction) -> float | None:
        if isinstance(insn, End):
            if any(queue.head() is not None for queue in self.queues.values()):
                return None
            # Not when the queues are free: the last transfer of a DMA queue is then still in flight.
            return max([self.issue_free, *self.end])
        # What comes next reaches empty units: only loads run on.
        drained = [self.queues[unit] for unit in UNITS if unit is not Unit.DMA_IN]
        if any(queue.head() is not None for queue in drained):
            return None
        last = [queue.waiting[-1] for queue in drained if queue.waiting]
        ends = [self.end[i] for i in (*last, *self._awaited(insn))]
        return max([self.issue_free, *ends]) if all(end >= 0 for end in ends) else None

    def _awaited(self, insn: Instruction) -> list[int]:
        mask, awaited = insn.wait, []
        while mask:
            tag = (mask & -mask).bit_length() - 1
            mask &= mask - 1
            if tag in self.latest:
                awaited.append(self.latest[tag])
        return awaited

    def _issue(self, time: float) -> None:
        index = self.next_issue
        insn = self.program[index]
        done = time + issue_cycles(insn, self.npu)
        self.issued[index] = self.issue_free = done
        if insn.unit is Unit.CONTROL:
            done += self.costs[index].cycles - self.npu.control_delay_cycles
            self.issue_free = done
            self.start[index], self.end[index] = time, done
        else:
            self.awaited[index] = self._awaited(insn)
            self.queues[insn.unit].waiting.append(index)
        if insn.signal is not None:
            self.latest[insn.signal] = index
        self.next_issue += 1

    def _start_time(self, unit: Unit) -> float | None:
        """When the head of a unit's queue can start; None where it is empty or waits for something unknown."""
        start = self.ready[unit]
        if start is None:
            queue = self.queues[unit]
            head = queue.head()
            if head is None:
                return None
            start = max(self.issued[head], queue.free)
            for other in self.awaited[head]:
                if self.end[other] < 0:
                    return None
                start = max(start, self.end[other])
            self.ready[unit] = start
        return max(start, self.dram_free) if unit in _DMA else start

    def _begin(self, unit: Unit, start: float) -> None:
        queue = self.queues[unit]
        index = queue.waiting[queue.next]
        queue.next += 1
        self.ready[unit] = None
        spent = self.costs[index]
        self.start[index], self.end[index] = start, start + spent.cycles
        queue.free = start + spent.cycles
        if unit in _DMA:
            # The latency of a transfer overlaps the data of the next one: only the data holds the interface.
            self.dram_free = start + spent.transfer
            queue.free = start + spent.transfer
