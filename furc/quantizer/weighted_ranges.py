"""The range of a tensor by what its errors do to the model's outputs.

As method MSE, with two differences. Values count by the gain of their channel (sensitivity.py), so that a channel that
decides is not clipped for the sake of many that do not matter. And where an activation function stands behind the
tensor, the error is what is left of it behind that function: a SiLU's input may reach to -100, but nothing below -6
moves its result.

A candidate costs as much as its 256 levels, not as the values: what lies between two bounds is told by running sums.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Float32
from furc.quantizer.affine import HIGH, LOW, Range, grids, with_zero
from furc.quantizer.range_search import SEARCH_BINS, best_ends

Float64 = NDArray[np.float64]
STORED = np.arange(LOW, HIGH + 1, dtype=np.float64)


class Function(Protocol):
    """A function of one number, of an array of them."""

    def __call__(self, values: Float64, /) -> Float64: ...


def weighted_range(
    values: Float32, gain: Float64, low: float, high: float, function: Function | None = None
) -> Range:
    """The range of least error. values: [channels, n], of what lies from low to high. gain: [channels], what an error
    of a channel counts. function: what stands behind."""
    low, high = with_zero(low, high)
    if low == high or not values.size or not gain.any():
        return low, high
    return best_ends(_Errors(values, gain, low, high, function), low, high)


class _Errors:
    """Weighted squared errors of ranges, as seen behind a function.

    Values lie in equal bins, at the mean of what each holds. Between two bounds all get one level, which the function
    takes to g: their error is the sum of w (f - g)^2 = w f^2 - 2 g w f + g^2 w, of which running sums over bins tell
    w and w f between any bounds, and w f^2 over all bins is the same for every range.
    """

    def __init__(
        self, values: Float32, gain: Float64, low: float, high: float, function: Function | None
    ) -> None:
        self._low, self._bins, self._function = low, (SEARCH_BINS - 1) / (high - low), function
        weight, self._centre = self._binned(values, gain)
        seen = self._behind(self._centre)
        self._power = float(weight @ np.square(seen))
        self._running = np.zeros((2, SEARCH_BINS + 1))
        np.cumsum([weight, weight * seen], axis=1, out=self._running[:, 1:])

    def __call__(self, low: Float64, high: Float64) -> Float64:
        """Of many ranges, [n] each."""
        scale, zero = (of.astype(np.float64) for of in grids(low, high))
        levels = (STORED - zero) * scale
        below = self._running.take(self._count_below(levels[:, :-1] + scale / 2), axis=1)
        of_all = np.broadcast_to(self._running[:, -1:, None], (2, len(low), 1))
        weight, seen = np.diff(np.concatenate([below, of_all], axis=2), prepend=0.0)
        level = self._behind(levels)
        error: Float64 = self._power + (level * (level * weight - 2 * seen)).sum(1)
        return error

    def _behind(self, values: Float64) -> Float64:
        return values if self._function is None else self._function(values)

    def _binned(self, values: Float32, gain: Float64) -> tuple[Float64, Float64]:
        """The weight of each bin, in parts of all, and the mean of what it holds."""
        index = ((values - np.float32(self._low)) * np.float32(self._bins)).astype(np.intp).reshape(-1)
        np.clip(index, 0, SEARCH_BINS - 1, out=index)
        gains = np.repeat((gain / gain.max()).astype(np.float32), values.shape[1])
        held = np.bincount(index, gains, SEARCH_BINS)
        sums = np.bincount(index, gains * values.reshape(-1), SEARCH_BINS)
        centre = self._low + np.arange(SEARCH_BINS) / self._bins
        np.divide(sums, held, out=centre, where=held > 0)
        return held / held.sum(), centre

    def _count_below(self, bounds: Float64) -> NDArray[np.intp]:
        """How many bins have their values below each bound."""
        at = np.clip((bounds - self._low) * self._bins, 0, SEARCH_BINS - 1).astype(np.intp)
        return at + (self._centre[at] < bounds)
