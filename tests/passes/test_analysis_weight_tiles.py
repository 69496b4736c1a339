"""Weight tiles: they cover a convolution once, fit the registers, and packing loses nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.errors import NOWHERE, LowerError
from isa.instructions.weights import PAIR_BYTES
from isa.layout import Box, Layout, LayoutKind, Shape4, align
from isa.npu import NpuConfig, target
from passes.analysis.footprint import whole_window
from passes.analysis.weight_tiles import (
    pack,
    packed_tiles,
    unpack,
    weight_tiles,
)
from passes.ir.attributes import Kernel
from passes.ir.op import Array, Value
from passes.ir.types import DType, TensorType
from passes.ops.conv import LowLevelConv2d

WARBOY = target("warboy")
MACHINES = st.builds(
    lambda weights, vector: replace(WARBOY, weight_register_bytes=weights, vector_register_bytes=vector),
    st.sampled_from([128, 1024, 8192]), st.sampled_from([32, 128]),
)  # fmt: skip
quick = settings(max_examples=150, deadline=None, derandomize=True)


@quick
@given(st.integers(1, 70), st.integers(1, 600), st.integers(1, 49), MACHINES)
def test_tiles_cover_every_weight_once_and_fit_the_registers(channels: int, k: int, taps: int, npu: NpuConfig) -> None:
    tiles = weight_tiles(channels, k, taps, npu, NOWHERE)
    count = np.zeros((channels, k), np.int64)
    for tile in tiles:
        count[tile.oc0 : tile.oc0 + tile.ocn, tile.k0 : tile.k0 + tile.kn] += 1
        assert tile.ocn * tile.kn * taps <= npu.weight_bank_bytes
        assert tile.ocn * PAIR_BYTES <= npu.vector_register_bytes // 2
        assert tile.first == (tile.k0 == 0) and tile.last == (tile.k0 + tile.kn == k)
    assert (count == 1).all()


def test_a_kernel_that_fits_no_bank_is_refused() -> None:
    with pytest.raises(LowerError) as caught:
        weight_tiles(4, 3, 4097, WARBOY, NOWHERE)
    assert caught.value.name == "KernelTooLarge"


@quick
@given(st.data(), st.integers(1, 40), st.integers(1, 20), st.integers(1, 3), MACHINES)
def test_unpack_gives_back_what_was_packed(
    data: st.DataObject, channels: int, k: int, kernel: int, npu: NpuConfig
) -> None:
    rng = np.random.default_rng(channels * 100 + k)
    made = data.draw(st.integers(1, channels))
    box = Box(0, 1, data.draw(st.integers(0, channels - made)), made, 0, 1)
    layout = Layout(data.draw(st.sampled_from(LayoutKind)), 1, data.draw(st.integers(1, channels)))
    weights = rng.integers(-128, 128, (made, k, kernel, kernel)).astype(np.int8)
    bias = rng.integers(-(2**31), 2**31, made).astype(np.int32)
    multiplier = rng.random(made).astype(np.float32)
    packed = pack(weights, bias, multiplier, layout, channels, box, npu, NOWHERE)
    tiles = weight_tiles(layout.channels(channels), k, kernel * kernel, npu, NOWHERE)
    assert packed.size == packed_tiles(tiles, kernel * kernel, layout.co)[1]
    again = unpack(packed, layout, channels, box, k, (kernel, kernel), npu)
    got: tuple[Array, ...] = again
    wanted: tuple[Array, ...] = (weights, bias, multiplier)
    assert all(np.array_equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_partial_sums_take_four_bytes_each_in_padded_rows() -> None:
    y = whole_window(Shape4(2, 8, 3, 5), Layout(LayoutKind.HCHCW, 1, 1))
    assert conv(2000).scratch_bytes(y, WARBOY) == 2 * 3 * 8 * align(4 * 5, WARBOY.sram_access_bytes)
    assert conv(3).scratch_bytes(y, WARBOY) == 0  # a contraction is one tile


def conv(channels: int) -> LowLevelConv2d:
    """Of so many input channels, to 8."""
    x, y = (Value(name, TensorType((2, c, 3, 5), DType.I8)) for name, c in (("x", channels), ("y", 8)))
    return LowLevelConv2d(results=(y,), x=x, channels=8, kernel=Kernel((3, 3), (1, 1), (1, 1, 1, 1)))
