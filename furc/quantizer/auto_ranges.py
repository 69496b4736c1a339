"""Method "auto": ranges tensor by tensor, by the error they cause at the model's outputs on samples held back.

First all ten methods are tried as a whole. Then, from the best of them, each class of tensors in turn tries the other
methods' ranges and keeps what lowers the output error on both halves of the held-back samples: with few samples, a
range that clips too much often does well on some and ruins others. Where biases will be corrected they are corrected
for the trials too: what ranges cost in shifted means would else outweigh all differences that stay.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.quantizer.bias_correction import correct_biases
from furc.quantizer.calibrator import Observer, Progress, Ranges
from furc.quantizer.float_run import Feed
from furc.quantizer.method import CalibrationMethod
from furc.quantizer.scheme import Scheme, choose_grids
from furc.quantizer.simulate import Simulation
from furc.quantizer.sqnr import Noise, mean_ratio

SEARCH_WORK = 2e10  # activation values computed by the search, about a minute; a clock would make results differ
CORRECT_SAMPLES = 8
WORTHWHILE = 0.99  # an output error must fall below this part of the best so far, else the difference is noise
Choice = dict[str, CalibrationMethod]  # by class of tensors


def choose_methods(
    observer: Observer,
    held: Sequence[Feed],
    *,
    correct_with: Sequence[Feed] = (),
    percentage: float = 99.99,
    work: float = SEARCH_WORK,
    progress: Progress | None = None,
) -> Choice:
    """The method of each class. held: samples the observer has not seen; correct_with: those to correct biases with."""
    search = _Search(observer, held, correct_with[:CORRECT_SAMPLES], percentage)
    start = search.best_method(progress)
    return search.refine(dict.fromkeys(search.leaders, start), work, progress)


def ranges_by_choice(observer: Observer, choice: Choice, percentage: float = 99.99) -> Ranges:
    """The ranges that the chosen methods give from all that the observer has seen."""
    by_method = {method: observer.ranges(method, percentage) for method in dict.fromkeys(choice.values())}
    some = next(iter(by_method.values()))
    leader = choose_grids(observer.graph, some).leader
    return {name: by_method[choice[leader[name]]][name] if name in leader else some[name] for name in some}


class _Search:
    """Output errors of choices, on the samples held back."""

    def __init__(
        self, observer: Observer, held: Sequence[Feed], correct_with: Sequence[Feed], percentage: float
    ) -> None:
        self.graph, self._correct_with = observer.graph, correct_with
        self._ranges = {method: observer.ranges(method, percentage) for method in CalibrationMethod}
        self.schemes = {method: self._scheme(ranges) for method, ranges in self._ranges.items()}
        scheme = self.schemes[CalibrationMethod.MIN_MAX_ASYM]
        self.leaders = list(dict.fromkeys(scheme.leader.values()))
        self._values = sum(math.prod(self.graph.shape(name) or (0,)) for name in scheme.grids)
        self._simulation = self._trial(scheme)
        exact = RunModel(self.graph.model())
        samples = [(feed, exact(feed)) for feed in held]
        self.search, self.check = samples[::2], samples[1::2] or samples

    def _scheme(self, ranges: Ranges) -> Scheme:
        return choose_grids(self.graph, ranges)

    def error(self, choice: Mapping[str, CalibrationMethod], samples: list[tuple[Feed, dict[str, Array]]]) -> float:
        """Mean noise-to-signal ratio of the outputs."""
        grids = {leader: self.schemes[method].grids[leader] for leader, method in choice.items()}
        noises = {name: Noise() for name in self.graph.outputs}
        for feed, exact in samples:
            found = self._simulation(feed, grids)
            for name, noise in noises.items():
                noise.add(exact[name], found[name])
        return mean_ratio(noises)

    def best_method(self, progress: Progress | None) -> CalibrationMethod:
        """The best of the ten; later errors are measured with biases corrected for it."""
        best, least = CalibrationMethod.MIN_MAX_ASYM, float("inf")
        kept = self._simulation
        for done, (method, scheme) in enumerate(self.schemes.items()):
            if self._correct_with and done:
                self._simulation = self._trial(scheme)
            error = self.error(dict.fromkeys(self.leaders, method), self.search + self.check)
            if error < least:
                best, least, kept = method, error, self._simulation
            if progress is not None:
                progress("try methods", done + 1, len(self.schemes))
        self._simulation = kept
        return best

    def _trial(self, scheme: Scheme) -> Simulation:
        trial = Graph(self.graph.model())
        correct_biases(trial, scheme, self._correct_with)
        return Simulation(trial, scheme)

    def refine(self, choice: Choice, work: float, progress: Progress | None) -> Choice:
        """Coordinate descent over classes until the work is done."""
        trials = work / max(self._values * len(self.search), 1)
        best, confirmed = self.error(choice, self.search), self.error(choice, self.check)
        for done, leader in enumerate(self.leaders):
            for method in self._alternatives(leader, choice[leader]):
                trials -= 1
                if trials < 0:
                    return choice
                changed = {**choice, leader: method}
                error = self.error(changed, self.search)
                if error > best * WORTHWHILE:
                    continue
                check = self.error(changed, self.check)
                if check < confirmed * WORTHWHILE:
                    choice, best, confirmed = changed, error, check
            if progress is not None:
                progress("choose ranges", done + 1, len(self.leaders))
        return choice

    def _alternatives(self, leader: str, current: CalibrationMethod) -> Iterator[CalibrationMethod]:
        """Methods that give the class another grid, by more than a hundredth."""
        tried = [self.schemes[current].grids[leader]]
        for method, scheme in self.schemes.items():
            g = scheme.grids[leader]
            if all(abs(g.scale / t.scale - 1) > 0.01 or abs(g.zero - t.zero) > 1 for t in tried):
                tried.append(g)
                yield method
