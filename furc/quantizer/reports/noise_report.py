"""Where a model's quantization noise comes from: by tensor, by group of channels, and what would take it away.

All of it is predicted from a survey of the float model, before any split (noise_model.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source
from furc.onnx.graph import Graph
from furc.quantizer.channels.partition import best_partition
from furc.quantizer.channels.split_price import LatencyPrice
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.noise.findings import Costly, costly_layers, label_of
from furc.quantizer.noise.measured import measured
from furc.quantizer.observe.held import keep
from furc.quantizer.observe.open_extents import at_extents_of
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.sensitivity.gains import Channels
from furc.quantizer.sensitivity.noise_model import Spread, activation_noise
from furc.quantizer.surveyed import surveyed

GROUPS = 4  # as many as a split makes


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels of like magnitude. width: of the range they need. noise: on the tensor's grid; alone: on one of their
    own. Both in parts of the outputs' power."""

    channels: tuple[int, ...]
    width: float
    noise: float
    alone: float


@dataclass(frozen=True, slots=True)
class TensorNoise:
    """What one tensor's grid costs. layer: that it belongs to. groups: from narrow to wide."""

    tensor: str
    layer: str
    step: float
    groups: tuple[ChannelGroup, ...]

    @property
    def noise(self) -> float:
        return sum(group.noise for group in self.groups)


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """tensors: what costs most first. layers: the costliest, with remedies. unknown: why there is no survey, or ""."""

    tensors: tuple[TensorNoise, ...]
    layers: tuple[Costly, ...]
    unknown: str = ""

    @property
    def total(self) -> float:
        """Of all tensors, in parts of the outputs' power."""
        return sum(tensor.noise for tensor in self.tensors)


def noise_report(model: Source, samples: object, options: QuantizeOptions | None = None) -> NoiseReport:
    """Survey a float model on some samples. Raises SourceError and QuantizeError as `quantize_model` does."""
    options, reasons = options or QuantizeOptions(), list[str]()
    graph = optimize_graph(model, options.input_shapes, options.opset)
    kept = keep(feeds(taken_by(graph), samples)).samples
    graph = at_extents_of(graph, kept)
    found = surveyed(graph, kept, options.task, lambda what, done, total: reasons.append(what), even=options.equalize)
    tensors = {name: of for name, of in measured(graph, found, kept, options.task).items() if of.gain.any()}
    if not tensors:
        return NoiseReport((), (), reasons[0] if reasons else "gradients need opset 13")
    layers = costly_layers(graph, tensors, LatencyPrice(graph, options.input_dtype), least_db=-math.inf)
    return NoiseReport(noise_by_tensor(graph, tensors), tuple(layers))


def noise_by_tensor(graph: Graph, tensors: Mapping[str, Channels]) -> tuple[TensorNoise, ...]:
    """Of every tensor that rounds, what costs most first."""
    rounded = rounded_tensors(graph)
    spreads = activation_noise(graph, {name: c for name, c in tensors.items() if name in rounded})
    found = [TensorNoise(name, label_of(graph, name), s.step(), _groups(s)) for name, s in spreads.items()]
    return tuple(sorted(found, key=lambda tensor: -tensor.noise))


def _groups(spread: Spread) -> tuple[ChannelGroup, ...]:
    """The cut of the channels, sorted by width, that a split would choose; one group where all are alike."""
    widths = np.maximum(spread.high, 0) - np.minimum(spread.low, 0)
    order = np.argsort(widths, kind="stable")
    ends, _ = best_partition(spread.taken(order).group_costs(), min(GROUPS, len(order)))
    return tuple(_group(spread, order[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True))


def _group(spread: Spread, places: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.intp]]) -> ChannelGroup:
    mine = spread.taken(np.asarray(places))
    width = float(np.maximum(mine.high, 0).max() - np.minimum(mine.low, 0).min())
    noise = float(spread.by_channel()[np.asarray(places)].sum())
    return ChannelGroup(tuple(sorted(int(c) for c in places)), width, noise, min(mine.noise(), noise))
