"""Bytes that tensors and packed constants take in SRAM, whether an op fits, and the layouts worth trying."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from isa.layout import Layout, LayoutKind, Place, Shape4, Window, align, whole
from isa.npu import NpuConfig, target
from passes.analysis.aliases import Aliases
from passes.ir.op import Op, Value
from passes.ir.types import InDram

WHOLE_SHARE = 3 / 4  # of SRAM that an unsplit operator may use under the most compact layouts
CELL_BYTES = 64  # granularity of SRAM placement
USABLE_SHARE = 15 / 16  # of SRAM that an operator may use at all: the rest is for weights of its neighbours
MOST_COLUMNS = 16  # channel columns of all PEs together in the vendor's layouts, as its latencies tell
ROOMY = 1 / 4  # of SRAM: a tensor that takes more under these layouts may use more columns


@lru_cache(maxsize=4096)
def candidates(
    shape: Shape4, npu: NpuConfig, slices: int | None = None, share: int = 1, free: bool = False
) -> tuple[Layout, ...]:
    """Layouts worth trying: powers of two channel columns, few of them where the tensor has rows to share
    out too and still is small then.

    slices: that a whole tensor may use, all by default. share: which part of them this one keeps. free: any number of
    columns."""
    slices = slices if slices is not None else npu.num_slices
    pes = max(1, slices * npu.num_pes // npu.num_slices)
    slices = max(1, slices // share)
    if free:
        return _layouts(shape, slices, slices)
    found = _layouts(shape, slices, slices if shape.h == 1 else max(1, MOST_COLUMNS // pes))
    smallest = min(layout.bytes_per_slice(shape, npu.sram_access_bytes) for layout in found)
    return found if smallest <= ROOMY * npu.sram_bytes_per_slice else _layouts(shape, slices, slices)


def _layouts(shape: Shape4, slices: int, most: int) -> tuple[Layout, ...]:
    """With at most so many columns; where any number is allowed, also those that few rows leave room for. The images of
    a batch share slices, or lie apart where there are slices for all of them: small images then leave fewer idle."""
    found = _partitions(shape, slices, most, apart=False)
    if 1 < shape.n <= slices:
        found += _partitions(shape, slices // shape.n, min(most, slices // shape.n), apart=True)
    return tuple(dict.fromkeys(found))


def _partitions(shape: Shape4, slices: int, most: int, apart: bool) -> list[Layout]:
    columns = {1 << power for power in range(slices.bit_length())}
    if most == slices:
        columns |= {slices // -(-shape.h // hi) for hi in range(1, 5) if -(-shape.h // hi) <= slices}
    found = []
    for co in sorted(co for co in columns if co <= most):
        if not 0 < co <= min(slices, shape.c):
            continue
        hi = -(-shape.h // (slices // co))
        exact = -(-shape.c // -(-shape.c // co))  # columns that hold something
        found += [Layout(kind, -(-shape.h // hi), exact, apart) for kind in LayoutKind]
    return found


@lru_cache(maxsize=4096)
def smallest_bytes(shape: Shape4, npu: NpuConfig, slices: int | None = None, share: int = 1) -> int:
    """Bytes per slice under the most compact layout."""
    found = candidates(shape, npu, slices, share)
    return min(layout.bytes_per_slice(shape, npu.sram_access_bytes) for layout in found)


def whole_window(shape: Shape4, layout: Layout) -> Window:
    """A tensor of its own in a layout, offset zero."""
    return whole(Place(0, layout, shape))


def over_rows(shape: Shape4, slices: int) -> Window:
    """A tensor whose rows are spread over all slices: the fewest rows a slice can have, of all images or of one."""
    shared = whole_window(shape, Layout(LayoutKind.HCHCW, slices, 1))
    if shape.n == 1 or shape.n > slices:
        return shared
    apart = whole_window(shape, Layout(LayoutKind.HCHCW, slices // shape.n, 1, apart=True))
    return min(shared, apart, key=lambda w: w.images_per_slice() * w.rows_per_slice())


def striped_bytes(total: int, npu: NpuConfig) -> int:
    """Bytes per slice of a striped range that holds `total` bytes."""
    return align(-(-total // npu.num_slices), npu.sram_access_bytes)


def dram_end(values: Iterable[Value], npu: NpuConfig) -> int:
    """The first aligned DRAM address behind those of these values that have one."""
    ends = [v.type.place.address + v.type.bytes for v in values
            if isinstance(v.type.place, InDram) and v.type.place.address is not None]  # fmt: skip
    return align(max(ends, default=0), npu.dram_alignment_bytes)


def constant_bytes(op: Op, y: Window, npu: NpuConfig) -> int:
    """Bytes per slice of packed constants and partial sums while an op writes y."""
    packed = op.packed_bytes(y.layout.co * y.layout.channels(y.place.shape.c))
    return (striped_bytes(packed, npu) if packed else 0) + op.scratch_bytes(y, npu)


def pair_of(npu: NpuConfig) -> NpuConfig | None:
    """Both PEs fused, of one PE of Warboy as it is; a what-if machine has no such pair."""
    return target("warboy-2pe") if npu == target("warboy") else None


def more_room(npu: NpuConfig, *, batch: bool, pair: bool) -> str:
    """What to do about an operator that SRAM has no room for. batch, pair: whether one image, two PEs would have it."""
    ways = ["use a smaller input"]
    if batch:
        ways.append("a smaller batch")
    if pair:
        ways.append("warboy-2pe")
    if npu.sram_bytes_per_slice < target("warboy").sram_bytes_per_slice:
        ways.append("more sram_bytes_per_slice")
    return f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else ways[0]


class Room:
    """What an op and its tensors need of SRAM before they have layouts: bytes per slice, the least of all layouts.

    slices: that a whole tensor may use."""

    def __init__(self, npu: NpuConfig, slices: int) -> None:
        self._npu, self._slices, self.bytes_per_slice = npu, slices, npu.sram_bytes_per_slice

    def fits(self, op: Op, aliases: Aliases) -> bool:
        """Whether an op can stay in one piece, before anything is a command."""
        return self.need(op, aliases) <= WHOLE_SHARE * self.bytes_per_slice

    def holds(self, op: Op, tensors: Iterable[Shape4], made: Shape4) -> bool:
        """Whether a command can run at all where these tensors must be there at once, of which it makes one."""
        return sum(map(self.of, tensors)) + self.of_constants(op, made) <= USABLE_SHARE * self.bytes_per_slice

    def need(self, op: Op, aliases: Aliases) -> int:
        """Operands, result, packed constants and partial sums together."""
        part = op.alias()
        if part is not None:
            root = aliases.root(part[0])
            return 0 if isinstance(root.type.place, InDram) else self.of(root.type.shape4)
        tensors = [*dict.fromkeys(aliases.root(value) for value in op.activations()), op.result]
        shapes = [value.type.shape4 for value in tensors]
        return sum(map(self.of, shapes)) + self.of_constants(op, shapes[-1])

    def of(self, shape: Shape4) -> int:
        """A tensor, in the cells that it is placed in."""
        return align(smallest_bytes(shape, self._npu, self._slices), CELL_BYTES)

    def of_constants(self, op: Op, made: Shape4) -> int:
        """Packed constants and partial sums where an op makes this shape, all channels in one slice."""
        packed = op.packed_bytes(made.c)
        scratch = op.scratch_bytes(over_rows(made, self._slices), self._npu)
        return (striped_bytes(packed, self._npu) if packed else 0) + scratch
