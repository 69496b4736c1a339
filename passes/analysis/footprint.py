"""Bytes that tensors and packed constants take in SRAM, and the layouts worth trying."""

from __future__ import annotations

from functools import lru_cache

from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, align
from isa.npu import NpuConfig
from passes.ir.op import Op


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


def over_rows(shape: Shape4, slices: int) -> Window:
    """A tensor whose rows are spread over all slices: the fewest rows a slice can have."""
    return whole_window(shape, Layout(LayoutKind.HCHCW, slices, 1))


def striped_bytes(total: int, npu: NpuConfig) -> int:
    """Bytes per slice of a striped range that holds `total` bytes."""
    return align(-(-total // npu.num_slices), npu.sram_access_bytes)


def constant_bytes(op: Op, y: Window, npu: NpuConfig) -> int:
    """Bytes per slice of packed constants and partial sums while an op writes y."""
    packed = op.packed_bytes(y.layout.co * y.layout.channels(y.place.shape.c))
    return (striped_bytes(packed, npu) if packed else 0) + op.scratch_bytes(y, npu)
