"""Sums over values between bounds, in the time that the bounds take and not the values.

A candidate grid has 256 levels where a tensor has thousands of distinct values: with sums that run along the ascending
values, what one level gets is a difference of two of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
CELLS = 1 << 12  # equal ones, in which bounds are looked up


class RunningSums:
    """Sums of weights over values that ascend."""

    def __init__(self, values: Float64, *weights: Float64) -> None:
        """values: [n], ascending. weights: [n] each."""
        self._sums = np.zeros((len(weights), len(values) + 1))
        np.cumsum(weights, axis=1, out=self._sums[:, 1:])
        # A bound is compared with the few values in its cell: in a quarter of the time that a binary search takes.
        self._low, spread = values[0], values[-1] - values[0]
        self._cells = CELLS / spread if spread > 0 else 0.0
        cell = self._cell(values)
        self._first = np.searchsorted(cell, np.arange(CELLS + 1))
        self._most = int(np.bincount(cell).max())
        self._ends = np.append(values, np.inf)

    def between(self, bounds: Float64) -> Float64:
        """bounds: [m, k], ascending in each row. What lies below the first, between each two and above the last:
        [weights, m, k + 1]. A value that is a bound lies above it."""
        below = np.zeros((len(self._sums), len(bounds), bounds.shape[1] + 2))
        below[:, :, 1:-1] = self._sums.take(self._count_below(bounds), axis=1)
        below[:, :, -1] = self._sums[:, -1:]
        found: Float64 = below[:, :, 1:] - below[:, :, :-1]
        return found

    def _count_below(self, bounds: Float64) -> NDArray[np.intp]:
        found = self._first[self._cell(bounds)]
        for _ in range(self._most):
            found += self._ends[found] < bounds
        return found

    def _cell(self, values: Float64) -> NDArray[np.intp]:
        found: NDArray[np.intp] = ((values - self._low) * self._cells).clip(0, CELLS).astype(np.intp)
        return found
