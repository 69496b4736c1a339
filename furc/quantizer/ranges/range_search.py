"""From a histogram to a range, by each calibration criterion.

MIN_MAX     the extremes
PERCENTILE  SYM: the given percentage of magnitudes lies inside; ASYM: half of the rest is cut at either end
ENTROPY     least Kullback-Leibler divergence between the values and the values on 256 levels
MSE         least mean squared error of the values put on the grid
SQNR        highest ratio of the power of what is stored to the power of the error; clipping lowers the first and raises
            the second, so it clips a little less than MSE (the vendor's formula is not public)

ASYM chooses both ends, SYM one bound; ranges contain 0 and never reach beyond the observed extremes, except that SYM
mirrors the larger one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from furc.quantizer.grids.affine import HIGH, LOW, Range, grids, symmetric, with_zero
from furc.quantizer.ranges.histogram import Bins, Histogram
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.ranges.running_sums import RunningSums

SEARCH_BINS = 4096
LEVELS = HIGH - LOW + 1
STORED = np.arange(LOW, HIGH + 1, dtype=np.float64)
COARSE, FINE = 64, 12  # candidates of the first look, and around the best of them on each side
SWEEPS = 2  # of the two ends in turn

Float64 = NDArray[np.float64]
Cost = Callable[[Float64, Float64], Float64]  # of many ranges at once, [n] each: NumPy's overhead is most of one


def find_range(histogram: Histogram, method: CalibrationMethod, percentage: float = 99.99) -> Range:
    """The range that a method gives a tensor. (0, 0) for one without values or with nothing but zeros."""
    low, high = histogram.range
    if low == high == 0:
        return 0.0, 0.0
    if method.criterion == "MIN_MAX" or not histogram.counts.any():
        return symmetric(low, high) if method.is_symmetric else with_zero(low, high)
    if method.criterion == "PERCENTILE":
        return _percentile(histogram, method.is_symmetric, percentage)
    if method.criterion == "ENTROPY" and _is_discrete(histogram):
        # 256 levels hold all its values, and divergence would reward losing some.
        return symmetric(low, high) if method.is_symmetric else with_zero(low, high)
    cost = COSTS[method.criterion](histogram.bins(SEARCH_BINS))
    return _best_bound(cost, low, high) if method.is_symmetric else best_ends(cost, *with_zero(low, high))


def _is_discrete(histogram: Histogram) -> bool:
    """True for few values far apart, as pixels are: no two neighbouring bins are filled."""
    filled = np.flatnonzero(histogram.counts)
    return filled.size <= LEVELS and bool(np.all(np.diff(filled) > 1))


def _percentile(histogram: Histogram, is_symmetric: bool, percentage: float) -> Range:
    low, high = histogram.range
    bins, kept = histogram.bins(), percentage / 100
    if is_symmetric:
        bound = _quantile(np.abs(bins.centre), bins.held, kept)
        return symmetric(0.0 if low >= 0 else -bound, bound)
    cut = (1 - kept) / 2
    ends = _quantile(bins.centre, bins.held, cut), _quantile(bins.centre, bins.held, 1 - cut)
    return with_zero(max(ends[0], low), min(ends[1], high))


def _quantile(values: NDArray[np.float64], count: NDArray[np.float64], share: float) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(count[order])
    at = min(int(np.searchsorted(reached, share * reached[-1])), len(order) - 1)
    return float(values[order[at]])


def _best_bound(cost: Cost, low: float, high: float) -> Range:
    """The SYM range of least cost."""
    largest = max(abs(low), abs(high))
    bound = _least(lambda b: cost(b * 0.0 if low >= 0 else -b, b), largest)
    return symmetric(0.0 if low >= 0 else -bound, bound)


def best_ends(cost: Cost, low: float, high: float) -> Range:
    """The ASYM range of least cost: each end in turn, the other held."""
    ends = (low, high)
    for _ in range(SWEEPS):
        before = ends
        if high > 0:
            ends = ends[0], _least(lambda h: cost(np.full_like(h, ends[0]), h), high)  # noqa: B023 - now
        if low < 0:
            ends = -_least(lambda d: cost(-d, np.full_like(d, ends[1])), -low), ends[1]  # noqa: B023
        if ends[0] == before[0]:  # then another look at the upper end would see what this one saw
            break
    return ends


def _least(cost: Callable[[Float64], Float64], largest: float) -> float:
    """Where in (0, largest] the cost is least: a coarse look, then a fine one around its best."""
    step = largest / COARSE
    coarse: Float64 = largest - step * np.arange(COARSE, dtype=np.float64)
    best = coarse[np.argmin(cost(coarse))]
    around: Float64 = best + step / FINE * np.arange(-FINE + 1, FINE, dtype=np.float64)
    around = around[(around > 0) & (around <= largest)]
    return float(around[np.argmin(cost(around))])


def levels_and_bounds(low: Float64, high: Float64) -> tuple[Float64, Float64]:
    """What the grids of ranges hold, and what lies halfway between: [n] -> [n, 256], [n, 255]."""
    scale, zero = (of.astype(np.float64) for of in grids(low, high))
    levels: Float64 = (STORED - zero) * scale
    return levels, levels[:, :-1] + scale / 2


def _mse(bins: Bins) -> Cost:
    power = _power(bins)
    return lambda low, high: power(low, high)[1]


def _sqnr(bins: Bins) -> Cost:
    power = _power(bins)

    def cost(low: Float64, high: Float64) -> Float64:
        signal, error = power(low, high)
        return error / np.maximum(signal, 1e-30)

    return cost


def _power(bins: Bins) -> Callable[[Float64, Float64], tuple[Float64, Float64]]:
    """Of ranges: the mean power of the bins' centres once stored, and of their errors."""
    share = bins.held / max(float(bins.held.sum()), 1.0)
    total, sums = float(share @ np.square(bins.centre)), RunningSums(bins.centre, share, share * bins.centre)

    def power(low: Float64, high: Float64) -> tuple[Float64, Float64]:
        levels, bounds = levels_and_bounds(low, high)
        held, first = sums.between(bounds)
        stored = (levels * levels * held).sum(1)
        return stored, total + stored - 2 * (levels * first).sum(1)

    return power


def _entropy(bins: Bins) -> Cost:
    """Divergence of the clipped values from what is left of them on 256 levels, over the bins inside the range.

    Zeros are left out: they are on every grid, and a Relu's would outweigh all else.
    """
    bins = Bins(bins.centre[bins.centre != 0], bins.held[bins.centre != 0])
    total = max(float(bins.held.sum()), 1.0)
    below = np.concatenate([[0.0], np.cumsum(bins.held)])

    def cost_of(low: float, high: float) -> float:
        first, last = np.searchsorted(bins.centre, [low, high])
        inside = bins.held[first:last]
        if last - first < 1:
            return float("inf")
        clipped = inside.copy()
        clipped[0] += below[first]
        clipped[-1] += below[-1] - below[last]
        level = ((bins.centre[first:last] - low) * (LEVELS / (high - low))).astype(np.intp)
        left = np.bincount(level, inside, LEVELS + 1)
        filled = np.bincount(level, minlength=LEVELS + 1)
        spread = (left / np.maximum(filled, 1))[level]
        spread *= total / max(float(spread.sum()), 1e-30)
        return float((clipped * np.log(clipped / np.maximum(spread, 1e-30))).sum() / total)

    return lambda low, high: np.array([cost_of(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)])


COSTS: dict[str, Callable[[Bins], Cost]] = {"ENTROPY": _entropy, "MSE": _mse, "SQNR": _sqnr}
