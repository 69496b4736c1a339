"""A program on the clock: the timeline of a binary, and its slices engine by engine, for every report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from isa import enf as enf_file
from isa.enf import Enf, Operator
from isa.errors import EnfError, Loc
from isa.instructions import Unit
from isa.interpreter import fetch
from isa.npu import NpuConfig
from isa.timing.clock import Event, Timeline, simulate


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

    Of a DMA transfer only the data: its latency overlaps the transfer before it.
    """

    engine: Engine
    start: float
    stop: float
    operator: int  # an index into Enf.operators, or -1
    event: Event

    @property
    def bound_by(self) -> str:
        """What makes the instruction take as long as it does."""
        if self.engine is Engine.DMA_IN:
            return "dma_in"
        return "dma_out" if self.engine is Engine.DMA_OUT else self.event.cost.bound_by()


@dataclass(frozen=True)
class Recorded:
    """A binary, its machine, and when each of its instructions ran."""

    enf: Enf
    npu: NpuConfig
    timeline: Timeline

    @cached_property
    def slices(self) -> tuple[Slice, ...]:
        """Every instruction but those of the command processor, in program order."""
        return tuple(self._slices())

    def _slices(self) -> Iterator[Slice]:
        for event, operator in zip(self.timeline.events, self.owners, strict=True):
            engine = ENGINES.get(event.instruction.unit)
            if engine is not None:
                dma = engine in (Engine.DMA_IN, Engine.DMA_OUT)
                stop = event.start + event.cost.transfer if dma else event.end
                yield Slice(engine, event.start, stop, operator, event)

    @property
    def owners(self) -> tuple[int, ...]:
        """The operator of each event; a file without a debug map has none."""
        count = len(self.timeline.events)
        return (*self.enf.operator_of, *(-1 for _ in range(count)))[:count]

    def operator(self, index: int) -> Operator:
        return self.enf.operators[index] if index >= 0 else PROGRAM


def record(enf: Enf, npu: NpuConfig) -> Recorded:
    """Run the clock over a binary. Raises EnfError where it is not for this machine."""
    enf_file.check_compatible(enf, npu)
    program = fetch(enf, npu)
    try:
        return Recorded(enf, npu, simulate(program, npu))
    except ArithmeticError as error:  # a hostile file may give an operand that no cost can be computed of
        raise EnfError("BadProgram", f"cannot be timed: {error}", at=Loc(enf.model_name)) from error
