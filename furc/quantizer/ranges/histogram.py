"""A histogram of a stream of numbers in bounded memory, that widens as larger numbers come.

Bins are [i * width, (i + 1) * width) with a width that is a power of two, so widening merges neighbours exactly: the
result depends on the values, not on their order or how they were cut into pieces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array
from furc.quantizer.grids.affine import Range

Float64 = NDArray[np.float64]
HALF = 1 << 14  # bins on each side of 0: at least 8192 over the larger side, 32 a step of int8
BLOCK = 1 << 16  # values binned at a time, so that they stay in the cache
SMALLEST_EXPONENT = -100  # of a bin's width; below it float32 cannot hold 1 / width


class Bins(NamedTuple):
    """The bins that hold something. centre, held: [bins], ascending.

    held: how many values lie in each, or what they weigh.
    """

    centre: NDArray[np.float64]
    held: NDArray[np.float64]


@dataclass(slots=True)
class Histogram:
    """Counts, extremes and number of the values added. width is 0 until a value other than 0 comes."""

    width: float = 0.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2 * HALF))
    low: float = math.inf
    high: float = -math.inf
    total: int = 0

    def add(
        self, values: Array, *, bins: bool = True, stride: int = 1, start: int = 0, weights: Float64 | None = None
    ) -> bool:
        """Count values; False, and nothing is counted, where one is NaN or infinite.

        bins: False keeps the extremes alone. stride, start: bin only every so-manieth value; extremes are of all.
        weights: [channels], what a value of each channel (axis 1) counts; every so-manieth place is then taken in all
        channels alike.
        """
        if not values.size:
            return True
        low, high = float(values.min()), float(values.max())  # NaN wins both
        if not (math.isfinite(low) and math.isfinite(high)):
            return False
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.total += values.size
        if bins:
            self._widen(max(abs(low), abs(high)))
            if weights is None:
                self._count(np.ascontiguousarray(np.asarray(values, np.float32).reshape(-1)[start::stride]))
            else:
                self._count_weighted(values, weights, stride, start)
        return True

    @property
    def range(self) -> Range:
        """Smallest and largest value; (0, 0) before any came."""
        return (self.low, self.high) if self.total else (0.0, 0.0)

    def bins(self, at_most: int = 2 * HALF) -> Bins:
        """The bins that are not empty, merged until no more than `at_most` are left. Centres lie inside the range.

        What the bin above 0 holds more than its neighbour is zeros, and gets a bin of its own at exactly 0: every grid
        holds 0 without error, and half the results of a Relu are 0.
        """
        counts = self.counts.copy()
        zeros = max(0.0, float(counts[HALF] - counts[HALF + 1])) if self.low <= 0 <= self.high else 0.0
        counts[HALF] -= zeros
        filled = np.flatnonzero(counts)
        held = counts[filled]
        merged = 1
        while filled.size > at_most:
            merged *= 2
            filled, inverse = np.unique(np.floor_divide(filled, 2), return_inverse=True)
            held = np.bincount(inverse, held).astype(np.float64)
        centre = np.clip(((filled + 0.5) * merged - HALF) * self.width, *self.range)
        if not zeros:
            return Bins(centre, held)
        at = int(np.searchsorted(centre, 0.0))
        return Bins(np.insert(centre, at, 0.0), np.insert(held, at, zeros))

    def _count_weighted(self, values: Array, weights: Float64, stride: int, start: int) -> None:
        planes = np.asarray(values, np.float32).reshape(len(values), len(weights), -1)
        places = planes.shape[2]
        taken = planes[:, :, start % min(stride, places) :: stride]
        shares = np.broadcast_to(weights[:, None], taken.shape)
        self._count(np.ascontiguousarray(taken).reshape(-1), np.ascontiguousarray(shares).reshape(-1))

    def _widen(self, magnitude: float) -> None:
        """Make room for a magnitude."""
        if magnitude < HALF * self.width or magnitude == 0:
            return
        exponent = math.frexp(magnitude)[1] - (HALF.bit_length() - 1)
        width = math.ldexp(1.0, max(exponent, SMALLEST_EXPONENT))
        if self.width:
            ratio = min(int(width / self.width), HALF)  # beyond it all lies in the two bins beside 0 anyway
            merged = self.counts.reshape(-1, ratio).sum(1)
            self.counts[:] = 0
            self.counts[HALF - len(merged) // 2 : HALF + len(merged) // 2] = merged
        self.width = width

    def _count(self, flat: NDArray[np.float32], weights: Float64 | None = None) -> None:
        if not self.width:  # nothing but zeros so far
            self.counts[HALF] += flat.size if weights is None else weights.sum()
            return
        inverse = np.float32(1 / self.width)
        room = np.empty(min(BLOCK, flat.size), np.float32)
        index = np.empty(room.size, np.intp)
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            scaled, at = room[: part.size], index[: part.size]
            np.multiply(part, inverse, out=scaled)
            np.floor(scaled, out=scaled)  # before adding, which would round a tiny negative up to 0
            np.add(scaled, np.float32(HALF), out=scaled)
            np.copyto(at, scaled, casting="unsafe")
            share = None if weights is None else weights[start : start + BLOCK]
            self.counts += np.bincount(at, share, 2 * HALF)
