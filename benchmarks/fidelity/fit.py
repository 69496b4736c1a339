"""Fit the constants that no document gives to the published rows.

Coordinate descent in factors over the binaries at hand; layouts and schedules were chosen with the constants that
were in force when they were compiled, so compile again and repeat until the figures stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from benchmarks.fidelity.rows import Row
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.timing.clock import simulate

FITTED = ("mac_issue_cycles", "operator_setup_cycles", "dma_latency_cycles", "dram_efficiency", "move_bytes_per_cycle")
BOUNDS = {  # what the constants mean: no fit may leave it
    "dram_efficiency": (0.2, 0.95),
    "mac_issue_cycles": (1.0, 8.0),
    "dma_latency_cycles": (100.0, 4000.0),
    "move_bytes_per_cycle": (0.5, 16.0),
}
STEPS = (1.5, 1.2, 1.08)

Programs = tuple[Row, Sequence[Sequence[Instruction]], NpuConfig]  # a program for each NPU step


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Modelled against published: errors are fractions, model / published - 1."""

    rows: tuple[tuple[Row, float], ...]  # row, modelled ms

    @property
    def errors(self) -> list[float]:
        return [ms / row.ms - 1 for row, ms in self.rows]

    @property
    def mape(self) -> float:
        return sum(abs(e) for e in self.errors) / len(self.rows)

    @property
    def worst(self) -> float:
        return max(self.errors, key=abs)

    @property
    def bias(self) -> float:
        return sum(self.errors) / len(self.rows)


def fidelity(programs: Sequence[Programs], constants: dict[str, float] | None = None) -> Fidelity:
    """Run the clock over every program, on its machine with some constants replaced."""
    results = []
    for row, steps, npu in programs:
        machine = replace(npu, **constants) if constants else npu  # type: ignore[arg-type]
        cycles = sum(simulate(program, machine).cycles for program in steps)
        results.append((row, machine.milliseconds(cycles)))
    return Fidelity(tuple(results))


def fit(programs: Sequence[Programs], report: Callable[[str], None]) -> dict[str, float]:
    """The constants that make the mean absolute error smallest."""
    npu = programs[0][2]
    best = {name: float(getattr(npu, name)) for name in FITTED}
    best_error = _score(fidelity(programs, best))
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            for name in FITTED:
                for factor in (step, 1 / step):
                    low, high = BOUNDS.get(name, (0.0, float("inf")))
                    trial = best | {name: min(high, max(low, best[name] * factor))}
                    error = _score(fidelity(programs, trial))
                    if error < best_error - 1e-5:
                        best, best_error, improved = trial, error, True
                        report(f"{error:.4f}  " + "  ".join(f"{k}={v:.4g}" for k, v in best.items()))
    return best


def _score(result: Fidelity) -> float:
    """Mean absolute error, with a little weight on the worst row."""
    return result.mape + 0.1 * abs(result.worst)
