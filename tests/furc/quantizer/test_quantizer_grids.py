"""The arithmetic of grids, weights and biases."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from furc.quantizer.grids import affine

ends = st.floats(-(2.0**40), 2.0**40, allow_nan=False, width=32)
weights = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=5), elements=st.floats(-1e4, 1e4, width=32)
)


@settings(deadline=None)
@given(ends, ends)
def test_zero_is_exact_and_the_range_is_covered(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    g = affine.grid(low, high)
    assert g.scale > 0 and np.isfinite(np.float32(g.scale)) and affine.LOW <= g.zero <= affine.HIGH
    zeros = np.zeros(3, np.float32)
    np.testing.assert_array_equal(affine.dequantize_array(affine.quantize_array(zeros, g), g), zeros)
    inside = np.array([low, high], np.float32)
    error = np.abs(affine.dequantize_array(affine.quantize_array(inside, g), g).astype(np.float64) - inside)
    assert (error <= 1.001 * g.scale).all()


def test_empty_and_constant_ranges_have_a_scale() -> None:
    for low, high in ((0.0, 0.0), (-0.0, 0.0), (1e-40, 1e-40), (5.0, 5.0), (-3.0, -3.0)):
        assert affine.grid(low, high).scale > 0


def test_relu6_uses_all_levels() -> None:
    g = affine.grid(0.0, 6.0)
    assert g.zero == -128 and g.range[0] == 0 and abs(g.range[1] - 6) < 1e-6


def test_symmetric_is_one_sided_where_nothing_is_negative() -> None:
    assert affine.symmetric(0.0, 3.0) == (0.0, 3.0)
    assert affine.symmetric(-1.0, 3.0) == (-3.0, 3.0)
    assert affine.grid(-3.0, 3.0).zero == 0


@settings(deadline=None)
@given(weights, st.sampled_from([None, 0, 1]), st.floats(1e-6, 10.0))
def test_weights_never_saturate_and_biases_fit(weight: np.ndarray, axis: int | None, x_scale: float) -> None:
    channels = 1 if axis is None else weight.shape[axis]
    bias = np.linspace(-1e6, 1e6, channels, dtype=np.float32)
    rows = weight.reshape(1, -1) if axis is None else np.moveaxis(weight, axis, 0).reshape(channels, -1)
    used = np.array([bool(row.any()) for row in rows])
    smallest = affine.smallest_weight_scale(bias, x_scale, used)
    scale = affine.weight_scale(weight, axis, smallest.max() if axis is None else smallest)
    assert (scale > 0).all() and np.isfinite(scale).all()
    exact = weight.astype(np.float64) / affine.along(scale, weight.ndim, axis)
    assert np.abs(np.rint(exact)).max(initial=0) <= 127
    quantized = affine.quantize_weights(weight, scale, axis)
    error = np.abs(quantized.real().astype(np.float64) - weight)
    assert (error <= 0.5001 * affine.along(scale, weight.ndim, axis)).all()
    stored = affine.quantize_bias(bias, np.float32(x_scale) * scale)
    assert np.abs(stored.astype(np.int64)).max() <= affine.BIAS_HIGH


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    weight, bias = np.zeros((2, 1, 1, 1), np.float32), np.array([0.37, 0.0], np.float32)
    scale = affine.weight_scale(weight, 0, affine.smallest_weight_scale(bias, 0.1, np.array([False, False])))
    stored = affine.quantize_bias(bias, np.float32(0.1) * scale)
    np.testing.assert_allclose(stored * (np.float32(0.1) * scale), bias, rtol=1e-6)
