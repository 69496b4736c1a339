"""What one pass of the float model over all samples sees of each tensor, small enough to keep and to work on.

Of every tensor: the values at some places of every sample, all channels of a place together, and the extremes of each
channel. Everything later is computed from these: how channels are evened out, where they are split, and ranges by
any method. Places are drawn anew for each sample and are the same in all tensors of one
size, so that what a node computes value by value can be computed on them too. Tensors that follow from others in this
way are not fetched: in a SiLU network two thirds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph
from furc.progress import Progress
from furc.quantizer.grids.operators import CLAMPS, clip_bounds
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.observe.float_run import Feed, FloatRun
from furc.quantizer.observe.pointwise import Behind, behind
from isa.errors import Loc, QuantizeError

Float64 = NDArray[np.float64]
PLACES = 4096  # of one tensor, in all samples together
VALUES = 1 << 16  # of a tensor of few channels, which have more places then
FEWEST_PLACES = 4  # in one sample
RARE = 512  # values of a channel: fewer say little of its extremes, as of a pooled map, which has one an image
USUAL_SAMPLES = 64  # where their number is not known
GROUP_BYTES = 768 << 20  # of activations held at once; a model with more is run in several parts


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one tensor. lows, highs: extremes of each channel (axis 1) in each sample, [samples, channels]; lows may be 0
    where values are not below it.

    values: of each sample, [channels, n].

    A tensor without channels has one.
    """

    lows: Float64
    highs: Float64
    values: tuple[Float32, ...]

    @property
    def low(self) -> Float64:
        return np.asarray(self.lows.min(0), np.float64)

    @property
    def high(self) -> Float64:
        return np.asarray(self.highs.max(0), np.float64)

    @property
    def is_rare(self) -> bool:
        """Whether so few values were seen that larger ones are to be expected."""
        values: int = sum(part.shape[1] for part in self.values)
        return values < RARE

    def taken(self, places: NDArray[np.intp]) -> Seen:
        """Some of the channels, in this order."""
        return Seen(self.lows[:, places], self.highs[:, places], tuple(part[places] for part in self.values))

    def joined(self, most: int) -> Float32:
        """Values of all samples, [channels, n] with n not much above `most`: one of so many neighbouring places, at
        random. Every so-manieth would be in the same columns of every row, or among the same channels where they are
        the last axis."""
        places = sum(part.shape[1] for part in self.values)
        step = max(1, places // most)
        kept = [drawn(part.shape[1], -(-part.shape[1] // step), index) for index, part in enumerate(self.values)]
        return np.concatenate([part[:, of] for part, of in zip(self.values, kept, strict=True)], axis=1)

    def without(self, samples: frozenset[int]) -> Seen:
        """What it is without some of the samples, by their numbers."""
        return self.of_samples([index for index in range(len(self.values)) if index not in samples])

    def of_samples(self, samples: Sequence[int]) -> Seen:
        """What it is in some of the samples; in all where a tensor that may be empty was in none of them."""
        kept = [index for index in samples if index < len(self.values)] or list(range(len(self.values)))
        return Seen(self.lows[kept], self.highs[kept], tuple(self.values[index] for index in kept))


def pass_over(
    graph: Graph, names: Iterable[str], feeds: Iterable[Feed], *, samples: int | None, kept: int, progress: Progress
) -> tuple[dict[str, Seen], list[dict[str, Array]]]:
    """What a pass over all data sees of tensors, and outputs of the graph; see `OnePass`, whose sessions take as much
    memory as the largest sample and are gone afterwards."""
    looking = OnePass(graph, names, samples=samples, kept=kept)
    for feed in feeds:
        looking.look(feed)
        progress("calibrate", looking.samples, samples)
    return looking.found(), looking.outputs


class OnePass:
    """Looks at tensors of a graph, sample by sample.

    samples: their number, where it is known. kept: the graph's outputs are kept of so many samples.
    """

    def __init__(self, graph: Graph, names: Iterable[str], *, samples: int | None = None, kept: int = 0) -> None:
        self.graph, self.samples, self.outputs = graph, 0, list[dict[str, Array]]()
        self._kept = kept
        wanted = list(dict.fromkeys(names))
        self._functions = _followed(graph, wanted)
        followed = {function.result for function in self._functions.values()}
        self._names = [name for name in wanted if name not in followed]
        self._ends = [name for name in graph.outputs if graph.is_float(name)]
        self._places = max(FEWEST_PLACES, PLACES // (samples or USUAL_SAMPLES))
        self._values = VALUES // (samples or USUAL_SAMPLES)
        self._building = {name: _Building() for name in self._names}
        self._apart = {name for name in self._names if _channels(graph, name)}
        self._floored = {name for name in self._names if _ends_at_zero(graph, name)}
        watched = list(dict.fromkeys([*self._names, *self._ends]))
        self._runs = [FloatRun(graph, group, layouts=True) for group in _groups(graph, watched)]

    def look(self, feed: Feed) -> None:
        """At one sample. Raises QuantizeError[EmptyTensor, NotFinite] and RunError[CannotRun]."""
        ends: dict[str, Array] = {}
        for run in self._runs:
            values = run(feed)
            ends.update({name: values[name] for name in self._ends if name in values})
            for name in self._names:
                if name in values and (values[name].size or self.graph.shape(name) is not None):
                    self._add(name, values)
        for name, value in ends.items():
            if value.size and not math.isfinite(float(np.sum(value, dtype=np.float64))):
                self._refuse({name: value})
        if self.samples < self._kept:
            self.outputs.append(ends)
        self.samples += 1

    def found(self) -> dict[str, Seen]:
        """All that was seen. Raises QuantizeError[NoData]."""
        if not self.samples:
            raise QuantizeError(
                "NoData", "no calibration data was collected", hint="call collect_data with at least one sample"
            )
        found = {name: built.seen() for name, built in self._building.items() if built.values}
        for name, function in self._functions.items():
            if name in found:
                found[function.result] = _through(found[name], function)
        return found

    def _add(self, name: str, values: Mapping[str, Array]) -> None:
        value = values[name]
        if not value.size:
            raise QuantizeError(
                "EmptyTensor", f"tensor '{name}' has no elements: {list(value.shape)}",
                at=_place(self.graph, name), hint="check the bounds of slices and splits before it",
            )  # fmt: skip
        if value.dtype != np.float32:
            value = value.astype(np.float32)
        planes = _planes(value) if name in self._apart else value.reshape(1, -1)
        places = drawn(planes.shape[1], max(self._places, self._values // len(planes)), self.samples)
        by_row = value.reshape(*value.shape[:2], -1) if name in self._apart else planes[None]
        high = by_row.max(2).max(0)  # NumPy is fast along one axis, the last; the extremes of some rows cost 0.4 dB
        low = np.zeros_like(high) if name in self._floored else by_row.min(2).min(0)
        if not (math.isfinite(float(low.min())) and math.isfinite(float(high.max()))):
            self._refuse(values)
        self._building[name].add(low, high, np.take(planes, places, axis=1))

    def _refuse(self, values: Mapping[str, Array]) -> None:
        """Name the first tensor that is not finite."""
        for name, value in values.items():
            if not np.isfinite(value).all():
                bad = "NaN" if np.isnan(value).any() else "infinity"
                raise QuantizeError(
                    "NotFinite", f"sample {self.samples}: tensor '{name}' holds {bad}", at=_place(self.graph, name),
                    hint="check this sample, and that its preprocessing divides by no zero",
                )  # fmt: skip


@dataclass(slots=True)
class _Building:
    """A `Seen` that grows."""

    lows: list[Array] = field(default_factory=list)
    highs: list[Array] = field(default_factory=list)
    values: list[Float32] = field(default_factory=list)

    def add(self, low: Array, high: Array, values: Float32) -> None:
        self.lows.append(low)
        self.highs.append(high)
        self.values.append(values)

    def seen(self) -> Seen:
        return Seen(np.array(self.lows, np.float64), np.array(self.highs, np.float64), tuple(self.values))


def _channels(graph: Graph, name: str) -> int | None:
    """How many channels (axis 1) a tensor has, where that is known."""
    extents = graph.extents(name)
    return extents[1] if extents is not None and len(extents) > 1 else None


def _ends_at_zero(graph: Graph, name: str) -> bool:
    """Whether a clamp keeps a tensor from being below 0."""
    node = graph.producer(name)
    bounds = clip_bounds(graph, node) if node is not None and node.op in CLAMPS else None
    return bounds is not None and bounds[0] == 0


def _place(graph: Graph, name: str) -> Loc:
    node = graph.producer(name)
    return node.loc if node else Loc(detail=f"graph input '{name}'")


def _followed(graph: Graph, wanted: Sequence[str]) -> dict[str, Behind]:
    """The functions behind tensors whose results are wanted too; of those that decide a grid alone, so that the same
    is seen of a result whatever else is looked at."""
    inside, rounded = set(wanted), rounded_tensors(graph)
    functions = {name: made for name in wanted if name in rounded and (made := behind(graph, name)) is not None}
    return {name: function for name, function in functions.items() if function.result in inside}


def _through(seen: Seen, function: Behind) -> Seen:
    """A function's results. It may bend, so its extremes are of the values and of the ends."""
    edges = np.cumsum([part.shape[1] for part in seen.values])
    ends = np.concatenate([seen.lows, seen.highs]).T.astype(np.float32)
    made = np.asarray(function(np.concatenate([*seen.values, ends], axis=1)), np.float32)
    *parts, ends = np.split(made, edges, axis=1)
    of_ends = ends.T.reshape(2, len(parts), -1)
    lows = [np.minimum(part.min(1), end) for part, end in zip(parts, of_ends.min(0), strict=True)]
    highs = [np.maximum(part.max(1), end) for part, end in zip(parts, of_ends.max(0), strict=True)]
    return Seen(np.array(lows, np.float64), np.array(highs, np.float64), tuple(parts))


def _planes(value: Array) -> Array:
    """[channels, places], of all images of a batch."""
    planes = value.reshape(*value.shape[:2], -1)
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 1, 0).reshape(planes.shape[1], -1)


@lru_cache(1024)
def drawn(size: int, places: int, sample: int) -> NDArray[np.intp]:
    """One place at random in each of so many equal parts of a tensor; all of them where it has no more. Not to be
    written to."""
    found = np.arange(size)
    if size > places:
        random = np.random.default_rng([size, sample])
        found = ((np.arange(places) + random.random(places)) * (size / max(places, 1))).astype(np.intp)
    found.flags.writeable = False
    return found


def _groups(graph: Graph, names: Sequence[str]) -> Iterator[list[str]]:
    """The tensors to be seen, in parts that fit in memory."""
    group, used = list[str](), 0
    for name in names:
        size = 4 * math.prod(graph.shape(name) or (0,))
        if used + size > GROUP_BYTES and group:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    yield group
