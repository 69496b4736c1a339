"""Calibration: one pass of the float model over sample data, then a range for every tensor."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source
from furc.onnx.graph import Array, Graph, activations
from furc.onnx.moves import PERMUTATIONS
from furc.progress import Progress
from furc.quantizer.grids.affine import Range
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.grids.qdq import check_not_quantized
from furc.quantizer.observe.float_run import Feed, FloatRun
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.histogram import Float64, Histogram
from furc.quantizer.ranges.method import CalibrationMethod, method_named
from furc.quantizer.ranges.range_search import find_range
from isa.errors import Loc, QuantizeError

Ranges = dict[str, Range]

BINNED_VALUES = 1 << 17  # of one tensor in one sample; larger tensors are thinned, their extremes stay exact
GROUP_BYTES = 768 << 20  # of activations held at once; a model with more is run in several parts


class Calibrator:
    """Collects the values of all float tensors of a model and computes their ranges.

    model: float; it is optimized first, as `quantize` does, so that both see the same tensors.
    percentage: of PERCENTILE methods, the share of values inside the range.
    """

    def __init__(
        self, model: Source, calibration_method: CalibrationMethod | str, *, percentage: float = 99.99
    ) -> None:
        if not 0 < percentage <= 100:
            raise QuantizeError("BadPercentage", f"percentage is {percentage}, it must be above 0 and at most 100")
        self.method = method_named(calibration_method)
        self.percentage = percentage
        self.observer = Observer(optimize_graph(model), bins=self.method.criterion != "MIN_MAX")

    def collect_data(self, calibration_dataset: object, progress: Progress | None = None) -> None:
        """Run the model on every sample and count its values. Can be called again with more.

        calibration_dataset: an iterable, read once; samples are arrays, sequences of arrays in input order, or dicts.
        Raises QuantizeError[BadCalibrationData, NotFinite].
        """
        self.observer.observe(calibration_dataset, progress)

    def compute_range(self, verbose: bool = False) -> Ranges:
        """A (minimum, maximum) for each tensor. verbose: show a progress bar. Raises QuantizeError[NoData]."""
        return self.observer.ranges(self.method, self.percentage, verbose=verbose)


class Observer:
    """Histograms of all float tensors of a graph.

    bins: False keeps only the extremes, which is faster. gains: what a value of each channel of a tensor counts, 1
    where a tensor is not among them. only: the tensors to look at, by default all. binned_values: of one tensor in one
    sample, see BINNED_VALUES.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        bins: bool = True,
        gains: Mapping[str, Float64] | None = None,
        only: Collection[str] | None = None,
        binned_values: int = BINNED_VALUES,
    ) -> None:
        check_not_quantized(graph)
        self.graph, self.samples = graph, 0
        self.histograms = {n: h for n, h in _histograms(graph).items() if only is None or n in only}
        self._bins, self._gains, self._binned = bins, gains or {}, binned_values
        seen = {id(h): name for name, h in reversed(self.histograms.items())}  # the first tensor of each histogram
        self._runs = [
            FloatRun(graph, group, layouts=only is not None)
            for group in _groups(graph, [n for n in self.histograms if n in seen.values()])
        ]

    def observe(self, data: object, progress: Progress | None = None, total: int | None = None) -> None:
        """Count the values of every sample. Raises QuantizeError[BadCalibrationData, NotFinite]."""
        total = len(data) if hasattr(data, "__len__") else total
        for last, values in self._activations(data):
            for name, array in values.items():
                if name in self.histograms:
                    self._add(name, array)
            self.samples += last
            if last and progress is not None:
                progress("calibrate", self.samples, total)

    def ranges(
        self,
        method: CalibrationMethod,
        percentage: float = 99.99,
        *,
        verbose: bool = False,
        progress: Progress | None = None,
    ) -> Ranges:
        """Ranges of all tensors. Raises QuantizeError[NoData]."""
        self.check_seen()
        distinct = {id(h): h for h in self.histograms.values()}
        found = {}
        for key, histogram in _shown(distinct, verbose=verbose):
            found[key] = find_range(histogram, method, percentage)
            if progress is not None:
                progress("choose ranges", len(found), len(distinct))
        return {name: found[id(h)] for name, h in self.histograms.items()}

    def check_seen(self) -> None:
        """Raises QuantizeError[NoData] where no sample was."""
        if not self.samples:
            raise QuantizeError(
                "NoData", "no calibration data was collected", hint="call collect_data with at least one sample"
            )

    def _activations(self, data: object) -> Iterator[tuple[bool, dict[str, Array]]]:
        """The activations of each sample, group by group, and whether the group is the sample's last.

        The next group is computed while the caller counts this one.
        """
        work = ((run is self._runs[-1], run, feed) for feed in feeds(taken_by(self.graph), data) for run in self._runs)
        with ThreadPoolExecutor(1) as pool:
            ahead = None
            for last, run, feed in work:
                running = last, pool.submit(_run, run, feed)
                if ahead is not None:
                    yield ahead[0], ahead[1].result()
                ahead = running
            if ahead is not None:
                yield ahead[0], ahead[1].result()

    def _add(self, name: str, values: Array) -> None:
        node = self.graph.producer(name)
        if not values.size and self.graph.shape(name) is None:
            return  # as many as this sample has, of detections say: none
        if not values.size:
            raise QuantizeError(
                "EmptyTensor",
                f"tensor '{name}' has no elements: {list(values.shape)}",
                at=node.loc if node else Loc(detail=f"graph input '{name}'"),
                hint="check the bounds of slices and splits before it",
            )
        bins, stride = self._bins and not _has_fixed_range(self.graph, name), _stride(values.shape, self._binned)
        weights, start = self._gains.get(name), self.samples % stride
        if not self.histograms[name].add(values, bins=bins, stride=stride, start=start, weights=weights):
            bad = "NaN" if np.isnan(values).any() else "infinity"
            raise QuantizeError(
                "NotFinite",
                f"sample {self.samples}: tensor '{name}' holds {bad}",
                at=node.loc if node else Loc(detail=f"graph input '{name}'"),
                hint="check this sample, and that its preprocessing divides by no zero",
            )


