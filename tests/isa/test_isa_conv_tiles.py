"""A convolution cut into weight tiles equals one contraction, however it is cut and wherever its result lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_strategies import layouts

from isa.execute import numerics
from isa.execute.numerics import Geometry
from isa.instructions import Conv, Preload
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import SramRange

NPU = replace(target("warboy"), sram_bytes_per_slice=32_768)
POINTWISE = Geometry()
X_LAYOUT, Y_LAYOUT = Layout(LayoutKind.HCHCW, 4, 2), Layout(LayoutKind.HCHWC, 2, 3)
X_AT, Y_AT, ACC_AT, WEIGHTS_AT = 0, 8192, 16384, 24576


@dataclass(frozen=True, kw_only=True)
class Case:
    """A convolution and how it is cut."""

    channels: int  # input channels of a group
    outputs: int  # output channels of a group
    groups: int = 1
    extents: tuple[int, int] = (6, 5)
    images: int = 1
    geometry: Geometry = POINTWISE
    x_layout: Layout = X_LAYOUT
    y_layout: Layout = Y_LAYOUT
    c0: int = 0  # where the result lies in a larger place
    extra: int = 0
    h0: int = 0
    ocn: int = 4
    kn: int = 100
    lookup: bool = False
    zw: int = 0

    @property
    def out(self) -> tuple[int, int]:
        g = self.geometry
        rows, columns = (
            ((e - 1) * g.up + 1 + 2 * pad - (k - 1) * d - 1) // s + 1
            for e, k, s, d, pad in zip(
                self.extents, g.kernel, g.stride, g.dilation, (g.pad_top, g.pad_left), strict=True
            )
        )
        return rows, columns


def run(case: Case, seed: int = 0) -> None:
    """Execute the tiles and compare with one contraction; the rest of the place must stay as it was."""
    rng = np.random.default_rng(seed)
    o = case.groups * case.outputs
    x = rng.integers(-128, 128, (case.images, case.groups * case.channels, *case.extents), np.int8)
    w = rng.integers(-128, 128, (o, case.channels, *case.geometry.kernel), np.int8)
    bias, multiplier = rng.integers(-999, 999, o, np.int32), rng.uniform(1e-4, 1e-3, o).astype(np.float32)
    table = rng.integers(-128, 128, 256, np.int8)
    zx, zw, zy, lo, hi = -7, case.zw, 5, -100, 90
    rows, columns = case.out

    place = Place(Y_AT, case.y_layout, Shape4(case.images, case.c0 + o + case.extra, case.h0 + rows + 1, columns))
    y = Window(place, Box(0, case.images, case.c0, o, case.h0, rows))
    source = whole(Place(X_AT, case.x_layout, Shape4(*x.shape)))
    state = Machine(NPU, 64)
    before = rng.integers(-128, 128, tuple(place.shape), np.int8)
    state.write(whole(place), before)
    state.write(source, x)
    state.tables[1] = table

    g = case.geometry
    shared = Conv(x=source, y=y, acc=SramRange(ACC_AT, 4096), kh=g.kernel[0], kw=g.kernel[1], sh=g.stride[0],
        sw=g.stride[1], pt=g.pad_top, pl=g.pad_left, dh=g.dilation[0], dw=g.dilation[1], up=g.up, groups=case.groups,
        zx=zx, zw=zw, zy=zy, lo=lo, hi=hi, lookup=int(case.lookup), bank=1, tbank=1,
    )  # fmt: skip
    per_slice = place.layout.channels(place.shape.c)
    for oc0 in range(0, per_slice, case.ocn):
        for k0 in range(0, case.channels, case.kn):
            kn, first, last = min(case.kn, case.channels - k0), k0 == 0, k0 + case.kn >= case.channels
            tile = _tile(case, y, w, bias, multiplier, oc0, k0, kn, last)
            _preload(state, tile, vbytes=8 * case.ocn * last)
            tile_of = replace(shared, oc0=oc0, ocn=case.ocn, k0=k0, kn=kn, first=int(first), last=int(last))
            tile_of.execute(state)

    acc = numerics.contract(x, w, zx, g, case.out, case.groups, zw) + bias.reshape(1, -1, 1, 1)
    wanted = numerics.requantize(acc, multiplier, zy, lo, hi)
    before[:, case.c0 : case.c0 + o, case.h0 : case.h0 + rows] = (
        numerics.lookup(wanted, table) if case.lookup else wanted
    )
    assert np.array_equal(state.read(whole(place)), before)


def _tile(
    case: Case,
    y: Window,
    w: np.ndarray,
    bias: np.ndarray,
    multiplier: np.ndarray,
    oc0: int,
    k0: int,
    kn: int,
    last: bool,
) -> np.ndarray:
    """Bytes of a weight tile [groups, wbytes + vbytes], as preload describes it; junk where no channel is."""
    per_slice = y.layout.channels(y.place.shape.c)
    rows = []
    for column in range(y.layout.co):
        weights = np.full((case.ocn, kn, *w.shape[2:]), 0x33, np.int8)
        pairs = np.zeros(case.ocn, [("bias", "<i4"), ("multiplier", "<f4")])
        for row in range(case.ocn):
            channel = column * per_slice + oc0 + row - y.box.c0
            if oc0 + row < per_slice and 0 <= channel < y.box.c:
                weights[row] = w[channel, k0 : k0 + kn]
                pairs[row] = bias[channel], multiplier[channel]
        rows.append(weights.tobytes() + (pairs.tobytes() if last else b""))
    return np.frombuffer(b"".join(rows), np.int8).reshape(y.layout.co, -1)


def _preload(state: Machine, tile: np.ndarray, vbytes: int) -> None:
    """Put a tile at an odd place of a striped range and load it into bank 1."""
    start, width = 3, 8 * (-(-(tile.size + 3) // (8 * NPU.num_slices)))
    span = SramRange(WEIGHTS_AT, width)
    striped = np.full(width * NPU.num_slices, 0x77, np.int8)
    striped[start : start + tile.size] = tile.reshape(-1)
    state.write_striped(span, striped)
    wbytes = tile.shape[1] - vbytes
    insn = Preload(src=span, start=start, wbytes=wbytes, vbytes=vbytes, groups=tile.shape[0], bank=1)
    insn.execute(state)


def test_one_tile_computes_everything() -> None:
    run(Case(channels=3, outputs=4, y_layout=Layout(LayoutKind.HCHCW, 4, 1), ocn=4))


def test_the_contraction_is_split_with_partial_sums() -> None:
    run(Case(channels=10, outputs=6, kn=3, geometry=Geometry(kernel=(3, 3), pad_top=1, pad_left=1)))


def test_each_slice_column_takes_its_own_channel_group() -> None:
    run(Case(channels=4, outputs=32, y_layout=Layout(LayoutKind.HCHCW, 2, 4), ocn=3, kn=2))


def test_channels_that_do_not_divide_leave_the_last_slice_ragged() -> None:
    run(Case(channels=5, outputs=13, y_layout=Layout(LayoutKind.HCHWC, 1, 4), ocn=3))


def test_depthwise() -> None:
    run(Case(channels=1, outputs=1, groups=12, ocn=2, geometry=Geometry(kernel=(3, 3), pad_top=1, pad_left=1)))


def test_groups_that_straddle_tiles_and_slices() -> None:
    run(Case(channels=3, outputs=5, groups=3, ocn=4, kn=2, y_layout=Layout(LayoutKind.HCHCW, 3, 2)))


def test_the_result_lies_inside_a_larger_place() -> None:
    run(Case(channels=4, outputs=10, c0=5, extra=3, h0=2, kn=3, y_layout=Layout(LayoutKind.HCHWC, 3, 4), ocn=2))


def test_stride_dilation_batch_and_lookup() -> None:
    g = Geometry(kernel=(3, 2), stride=(2, 1), dilation=(1, 2), pad_top=2, pad_left=1)
    run(Case(channels=5, outputs=7, images=2, extents=(9, 8), geometry=g, kn=2, lookup=True))


def test_transposed_convolution() -> None:
    run(Case(channels=4, outputs=6, geometry=Geometry(kernel=(3, 3), pad_top=1, pad_left=1, up=2), kn=3))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kernel = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    geometry = Geometry(
        kernel=kernel,
        stride=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        pad_top=draw(st.integers(0, kernel[0])),
        pad_left=draw(st.integers(0, kernel[1])),
        dilation=(draw(st.integers(1, 2)), 1),
        up=draw(st.sampled_from([1, 1, 2])),
    )
    return Case(
        channels=draw(st.integers(1, 9)),
        outputs=draw(st.integers(1, 9)),
        groups=draw(st.sampled_from([1, 1, 2, 3])),
        extents=(draw(st.integers(5, 8)), draw(st.integers(3, 8))),
        images=draw(st.integers(1, 2)),
        geometry=geometry,
        x_layout=draw(layouts(16)),
        y_layout=draw(layouts(16)),
        c0=draw(st.integers(0, 5)),
        extra=draw(st.integers(0, 5)),
        h0=draw(st.integers(0, 3)),
        ocn=draw(st.integers(1, 6)),
        kn=draw(st.integers(1, 9)),
        lookup=draw(st.booleans()),
    )


@settings(max_examples=60, deadline=None)
@given(cases(), st.integers(0, 99))
def test_any_cut_equals_one_contraction(case: Case, seed: int) -> None:
    run(case, seed)


@pytest.mark.parametrize("zw", [-128, -7, 127])
def test_weights_with_a_zero_point(zw: int) -> None:
    run(Case(channels=4, outputs=10, kn=3, zw=zw))
    run(Case(channels=1, outputs=1, groups=9, geometry=Geometry(kernel=(3, 3), pad_top=1, pad_left=1), zw=zw))


def test_a_zero_point_is_taken_off_every_weight() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-128, 128, (1, 3, 5, 5)), rng.integers(-128, 128, (2, 3, 1, 1))
    sums = numerics.contract(x.astype(np.int8), w.astype(np.int8), 4, Geometry(), (5, 5), zw=-9)
    assert np.array_equal(sums[0], np.einsum("nchw,oc->ohw", x - 4, w[:, :, 0, 0] + 9))
