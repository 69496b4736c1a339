"""The range of a tensor by what its errors do to the model's outputs.

As method MSE, with two differences. Values count by the gain of their channel (sensitivity.py), so that a channel that
decides is not clipped for the sake of many that do not matter. And where an activation function stands behind the
tensor, the error is what is left of it behind that function: a SiLU's input may reach to -100, but nothing below -6
moves its result.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Float32
from furc.quantizer.grids.affine import SMALLEST_SCALE, Range, with_zero
from furc.quantizer.ranges.histogram import Bins
from furc.quantizer.ranges.range_search import SEARCH_BINS, best_ends, levels_and_bounds
from furc.quantizer.ranges.running_sums import RunningSums

Float64 = NDArray[np.float64]


class Function(Protocol):
    """A function of one number, of an array of them."""

    def __call__(self, values: Float64, /) -> Float64: ...


def weighted_range(values: Float32, gain: Float64, low: float, high: float, function: Function | None = None) -> Range:
    """The range of least error. values: [channels, n], of what lies from low to high. gain: [channels], what an error
    of a channel counts. function: what stands behind."""
    low, high = with_zero(low, high)
    if high - low < SMALLEST_SCALE / 2 or not values.size or not gain.any():
        return low, high  # every grid has all of so narrow a range at 0
    return best_ends(_Errors(_binned(values, gain, low, high), function), low, high)


class _Errors:
    """Weighted squared errors of ranges, as seen behind a function.

    All values between two bounds get one level, which the function takes to g: their error is the sum of w (f - g)^2 =
    w f^2 - 2 g w f + g^2 w, of which the first is the same for every range.
    """

    def __init__(self, bins: Bins, function: Function | None) -> None:
        self._function = function
        seen, weight = self._behind(bins.centre), bins.held / bins.held.sum()
        self._power = float(weight @ np.square(seen))
        self._sums = RunningSums(bins.centre, weight, weight * seen)

    def __call__(self, low: Float64, high: Float64) -> Float64:
        """Of many ranges, [n] each."""
        levels, bounds = levels_and_bounds(low, high)
        weight, seen = self._sums.between(bounds)
        level = self._behind(levels)
        error: Float64 = self._power + (level * (level * weight - 2 * seen)).sum(1)
        return error

    def _behind(self, values: Float64) -> Float64:
        return values if self._function is None else self._function(values)


def _binned(values: Float32, gain: Float64, low: float, high: float) -> Bins:
    """Values counted by their channel's gain, in equal bins, at the mean of what they hold."""
    index = ((values - np.float32(low)) * np.float32((SEARCH_BINS - 1) / (high - low))).astype(np.intp).reshape(-1)
    np.clip(index, 0, SEARCH_BINS - 1, out=index)
    gains = np.repeat((gain / gain.max()).astype(np.float32), values.shape[1])
    held: Float64 = np.bincount(index, gains, SEARCH_BINS).astype(np.float64)
    sums = np.bincount(index, gains * values.reshape(-1), SEARCH_BINS)
    filled = np.flatnonzero(held > 0)
    return Bins(np.clip(sums[filled] / held[filled], low, high), held[filled])
