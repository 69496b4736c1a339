"""How much noise each tensor's grid will bring into the outputs, told from float statistics alone.

Rounding to a grid of step s is noise of variance s^2 / 12 in every value; a channel's gain says what that does to the
outputs. So a tensor costs s^2 / 12 times the sum of its channels' gains, with s from the extremes of all its channels:
one channel with large values makes the grid coarse for all, and it costs most where the others have the larger gains.
What an activation function throws away, as SiLU does far below 0, does not count among the extremes. Where the noise of
a tensor was measured (noise/measured.py), it is no more than that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph
from furc.quantizer.grids.affine import STEPS
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.observe.pointwise import behind
from furc.quantizer.sensitivity.gains import Channels

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """What counts of a tensor's channels, [channels] each: the ends of their useful values, and their gains. most: of
    their noise on one grid, as measured."""

    low: Float64
    high: Float64
    gain: Float64
    most: float = math.inf

    def noise(self) -> float:
        """Of the tensor on one grid, in parts of the outputs' power."""
        return min(self.predicted(), self.most)

    def predicted(self) -> float:
        """The same as the gains alone tell it."""
        return float(self.step() ** 2 / 12 * self.gain.sum())

    def step(self) -> float:
        return float(max(self.high.max(initial=0.0), 0.0) - min(self.low.min(initial=0.0), 0.0)) / STEPS

    def by_channel(self) -> Float64:
        """What each channel has of the noise."""
        shares: Float64 = self.gain / max(float(self.gain.sum()), 1e-300)
        return self.noise() * shares

    def alone(self) -> Float64:
        """What each channel would have on a grid of its own."""
        widths = np.maximum(self.high, 0) - np.minimum(self.low, 0)
        return (widths / STEPS) ** 2 / 12 * self.gain

    def taken(self, order: NDArray[np.intp]) -> Spread:
        return Spread(self.low[order], self.high[order], self.gain[order])

    def group_costs(self) -> Float64:
        """[n + 1, n + 1]: the noise of the channels from i to j (exclusive) on a grid of their own."""
        size = len(self.low)
        costs = np.zeros((size + 1, size + 1))
        below = np.concatenate([[0.0], np.cumsum(self.gain)])
        for start in range(size):
            high = np.maximum.accumulate(np.maximum(self.high[start:], 0.0))
            low = np.minimum.accumulate(np.minimum(self.low[start:], 0.0))
            costs[start, start + 1 :] = ((high - low) / STEPS) ** 2 / 12 * (below[start + 1 :] - below[start])
        return costs


def spread_of(graph: Graph, name: str, channels: Channels) -> Spread:
    """Of a tensor, with what an activation behind it throws away left out."""
    low, high = channels.low, channels.high
    function = behind(graph, name)
    if function is not None:
        step = (max(high.max(), 0.0) - min(low.min(), 0.0)) / STEPS
        ends = function.live_range(float(low.min()), float(high.max()), step / 2)
        low, high = np.clip(low, *ends), np.clip(high, *ends)
    return Spread(low, high, channels.gain, channels.most)


def activation_noise(graph: Graph, tensors: Mapping[str, Channels]) -> dict[str, Spread]:
    """Of the tensors that round and whose range is free."""
    found = {}
    for name, channels in tensors.items():
        node = graph.producer(name)
        if node is None or node.op not in FIXED_RANGES:
            found[name] = spread_of(graph, name, channels)
    return found


def decibel(ratio: float) -> float:
    return 10 * math.log10(max(ratio, 1e-30))
