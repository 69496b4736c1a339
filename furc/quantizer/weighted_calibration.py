"""Method "weighted": one pass over the data, then for each tensor the range whose errors matter least.

Only tensors whose range is free are looked at. Where a tensor is a function of another one, as the result of a SiLU is,
its histogram follows from that of the other: two thirds of the tensors of a SiLU network need not be fetched.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from furc.onnx.graph import Graph
from furc.quantizer.calibrator import Observer, Progress, Ranges
from furc.quantizer.histogram import Bins, Float64
from furc.quantizer.operators import FIXED_RANGES
from furc.quantizer.pointwise import Behind, behind
from furc.quantizer.range_search import SEARCH_BINS
from furc.quantizer.scheme import quantized_tensors, rounded_tensors
from furc.quantizer.sensitivity import Channels
from furc.quantizer.weighted_ranges import weighted_range

BINNED_VALUES = 1 << 19  # of one tensor in all samples together
USUAL_SAMPLES = 64  # where their number is not known
FEWEST_VALUES, MOST_VALUES = 1 << 12, 1 << 17  # of one tensor in one sample


class Weighted:
    """Weighted histograms of a graph's tensors, and ranges from them. tensors: see `survey`.

    every: look at all float tensors, not only at those that decide a grid.
    """

    def __init__(
        self, graph: Graph, tensors: Mapping[str, Channels], *, every: bool = False, samples: int | None = None
    ) -> None:
        self._functions = {name: f for name in quantized_tensors(graph) if (f := behind(graph, name)) is not None}
        free = free_tensors(graph)
        followed = {f.result: name for name, f in self._functions.items() if not every and name in free}
        self._followed = {result: name for result, name in followed.items() if result in free}
        self.binned_values = int(np.clip(BINNED_VALUES // (samples or USUAL_SAMPLES), FEWEST_VALUES, MOST_VALUES))
        self.observer = Observer(
            graph,
            gains={name: _gain(tensors, name, self._functions.get(name)) for name in tensors},
            only=None if every else free - set(self._followed),
            binned_values=self.binned_values,
        )

    def ranges(self, progress: Progress | None = None) -> Ranges:
        """Ranges of all tensors. Raises QuantizeError[NoData]."""
        self.observer.check_seen()
        found, all_of_them = {}, self.observer.histograms
        for done, (name, histogram) in enumerate(all_of_them.items(), 1):
            if progress is not None:
                progress("choose ranges", done, len(all_of_them))
            low, high = histogram.range
            if not histogram.counts.any():
                found[name] = (low, high)
                continue
            bins, function = histogram.bins(SEARCH_BINS), self._functions.get(name)
            found[name] = weighted_range(bins, low, high, function)
            if function is not None and self._followed.get(function.result) == name:
                mapped = _through(bins, low, high, function)
                found[function.result] = weighted_range(mapped, float(mapped.centre[0]), float(mapped.centre[-1]))
        return found


def free_tensors(graph: Graph) -> set[str]:
    """Those whose range decides a grid and may be chosen."""
    return {name for name in rounded_tensors(graph) if _is_free(graph, name)}


def _is_free(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    return node is None or node.op not in FIXED_RANGES


def _gain(tensors: Mapping[str, Channels], name: str, function: Behind | None) -> Float64:
    """Of the tensor that its errors are measured in: behind the function, where there is one."""
    return tensors.get(function.result if function is not None else name, tensors[name]).gain


def _through(bins: Bins, low: float, high: float, function: Behind) -> Bins:
    """The histogram of a function's results; the extremes are in it, with no weight of their own."""
    values = function(np.concatenate([bins.centre, [low, high]]))
    held = np.concatenate([bins.held, [0.0, 0.0]])
    order = np.argsort(values, kind="stable")
    return Bins(values[order], held[order])
