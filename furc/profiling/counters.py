"""Counters over time: SRAM bytes in use, DRAM rate, MAC utilization, each as steps (cycle, value from then on)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.profiling.recorded import Engine, Recorded
from isa.operands import OFFSET_UNIT_BYTES, Space

Cycles = NDArray[np.float64]
CELL_BYTES = OFFSET_UNIT_BYTES  # what SRAM is counted in, in each slice


class Step(NamedTuple):
    """From this cycle on the counter has this value."""

    cycle: float
    value: float


def dram_gigabytes_per_second(recorded: Recorded) -> list[Step]:
    """The rate of the transfer that holds the DRAM interface."""
    pulses = []
    for piece in recorded.slices:
        if piece.engine in (Engine.DMA_IN, Engine.DMA_OUT) and piece.stop > piece.start:
            rate = piece.event.cost.dram_bytes / (piece.stop - piece.start) * recorded.npu.clock_hz / 1e9
            pulses.append((piece.start, piece.stop, rate))
    return _steps(pulses)


def mac_utilization(recorded: Recorded) -> list[Step]:
    """Multiply-accumulates a cycle as a share of the peak, averaged over each instruction."""
    peak = recorded.npu.macs_per_cycle
    return _steps(
        (piece.start, piece.stop, piece.event.cost.macs / ((piece.stop - piece.start) * peak))
        for piece in recorded.slices
        if piece.engine is Engine.MAIN and piece.event.cost.macs and piece.stop > piece.start
    )


def sram_bytes(recorded: Recorded) -> list[Step]:
    """Bytes that hold something which is read later, over all slices.

    From instructions alone: a cell lives from a write to the last read before something else is written there. Weights
    that stay from run to run are read by the next one too: they live all the time.
    """
    npu = recorded.npu
    cells = -(-npu.sram_bytes_per_slice // CELL_BYTES)
    born, read = np.full(cells, -1.0), np.full(cells, -1.0)
    changes: list[tuple[float, int]] = []
    for event in sorted(recorded.timeline.events, key=lambda event: event.start):
        if not event.works:  # what it loads is there from an earlier run
            for low, high in _cells(event.instruction.writes(npu.sram_access_bytes)):
                born[low:high], read[low:high] = 0.0, recorded.timeline.cycles
            continue
        for low, high in _cells(event.instruction.reads(npu.sram_access_bytes)):
            read[low:high] = np.maximum(read[low:high], event.end)
        for low, high in _cells(event.instruction.writes(npu.sram_access_bytes)):
            done = (read[low:high] >= 0) & (read[low:high] <= event.start)
            changes += _lives(born[low:high][done], read[low:high][done])
            read[low:high][done] = born[low:high][done] = -1.0
            born[low:high] = np.where(born[low:high] < 0, event.start, born[low:high])
    changes += _lives(born[(born >= 0) & (read >= 0)], read[(born >= 0) & (read >= 0)])
    return list(_running_sum(changes, CELL_BYTES * npu.num_slices))


def _cells(ranges: tuple[tuple[Space, int, int], ...]) -> Iterator[tuple[int, int]]:
    for space, start, stop in ranges:
        if space is Space.SRAM:
            yield start // CELL_BYTES, -(-stop // CELL_BYTES)


def _lives(born: Cycles, died: Cycles) -> list[tuple[float, int]]:
    """Cells that came and went together, as changes of the count."""
    spans, together = np.unique(np.stack([born, died]), axis=1, return_counts=True)
    changes = [(float(start), int(n)) for start, n in zip(spans[0], together, strict=True)]
    return changes + [(float(stop), -int(n)) for stop, n in zip(spans[1], together, strict=True)]


def _running_sum(changes: list[tuple[float, int]], unit: int) -> Iterator[Step]:
    by_cycle: dict[float, int] = {}
    for cycle, change in changes:
        by_cycle[cycle] = by_cycle.get(cycle, 0) + change
    now = 0
    for cycle in sorted(by_cycle):
        if by_cycle[cycle]:
            now += by_cycle[cycle]
            yield Step(cycle, now * unit)


def _steps(pulses: Iterable[tuple[float, float, float]]) -> list[Step]:
    """Disjoint pulses (start, stop, value) as steps, zero in between."""
    steps: list[Step] = []
    for start, stop, value in sorted(pulses):
        if steps and steps[-1].cycle >= start:
            steps.pop()  # the zero of the pulse that ends here
        if not steps or steps[-1].value != value:
            steps.append(Step(start, value))
        steps.append(Step(stop, 0.0))
    return steps
