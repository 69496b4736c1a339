"""Whose each cycle of a run is: engines overlap, and of those at work one operator is what the run is waiting for."""

from __future__ import annotations

from collections.abc import Sequence

from furc.profiling.recorded import Engine, Slice

# Nearest to the result first: what an engine further down does at the same time is hidden behind it.
ORDER = (Engine.MAIN, Engine.SUB, Engine.DMA_OUT, Engine.DMA_IN)


def run_shares(slices: Sequence[Slice]) -> dict[int, float]:
    """Cycles of the run by operator, each cycle counted once: it is that of the first engine of ORDER that works then.

    Cycles in which no engine works are nobody's.
    """
    edges: list[tuple[float, bool, int]] = []
    for number, piece in enumerate(slices):
        if piece.stop > piece.start:
            edges += ((piece.start, True, number), (piece.stop, False, number))
    shares: dict[int, float] = {}
    working: dict[Engine, int] = {}
    reached = 0.0
    for cycle, begins, number in sorted(edges):  # at one cycle ends come before beginnings
        first = next((working[engine] for engine in ORDER if engine in working), None)
        if first is not None:
            operator = slices[first].operator
            shares[operator] = shares.get(operator, 0.0) + cycle - reached
        reached, engine = cycle, slices[number].engine
        if begins:
            working[engine] = number
        elif working.get(engine) == number:
            del working[engine]
    return shares
