"""From histograms to ranges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from furc.quantizer.grids.affine import dequantize_array, grid, grids, quantize_array
from furc.quantizer.ranges.histogram import Histogram
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.ranges.range_search import find_range


def histogram(values: np.ndarray) -> Histogram:
    made = Histogram()
    assert made.add(values.astype(np.float32))
    return made


def error(values: np.ndarray, found: tuple[float, float]) -> float:
    g = grid(*found)
    return float(((dequantize_array(quantize_array(values, g), g) - values) ** 2).mean())


@settings(deadline=None, max_examples=25)
@given(
    hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-1e5, 1e5, width=32)),
    st.sampled_from(CalibrationMethod),
)
def test_ranges_contain_zero_and_stay_within_what_was_seen(values: np.ndarray, method: CalibrationMethod) -> None:
    low, high = find_range(histogram(values), method)
    assert low <= 0 <= high and np.isfinite([low, high]).all()
    largest = float(np.abs(values).max(initial=0))
    if method.is_symmetric:
        assert max(-low, high) <= largest and (low in (0.0, -high))
        assert values.min(initial=0) < 0 or low == 0
    else:
        assert low >= min(0.0, float(values.min(initial=0))) and high <= max(0.0, float(values.max(initial=0)))
    assert grid(low, high).scale > 0


def test_min_max_is_exact() -> None:
    values = np.array([-1.25, 0.5, 7.125])
    assert find_range(histogram(values), CalibrationMethod.MIN_MAX_ASYM) == (-1.25, 7.125)
    assert find_range(histogram(values), CalibrationMethod.MIN_MAX_SYM) == (-7.125, 7.125)


@pytest.mark.parametrize("percentage", [99.0, 99.9, 99.99])
def test_percentile_leaves_the_given_share_inside(percentage: float) -> None:
    values = np.random.default_rng(0).normal(size=200_000)
    for method in (CalibrationMethod.PERCENTILE_SYM, CalibrationMethod.PERCENTILE_ASYM):
        low, high = find_range(histogram(values), method, percentage)
        inside = 100 * ((values >= low) & (values <= high)).mean()
        assert inside == pytest.approx(percentage, abs=0.02)


@pytest.mark.parametrize("method", [CalibrationMethod.MSE_ASYM, CalibrationMethod.MSE_SYM])
def test_mse_beats_min_max_and_percentile_in_squared_error(method: CalibrationMethod) -> None:
    values = np.random.default_rng(1).laplace(size=100_000).astype(np.float32)
    least = error(values, find_range(histogram(values), method))
    for other in ("MIN_MAX", "PERCENTILE", "ENTROPY", "SQNR"):
        name = CalibrationMethod(f"{other}_{method.value.rpartition('_')[2]}")
        assert least <= 1.01 * error(values, find_range(histogram(values), name))


def test_a_lone_outlier_is_clipped_by_percentile_and_entropy() -> None:
    values = np.concatenate([np.random.default_rng(2).normal(size=100_000), [500.0]])
    for method in CalibrationMethod:
        if method.criterion in ("PERCENTILE", "ENTROPY"):
            assert find_range(histogram(values), method)[1] < 100


def test_values_that_lie_on_a_grid_are_not_clipped_by_mse() -> None:
    values = np.repeat(np.arange(256) / 255, 40)
    low, high = find_range(histogram(values), CalibrationMethod.MSE_ASYM)
    assert (low, high) == pytest.approx((0.0, 1.0), abs=1e-3)


def test_pixels_are_not_clipped_by_entropy() -> None:
    pixels = np.random.default_rng(3).choice(17, size=50_000, p=[0.6, *[0.025] * 16]) / 16
    for method in (CalibrationMethod.ENTROPY_ASYM, CalibrationMethod.ENTROPY_SYM):
        assert find_range(histogram(pixels), method) == pytest.approx((0.0, 1.0), abs=1e-3)


def test_many_grids_at_once_are_the_grids_of_each() -> None:
    ends = [(0.0, 0.0), (-1.0, 2.5), (0.5, 3.0), (-7.0, -2.0), (-1e-30, 1e-30), (-3e38, 3e38)]
    scale, zero = grids(np.array([low for low, _ in ends]), np.array([high for _, high in ends]))
    alone = [grid(*each) for each in ends]
    assert scale[:, 0].tolist() == [g.scale for g in alone] and zero[:, 0].tolist() == [g.zero for g in alone]
