"""Method "auto": the candidate whose judged error on samples held back is least, within a budget.

Candidates are method "weighted" and the ten single methods, all from one pass over the data, as they are before layers
are corrected: to correct them for each would take as long as all else. Errors are those that the model's task sees
(judge.py). Held-back samples are few, so a candidate that is no single method wins only where it is no worse than the
best single method on both halves of them. Choosing tensor by tensor was tried for long and gained nothing on images
that it had not seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.progress import Progress
from furc.quantizer.grids.affine import Range
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.observe.judge import Judge
from furc.quantizer.observe.simulate import Simulation
from furc.quantizer.observe.sqnr import Noise, mean_ratio, sqnr_db
from furc.quantizer.ranges.budget import Budget
from furc.quantizer.ranges.method import WEIGHTED, CalibrationMethod
from isa.errors import counted

CANDIDATES = (WEIGHTED, "MSE_ASYM", "SQNR_ASYM", "PERCENTILE_ASYM", "MIN_MAX_ASYM", "MSE_SYM", "SQNR_SYM",
              "PERCENTILE_SYM", "ENTROPY_ASYM", "ENTROPY_SYM", "MIN_MAX_SYM")  # fmt: skip
FEWEST = 2  # trials: one alone decides nothing

Ranges = Mapping[str, Range]


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate. halves: its error, in parts of the outputs' power, on either half of the held-back samples."""

    method: str
    halves: tuple[float, float]

    @property
    def error(self) -> float:
        return sum(self.halves) / 2


@dataclass(frozen=True, slots=True)
class Choice:
    """trials: the chosen one first; none where there was no room for two of them, which chooses method "weighted"."""

    trials: tuple[Trial, ...]
    budget: Budget
    held: int

    @property
    def method(self) -> str:
        return self.trials[0].method if self.trials else WEIGHTED

    def __str__(self) -> str:
        budget, cost = self.budget, self.budget.default + len(self.trials) * self.budget.trial(self.held)
        if not self.trials:
            enough = math.ceil(budget.default + FEWEST * budget.trial(self.held))
            alone = f"{WEIGHTED} alone takes about {cost:.0f} float inferences a sample"
            return (
                f"auto: no method tried in a budget of {budget.inferences:g}, {alone}; --budget {enough} tries {FEWEST}"
            )
        spent = f"about {cost:.0f} of {budget.inferences:g} float inferences a sample"
        errors = ", ".join(f"{t.method} {sqnr_db(t.error):.1f} dB" for t in self.trials)
        return f"auto: {self.method}, by {counted(self.held, 'sample')} held back: {errors}; {spent}"


def choose_method(
    graph: Graph,
    ranges_by: Callable[[str], Ranges],
    held: Sequence[Feed],
    judge: Judge,
    *,
    trials: int = len(CANDIDATES),
    progress: Progress | None = None,
) -> list[Trial]:
    """The candidates tried, the chosen one first. held: samples that the ranges have not seen."""
    judging = _Judging(graph, held, judge)
    found = []
    for done, method in enumerate(CANDIDATES[:trials]):
        if progress is not None:
            progress("try methods", done, trials)
        found.append(judging.trial(method, ranges_by(method)))
    if progress is not None:
        progress("try methods", len(found), trials)
    return chosen_first(found)


def chosen_first(trials: Sequence[Trial]) -> list[Trial]:
    """In order of error, but for what beats the best single method on one half of the samples only."""
    ordered = sorted(trials, key=lambda trial: trial.error)
    singles = [trial for trial in ordered if trial.method in set(CalibrationMethod)]
    if singles and any(mine > his for mine, his in zip(ordered[0].halves, singles[0].halves, strict=True)):
        ordered.remove(singles[0])
        ordered.insert(0, singles[0])
    return ordered


class _Judging:
    """Errors of ranges on the held-back samples."""

    def __init__(self, graph: Graph, held: Sequence[Feed], judge: Judge) -> None:
        self._graph, self._held = graph, held
        self._judged, self._outputs = judge.judged(graph)
        run = RunModel(self._judged, spinning=False)
        self._exact = [run(feed) for feed in held]

    def trial(self, method: str, ranges: Ranges) -> Trial:
        scheme = choose_grids(self._graph, ranges)
        simulation = Simulation(self._judged, scheme, self._outputs)
        found = [simulation(feed, scheme.grids) for feed in self._held]
        return Trial(method, (self._error(found, slice(0, None, 2)), self._error(found, slice(1, None, 2))))

    def _error(self, found: Sequence[Mapping[str, Array]], half: slice) -> float:
        noises = {name: Noise() for name in self._outputs}
        for exact, got in list(zip(self._exact, found, strict=True))[half] or [(self._exact[0], found[0])]:
            for name, noise in noises.items():
                noise.add(exact[name], got[name])
        return mean_ratio(noises)
