"""A binary on the clock: when each instruction of each NPU step ran, engine by engine, for every report.

Cycles count NPU work alone: those of a step begin where the step before it ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from furc.profiling.bound_by import BoundBy, bound_by
from isa import enf as enf_file
from isa.enf import Enf, Operator
from isa.errors import EnfError, Loc
from isa.instructions import Unit
from isa.npu import NpuConfig
from isa.program import fetch
from isa.timing.clock import Event, Timeline, WeightBytes, first_run, following_runs, weight_bytes


class Engine(StrEnum):
    """What works at the same time; the names are those of trace threads."""

    DMA_IN = "DMA in"
    DMA_OUT = "DMA out"
    SUB = "tensor unit sub"
    MAIN = "tensor unit main"


ENGINES = {
    Unit.DMA_IN: Engine.DMA_IN,
    Unit.DMA_OUT: Engine.DMA_OUT,
    Unit.SUB: Engine.SUB,
    Unit.MAIN: Engine.MAIN,
}
PROGRAM = Operator("LoadProgram", (), ())  # who owns loadp: the program itself


class Slice(NamedTuple):
    """An engine busy with one instruction, in cycles. Slices of an engine are disjoint.

    Of a DMA transfer only the data: its latency overlaps the transfer before it. run: which NPU step it is of.
    """

    engine: Engine
    start: float
    stop: float
    operator: int  # an index into Enf.operators, or -1
    event: Event
    run: int

    @property
    def bound_by(self) -> BoundBy:
        """What makes the instruction take as long as it does."""
        return bound_by((self,))


@dataclass(frozen=True)
class Recorded:
    """A binary, its machine, and the timeline of each NPU step in every run but the first, each from cycle 0."""

    enf: Enf
    npu: NpuConfig
    runs: tuple[Timeline, ...]

    @cached_property
    def starts(self) -> tuple[float, ...]:
        """The cycle at which each NPU step begins, and the one at which the last one ends."""
        return tuple(accumulate((run.cycles for run in self.runs), initial=0.0))

    @cached_property
    def timeline(self) -> Timeline:
        """All NPU steps one after another."""
        if len(self.runs) == 1:
            return self.runs[0]
        events = (
            replace(e, index=index, issued=e.issued + start, start=e.start + start, end=e.end + start)
            for index, (e, start) in enumerate(
                (event, start) for run, start in zip(self.runs, self.starts, strict=False) for event in run.events
            )
        )
        return Timeline(tuple(events), self.starts[-1])

    @cached_property
    def first_cycles(self) -> float:
        """Of the first run after loading the binary, which alone loads the weights that then stay in SRAM."""
        return sum(first_run(run, self.npu).cycles for run in self.runs)

    @cached_property
    def weights(self) -> WeightBytes:
        """What of the weights stays in SRAM from run to run."""
        programs = [[event.instruction for event in run.events] for run in self.runs]
        return weight_bytes(programs, [{e.index for e in run.events if not e.works} for run in self.runs])

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """Every instruction but those of the command processor, in program order."""
        return tuple(self._slices())

    def _slices(self) -> Iterator[Slice]:
        run_of = [number for number, run in enumerate(self.runs) for _ in run.events]
        for event, operator, run in zip(self.timeline.events, self.owners, run_of, strict=True):
            engine = ENGINES.get(event.instruction.unit)
            if engine is not None:
                dma = engine in (Engine.DMA_IN, Engine.DMA_OUT)
                stop = event.start + event.cost.transfer if dma else event.end
                yield Slice(engine, event.start, stop, operator, event, run)

    @property
    def owners(self) -> tuple[int, ...]:
        """The operator of each event; a step without a debug map has none."""
        owners: list[int] = []
        for step, run in zip(self.enf.npu_steps, self.runs, strict=True):
            count = len(run.events)
            owners += (*step.operator_of, *(-1 for _ in range(count)))[:count]
        return tuple(owners)

    def operator(self, index: int) -> Operator:
        return self.enf.operators[index] if index >= 0 else PROGRAM


def record(enf: Enf, npu: NpuConfig) -> Recorded:
    """Run the clock over a binary. Raises EnfError where it is not for this machine."""
    enf_file.check_compatible(enf, npu)
    programs = fetch(enf, npu)
    try:
        runs = following_runs(programs, npu)
    except ArithmeticError as error:  # a hostile file may give an operand that no cost can be computed of
        raise EnfError("BadProgram", f"cannot be timed: {error}", at=Loc(enf.model_name)) from error
    return Recorded(enf, npu, runs)
