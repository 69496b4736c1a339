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

from furc.quantizer.affine import HIGH, LOW, Range, grids, with_zero
from furc.quantizer.histogram import Bins
from furc.quantizer.range_search import best_ends, stored_at

Float64 = NDArray[np.float64]


class Function(Protocol):
    """A function of one number, of an array of them."""

    def __call__(self, values: Float64, /) -> Float64: ...


TABLE = 1 << 12
ROUGH_BINS = 1 << 10  # four a step of the widest grid: enough to see where the least is about


def weighted_range(bins: Bins, low: float, high: float, function: Function | None = None) -> Range:
    """The range of least error of the values in `bins`, whose `held` are gains. function: what stands behind."""
    low, high = with_zero(low, high)
    if low == high or not bins.held.any():
        return low, high
    rough = _Seen(_merged(bins, low, high), low, high, function)
    return best_ends(_Seen(bins, low, high, function).error, low, high, rough.error)


def _merged(bins: Bins, low: float, high: float) -> Bins:
    """Fewer bins, each at the mean of what it took in."""
    index = ((bins.centre - low) * ((ROUGH_BINS - 1) / (high - low))).astype(np.intp)
    held: Float64 = np.bincount(index, bins.held).astype(np.float64)
    filled = held > 0
    return Bins(np.bincount(index, bins.held * bins.centre)[filled] / held[filled], held[filled])


class _Seen:
    """Errors of ranges, as seen behind a function that is tabulated once."""

    def __init__(self, bins: Bins, low: float, high: float, function: Function | None) -> None:
        self._values = bins.centre.astype(np.float32)
        self._share = (bins.held / bins.held.sum()).astype(np.float32)
        self._function = function
        if function is not None:
            self._points = np.unique(np.concatenate([np.linspace(low, high, TABLE), np.linspace(-8.0, 8.0, TABLE)]))
            self._results = function(self._points)
            self._exact = self._through(self._values)

    def _through(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.interp(values, self._points, self._results).astype(np.float32)

    def error(self, low: Float64, high: Float64) -> Float64:
        """Of many ranges, [n] each."""
        scale, zero = grids(low, high)
        stored = stored_at(self._values, scale, zero)
        if self._function is None:
            stored *= scale
            stored -= self._values
        else:
            levels = (np.arange(LOW, HIGH + 1, dtype=np.float32) - zero) * scale
            rows = np.arange(len(scale), dtype=np.intp)[:, None] * levels.shape[1]
            places = (stored + (zero - LOW)).astype(np.intp) + rows
            stored = self._through(levels).take(places) - self._exact
        error: Float64 = np.square(stored, out=stored) @ self._share
        return error