def _run(run: FloatRun, feed: Feed) -> dict[str, Array]:
    return run(feed)


def _histograms(graph: Graph) -> dict[str, Histogram]:
    """A histogram for every float tensor, shared where one only permutes another."""
    found: dict[str, Histogram] = {}
    for name in activations(graph):
        node = graph.producer(name)
        source = node.inputs[0] if node is not None and node.op in PERMUTATIONS else ""
        found[name] = found[source] if source in found else Histogram()
    return found


def _has_fixed_range(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    return node is not None and node.op in FIXED_RANGES


def _groups(graph: Graph, names: list[str]) -> list[list[str]]:
    """The tensors to be seen, in parts that fit in memory."""
    groups: list[list[str]] = [[]]
    used = 0
    for name in names:
        size = 4 * math.prod(graph.shape(name) or (0,))
        if used + size > GROUP_BYTES and groups[-1]:
            groups.append([])
            used = 0
        groups[-1].append(name)
        used += size
    return groups


def _stride(shape: tuple[int, ...], binned: int) -> int:
    """Take every so-manieth value of a large tensor; prime to its rows and planes, so that no column is preferred."""
    stride = -(-math.prod(shape) // binned)
    while stride > 1 and math.gcd(stride, math.prod(shape[-2:])) > 1:
        stride += 1
    return stride


def _shown(histograms: dict[int, Histogram], *, verbose: bool) -> Iterator[tuple[int, Histogram]]:
    if not verbose:
        return iter(histograms.items())
    from rich.progress import track  # here: most callers show nothing, and rich takes a tenth of a second

    return iter(track(histograms.items(), "ranges", total=len(histograms)))
