"""Histograms that widen."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from furc.quantizer.ranges.histogram import Histogram

finite = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
arrays = hnp.arrays(np.float32, st.integers(0, 60), elements=finite)


def filled(parts: list[np.ndarray]) -> Histogram:
    histogram = Histogram()
    for part in parts:
        assert histogram.add(part)
    return histogram


@settings(deadline=None, max_examples=60)
@given(st.lists(arrays, max_size=5), st.randoms())
def test_neither_order_nor_pieces_change_a_histogram(parts: list[np.ndarray], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    a, b, c = filled(parts), filled(shuffled), filled([np.concatenate([*parts, np.zeros(0, np.float32)])])
    for other in (b, c):
        assert a.range == other.range and a.total == other.total and a.width == other.width
        np.testing.assert_array_equal(a.counts, other.counts)


@settings(deadline=None, max_examples=60)
@given(st.lists(arrays, max_size=4))
def test_every_value_is_counted_once_and_near_its_bin(parts: list[np.ndarray]) -> None:
    histogram, values = filled(parts), np.concatenate([*parts, np.zeros(0, np.float32)])
    bins = histogram.bins()
    assert bins.held.sum() == values.size
    if values.size:
        assert bins.centre.min() >= values.min() and bins.centre.max() <= values.max()
        assert (
            abs(np.average(bins.centre, weights=bins.held) - values.astype(np.float64).mean()) <= histogram.width + 1e-6
        )


def test_nan_and_infinity_are_refused_and_leave_no_trace() -> None:
    histogram = filled([np.ones(3, np.float32)])
    for bad in (np.nan, np.inf, -np.inf):
        assert not histogram.add(np.array([0, bad, 1], np.float32))
    assert histogram.total == 3 and histogram.counts.sum() == 3


def test_zeros_have_a_bin_at_exactly_zero() -> None:
    values = np.concatenate([np.zeros(1000), np.linspace(0, 1, 500)]).astype(np.float32)
    bins = filled([values]).bins()
    assert bins.held[bins.centre == 0].sum() >= 1000


def test_bins_can_be_merged_to_fewer() -> None:
    histogram = filled([np.random.default_rng(0).normal(size=20000).astype(np.float32)])
    bins = histogram.bins(500)
    assert len(bins.centre) <= 501 and bins.held.sum() == 20000 and (np.diff(bins.centre) > 0).all()


def test_a_tensor_of_wildly_growing_magnitude_stays_bounded() -> None:
    histogram = filled([np.full(4, 10.0**e, np.float32) for e in range(-30, 31)])
    assert histogram.counts.sum() == 4 * 61 and histogram.range[1] == np.float32(1e30)
