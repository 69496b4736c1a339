"""What an ldfg op costs under given layouts: isa/timing's formulas summed over the instructions it will become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from isa.errors import NOWHERE
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, align
from isa.npu import NpuConfig
from isa.timing.cost import (
    ConvWork,
    conv_cycles,
    elements_per_slice,
    elementwise_cycles,
    move_cycles,
    pool_cycles,
    preload_cycles,
)
from passes.ir.graph import Op, Value
from passes.ir.lowlevel import (
    LowLevelBinary,
    LowLevelConcat,
    LowLevelConv2d,
    LowLevelMove,
    LowLevelPad,
    LowLevelTable,
    WindowOp,
)
from passes.lower.weight_tiles import VECTOR_BYTES_PER_CHANNEL, partial_bytes, weight_tiles

Placed = Callable[[Value], Window]  # where a value would lie


@lru_cache(maxsize=4096)
def candidates(shape: Shape4, npu: NpuConfig, slices: int | None = None) -> tuple[Layout, ...]:
    """Layouts worth trying: powers of two channel columns, and the columns that few rows leave room for."""
    slices = slices if slices is not None else npu.num_slices
    columns = {1 << power for power in range(slices.bit_length())}
    columns |= {slices // -(-shape.h // hi) for hi in range(1, 5) if -(-shape.h // hi) <= slices}
    found = []
    for co in sorted(columns):
        if not 0 < co <= min(slices, shape.c):
            continue
        hi = -(-shape.h // (slices // co))
        exact = -(-shape.c // -(-shape.c // co))  # columns that hold something
        found += [Layout(kind, -(-shape.h // hi), exact) for kind in LayoutKind]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def smallest_bytes(shape: Shape4, npu: NpuConfig, slices: int | None = None) -> int:
    """Bytes per slice under the most compact layout."""
    return min(layout.bytes_per_slice(shape, npu.sram_access_bytes) for layout in candidates(shape, npu, slices))


def whole_window(shape: Shape4, layout: Layout) -> Window:
    """A tensor of its own in a layout, offset zero."""
    return Window(Place(0, layout, shape), Box(0, shape.n, 0, shape.c, 0, shape.h))


def cycles(op: Op, placed: Placed, npu: NpuConfig) -> float:
    """Cycles the tensor unit needs for an op; 0 for what it has no part in."""
    model = next((MODELS[cls] for cls in type(op).__mro__ if cls in MODELS), None)
    return model(op, placed, npu) if model is not None else 0.0


def _conv(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, LowLevelConv2d)
    x, y = placed(op.x), placed(op.result)
    k = op.x.type.shape4.c // op.group
    geometry = _ConvShape(
        x.layout.kind, x.layout.ho == y.layout.ho, y.shape.n, y.rows_per_slice(), y.shape.w,
        y.layout.channels(y.place.shape.c), k, op.kernel, op.stride[1], op.dilation[1], op.up,
        max(1, op.channels // op.group), op.lookup,
    )  # fmt: skip
    return _conv_cycles(geometry, npu)


class _ConvShape(NamedTuple):
    kind: LayoutKind
    same_rows: bool
    images: int
    rows: int
    width: int
    channels: int
    k: int
    kernel: tuple[int, int]
    stride_w: int
    dilation_w: int
    up: int
    channels_per_group: int
    lookup: bool


@lru_cache(maxsize=65536)
def _conv_cycles(s: _ConvShape, npu: NpuConfig) -> float:
    taps = s.kernel[0] * s.kernel[1]
    main, sub = npu.operator_setup_cycles, 0.0
    for tile, count in _tile_kinds(s.channels, s.k, taps, npu):
        ocn, kn, first, last = tile
        work = ConvWork(
            s.kind, s.same_rows, s.images, s.rows, s.width, ocn, kn, s.kernel, s.stride_w, s.dilation_w, s.up,
            s.channels_per_group, last, first, s.lookup, False,
        )  # fmt: skip
        main += count * conv_cycles(work, npu).cycles
        size = ocn * kn * taps + (ocn * VECTOR_BYTES_PER_CHANNEL if last else 0)
        sub += count * preload_cycles(size, npu).cycles
    return max(main, sub)


@lru_cache(maxsize=4096)
def _tile_kinds(
    channels: int, k: int, taps: int, npu: NpuConfig
) -> tuple[tuple[tuple[int, int, bool, bool], int], ...]:
    """Distinct weight tiles of a convolution and how often each occurs."""
    counts: dict[tuple[int, int, bool, bool], int] = {}
    for tile in weight_tiles(channels, k, taps, npu, NOWHERE):
        key = (tile.ocn, tile.kn, tile.first, tile.last)
        counts[key] = counts.get(key, 0) + 1
    return tuple(counts.items())


def _binary(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, LowLevelBinary)
    y = placed(op.result)
    far = sum(placed(v).layout != y.layout for v in (op.a, op.b))
    return elementwise_cycles(elements_per_slice(y), 2 + 2 * far, False, npu).cycles


def _table(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, LowLevelTable)
    y = placed(op.result)
    far = placed(op.x).layout != y.layout
    return elementwise_cycles(elements_per_slice(y), 1 + far, True, npu).cycles


def _pool(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, WindowOp)
    y = placed(op.result)
    far = placed(op.x).layout.kind != y.layout.kind or placed(op.x).layout.ho != y.layout.ho
    return pool_cycles(elements_per_slice(y), op.kernel, op.stride[1], npu).cycles * (1 + far)


def _move(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, LowLevelMove | LowLevelPad)
    return move_cycles(elements_per_slice(placed(op.result)), npu).cycles


def _concat(op: Op, placed: Placed, npu: NpuConfig) -> float:
    assert isinstance(op, LowLevelConcat)
    total, at = 0.0, 0
    y = placed(op.result)
    for value in op.inputs:
        shape = value.type.shape4
        corner = [at if axis == op.axis else 0 for axis in range(3)]
        box = Box(corner[0], shape.n, corner[1], shape.c, corner[2], shape.h)
        total += move_cycles(elements_per_slice(Window(y.place, box)), npu).cycles
        at += shape[op.axis]
    return total


MODELS: Mapping[type[Op], Callable[[Op, Placed, NpuConfig], float]] = {
    LowLevelConv2d: _conv,
    LowLevelBinary: _binary,
    LowLevelTable: _table,
    WindowOp: _pool,
    LowLevelMove: _move,
    LowLevelPad: _move,
    LowLevelConcat: _concat,
}


def weight_bytes_per_slice(op: Op, layout: Layout, channels: int, npu: NpuConfig) -> int:
    """Striped bytes of packed weights or tables that must be in SRAM while an op runs."""
    if isinstance(op, LowLevelConv2d):
        k = op.x.type.shape4.c // op.group
        per_channel = k * op.kernel[0] * op.kernel[1] + VECTOR_BYTES_PER_CHANNEL
        total = layout.co * layout.channels(channels) * per_channel + (256 if op.lookup else 0)
        return striped_bytes(total, npu)
    if isinstance(op, LowLevelTable):
        return striped_bytes(256, npu)
    return 0


def striped_bytes(total: int, npu: NpuConfig) -> int:
    """Bytes per slice of a striped range that holds `total` bytes."""
    return align(-(-total // npu.num_slices), npu.sram_access_bytes)


def scratch_bytes(op: Op, y: Window, npu: NpuConfig) -> int:
    """Bytes per slice for partial sums of a convolution."""
    if not isinstance(op, LowLevelConv2d):
        return 0
    tiles = weight_tiles(
        y.layout.channels(y.place.shape.c), op.x.type.shape4.c // op.group, op.kernel[0] * op.kernel[1], npu, op.loc
    )
    rows = -(-y.shape.h // y.layout.ho)
    return align(partial_bytes(tiles, y.shape.n, rows, y.shape.w, npu.sram_access_bytes), npu.sram_access_bytes)
