"""Fit the constants that no document gives to the published rows, and say how far the fit can be trusted.

The clock is nearly linear in the fitted constants (and in the inverse of an efficiency), so each step measures its
slopes on the binaries at hand and solves for the least mean absolute error. Layouts were chosen with the constants
that were in force when the binaries were compiled: compile again and repeat until the figures stand still.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from furc.zoo.published import Row
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.timing.clock import following_runs

FITTED = ("program_switch_cycles", "dram_efficiency")
INVERSE = {"dram_efficiency"}  # time grows with their inverse
STEPS = 3
SLOPE = 0.1  # by which part of a constant slopes are measured
RESAMPLES = 500
INTERVAL = (5, 95)  # percentiles

Program = tuple[Row, Sequence[Sequence[Instruction]], NpuConfig]  # a program for each NPU step
Vector = NDArray[np.float64]


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

    def by_family(self) -> Iterator[tuple[str, Fidelity]]:
        """The rows of each family of models."""
        for name in dict.fromkeys(family(row.model) for row, _ in self.rows):
            yield name, Fidelity(tuple((row, ms) for row, ms in self.rows if family(row.model) == name))


@dataclass(frozen=True, slots=True)
class Fit:
    """Constants with their intervals, and the rows as a fit without their family models them."""

    constants: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    inside: Fidelity
    left_out: Fidelity


def family(model: str) -> str:
    """Models of one architecture in different sizes: yolov5n6 is of 1280 pixels, yolov5nu has another head."""
    match = re.fullmatch(r"(yolov\d+)[a-z](6?u?)", model)
    return match[1] + match[2] if match else model


def fidelity(programs: Sequence[Program], constants: Mapping[str, float] | None = None) -> Fidelity:
    """Run the clock over every program, on its machine with some constants replaced. Not the first run: a following."""
    results = []
    for row, steps, npu in programs:
        machine = replace(npu, **constants) if constants else npu  # type: ignore[arg-type]
        cycles = sum(timeline.cycles for timeline in following_runs(steps, machine))
        results.append((row, machine.milliseconds(cycles) + row.host_ms))
    return Fidelity(tuple(results))


def fit(programs: Sequence[Program], report: Callable[[str], None]) -> Fit:
    """The constants that make the mean absolute error smallest over rows with program loading."""
    programs = [p for p in programs if p[0].program_loading]
    rows = [row for row, _, _ in programs]
    families = np.array([family(row.model) for row in rows])
    models = np.array([row.model for row in rows])
    at = _measures([float(getattr(programs[0][2], name)) for name in FITTED])
    for _ in range(STEPS):
        line = _Line(programs, at)
        at = line.best(np.ones(len(rows)))
        report("  ".join(f"{name} {value:.4g}" for name, value in zip(FITTED, _measures(at), strict=True)))
    line = _Line(programs, at)
    best = line.best(np.ones(len(rows)))
    left_out = np.empty(len(rows))
    for name in sorted(set(families)):
        inside = families == name
        left_out[inside] = line.ms(line.best(1.0 - inside))[inside]
    rng, names = np.random.default_rng(0), sorted(set(models))
    drawn = []
    for _ in range(RESAMPLES):
        counts = dict.fromkeys(names, 0)
        for name in rng.choice(names, len(names)):
            counts[name] += 1
        drawn.append(_measures(line.best(np.array([float(counts[m]) for m in models]))))
    low, high = np.percentile(np.array(drawn), INTERVAL, axis=0)
    constants = dict(zip(FITTED, (float(v) for v in _measures(best)), strict=True))
    return Fit(
        constants,
        {name: (float(a), float(b)) for name, a, b in zip(FITTED, low, high, strict=True)},
        fidelity(programs, constants),
        Fidelity(tuple((row, float(ms)) for row, ms in zip(rows, left_out, strict=True))),
    )


def _measures(values: Sequence[float] | Vector) -> Vector:
    """Constants from what time is linear in, and back: an efficiency stands for its inverse."""
    return np.array([1 / v if name in INVERSE else v for name, v in zip(FITTED, values, strict=True)])


class _Line:
    """Milliseconds of every program as a linear function of the fitted constants around a point."""

    def __init__(self, programs: Sequence[Program], at: Vector) -> None:
        self.at = at
        self.published = np.array([row.ms for row, _, _ in programs])
        self.base = self._run(programs, at)
        slopes = []
        for index in range(len(at)):
            step = np.zeros(len(at))
            step[index] = SLOPE * at[index]
            slopes.append((self._run(programs, at + step) - self.base) / step[index])
        self.slopes = np.stack(slopes, axis=1)

    def _run(self, programs: Sequence[Program], at: Vector) -> Vector:
        constants = dict(zip(FITTED, (float(v) for v in _measures(at)), strict=True))
        return np.array([ms for _, ms in fidelity(programs, constants).rows])

    def ms(self, at: Vector) -> Vector:
        result: Vector = self.base + self.slopes @ (at - self.at)
        return result

    def best(self, weights: Vector) -> Vector:
        """Least weighted absolute relative error, by reweighted least squares; constants stay positive."""
        x = self.at
        for _ in range(50):
            error = np.maximum(np.abs(self.ms(x) / self.published - 1), 0.005)
            scale = np.sqrt(weights / error) / self.published
            target = (self.published - self.base) * scale
            step, *_ = np.linalg.lstsq(self.slopes * scale[:, None], target, rcond=None)
            x = np.maximum(self.at + step, 0.05 * self.at)
        return x
