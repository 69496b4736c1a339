"""Ranges of all tensors from what one pass over the data saw of them.

Method "weighted": for each tensor the range whose errors matter least. The single methods: as with a `Calibrator`, from
the places that were seen; extremes are of all values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from furc.onnx.graph import Graph, activations
from furc.onnx.moves import is_move
from furc.progress import Progress
from furc.quantizer.grids.affine import Range
from furc.quantizer.grids.operators import CORRECTED, FIXED_RANGES
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.observe.pointwise import Behind, behind
from furc.quantizer.ranges.calibrator import Ranges
from furc.quantizer.ranges.histogram import Float64, Histogram
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.ranges.range_search import find_range
from furc.quantizer.ranges.weighted_ranges import weighted_range
from furc.quantizer.sensitivity.gains import Channels

BINNED_VALUES = 1 << 17  # of one tensor, of all its channels


def weighted_ranges(
    graph: Graph, tensors: Mapping[str, Channels], *, every: bool = False, progress: Progress | None = None
) -> Ranges:
    """Of all tensors that decide a grid; of all float tensors with `every`."""
    names = [name for name in (activations(graph) if every else free_tensors(graph)) if name in tensors]
    found, shown = Ranges(), _shown(graph)
    for done, name in enumerate(names):
        if progress is not None:
            progress("choose ranges", done, len(names))
        found[name] = _weighted(graph, name, tensors, name in shown)
    if progress is not None and names:
        progress("choose ranges", len(names), len(names))
    return _with_unseen(graph, found, tensors, every)


def single_ranges(
    graph: Graph,
    tensors: Mapping[str, Channels],
    method: CalibrationMethod,
    percentage: float,
    *,
    every: bool = False,
) -> Ranges:
    """By one of the ten methods."""
    names = [name for name in (activations(graph) if every else free_tensors(graph)) if name in tensors]
    found = Ranges()
    for name in names:
        values = tensors[name].seen.joined(max(1, BINNED_VALUES // len(tensors[name].low)))
        histogram = Histogram()
        histogram.add(values, bins=_is_free(graph, name))
        histogram.low, histogram.high = float(tensors[name].seen.low.min()), float(tensors[name].seen.high.max())
        found[name] = find_range(histogram, method, percentage)
    return _with_unseen(graph, found, tensors, every)


def _with_unseen(graph: Graph, ranges: Ranges, tensors: Mapping[str, Channels], every: bool) -> Ranges:
    """With those of tensors that were not looked at, as they follow from others. every: of moved data too."""
    found = ranges | _joined_gates(graph, tensors)
    return _with_moved(graph, found) if every else found


def _joined_gates(graph: Graph, tensors: Mapping[str, Channels]) -> Ranges:
    """Of Concats that nobody looked at and that join results on grids of their operators, or such Concats: where a
    chain that ends in a Sigmoid was split, or a part of it once more. They are on that grid."""
    given = {name: FIXED_RANGES[node.op] for node in graph.nodes if node.op in FIXED_RANGES for name in node.outputs}
    found = Ranges()
    for node in graph.nodes:
        if node.op == "Concat" and node.output not in tensors:
            joined = {found.get(name, given.get(name)) for name in node.inputs}
            if len(joined) == 1 and (of := joined.pop()) is not None:
                found[node.output] = of
    return found


def _with_moved(graph: Graph, ranges: Ranges) -> Ranges:
    """With those of moved data that was not seen itself: it is on the grid of what it was moved from."""
    for node in graph.nodes:
        if is_move(graph, node) and node.inputs[0] in ranges:
            for name in node.outputs:
                ranges.setdefault(name, ranges[node.inputs[0]])
    return ranges


def seen_tensors(graph: Graph, *, every: bool = False) -> list[str]:
    """What a pass must look at: tensors that decide a grid; what is made of them by the functions behind which their
    errors are measured; and what layers read, whose variance equalization weighs the noise of their weights by."""
    if every:
        return activations(graph)
    read = {node.inputs[0] for node in graph.nodes if node.op in CORRECTED}
    free = free_tensors(graph)
    made = {function.result for name in free if (function := behind(graph, name)) is not None}
    return [name for name in activations(graph) if name in free | read | made]


def free_tensors(graph: Graph) -> set[str]:
    """Those whose range decides a grid and may be chosen."""
    return {name for name in rounded_tensors(graph) if _is_free(graph, name)}


def _is_free(graph: Graph, name: str) -> bool:
    node = graph.producer(name)
    return node is None or node.op not in FIXED_RANGES


def _shown(graph: Graph) -> set[str]:
    """The graph's outputs, what they are made of by moving data alone, and what the last activation reads."""
    found = set(graph.outputs)
    for node in reversed(graph.nodes):
        if not found.isdisjoint(node.outputs) and (node.op == "Concat" or is_move(graph, node)):
            found.update(node.inputs if node.op == "Concat" else node.inputs[:1])
    read = {name for node in graph.nodes for name in node.inputs if name}
    return found | {name for name in read if (made := behind(graph, name)) is not None and made.result in found}


def _weighted(graph: Graph, name: str, tensors: Mapping[str, Channels], is_shown: bool) -> Range:
    """is_shown: the tensor is a result of the model, or the last activation makes one of it. What stands behind the
    result is a guess then, and where a sigmoid is flat a gain tells of small errors alone: a range reaches at least as
    far as it would without them. Of a tensor that was seen rarely nothing is cut off."""
    of = tensors[name]
    low, high = float(of.seen.low.min()), float(of.seen.high.max())
    if not _is_free(graph, name) or low == high:
        return low, high
    function = behind(graph, name)
    if of.seen.is_rare and function is None:
        return low, high
    values = of.seen.joined(max(1, BINNED_VALUES // len(of.low)))
    found = weighted_range(values, _gain(tensors, name, function), low, high, function)
    if is_shown:
        alike = weighted_range(values, np.ones(len(of.low)), low, high, function)
        return min(found[0], alike[0]), max(found[1], alike[1])
    return found


def _gain(tensors: Mapping[str, Channels], name: str, function: Behind | None) -> Float64:
    """Of the tensor that its errors are measured in: behind the function, where there is one. All alike if unknown."""
    result = function.result if function is not None and function.result in tensors else name
    found = [tensors[n].gain for n in (result, name) if tensors[n].gain.any()]
    return found[0] if found else np.ones(len(tensors[name].low))
