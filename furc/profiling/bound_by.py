"""What most cycles go into: the one rule, for an instruction and for an operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Protocol

from isa.instructions import Unit
from isa.timing.clock import Event
from isa.timing.formulas import Cost


class Busy(Protocol):
    """An engine at work on one instruction, in cycles (furc/profiling/recorded.py)."""

    @property
    def start(self) -> float: ...
    @property
    def stop(self) -> float: ...
    @property
    def event(self) -> Event: ...


class BoundBy(StrEnum):
    """What most of an operator's cycles go into."""

    MAC = "mac"
    FETCH = "fetch"
    VECTOR = "vector"
    DMA_IN = "dma_in"
    DMA_OUT = "dma_out"
    OVERHEAD = "overhead"
    HOST = "host"


_ORDER = (BoundBy.DMA_IN, BoundBy.DMA_OUT, BoundBy.OVERHEAD, BoundBy.MAC, BoundBy.FETCH, BoundBy.VECTOR)


def bound_by(slices: Sequence[Busy]) -> BoundBy:
    """The largest share of the cycles of some instructions; among equals the first of _ORDER.

    Transfers count with their data. Of the sub context counts what the main context does not hide.
    """
    spans = {unit: [(s.start, s.stop) for s in slices if s.event.instruction.unit is unit] for unit in Unit}
    shares = dict.fromkeys(_ORDER, 0.0)
    shares[BoundBy.DMA_IN], shares[BoundBy.DMA_OUT] = length(spans[Unit.DMA_IN]), length(spans[Unit.DMA_OUT])
    for part, cycles in _parts(slices, Unit.MAIN).items():
        shares[part] += cycles
    sub = _parts(slices, Unit.SUB)
    exposed, whole = union(spans[Unit.MAIN] + spans[Unit.SUB]) - length(spans[Unit.MAIN]), sum(sub.values())
    for part, cycles in sub.items():
        shares[part] += exposed * cycles / whole if whole else 0.0
    return max(shares, key=lambda part: shares[part])


def length(spans: Iterable[tuple[float, float]]) -> float:
    """Cycles of spans one after another."""
    return sum((stop - start for start, stop in spans), 0.0)


def union(spans: list[tuple[float, float]]) -> float:
    """Cycles that at least one span covers."""
    covered, reached = 0.0, 0.0
    for start, stop in sorted(spans):
        covered += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    return covered


def _parts(slices: Sequence[Busy], unit: Unit) -> dict[BoundBy, float]:
    parts = dict.fromkeys((BoundBy.OVERHEAD, BoundBy.MAC, BoundBy.FETCH, BoundBy.VECTOR), 0.0)
    for piece in slices:
        if piece.event.instruction.unit is unit:
            _add(parts, piece.event.cost)
    return parts


def _add(parts: dict[BoundBy, float], cost: Cost) -> None:
    """The parts of a tensor instruction, which add up to its cycles: its overhead, and the slower side of what runs in
    it, contracting and fetching in turns or the vector engine."""
    parts[BoundBy.OVERHEAD] += cost.overhead
    if cost.vector > cost.mac + cost.fetch:
        parts[BoundBy.VECTOR] += cost.vector
    else:
        parts[BoundBy.MAC] += cost.mac
        parts[BoundBy.FETCH] += cost.fetch
