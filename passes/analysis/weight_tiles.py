"""Cut a convolution's weights into the tiles that one instruction computes, and pack them as `preload` wants them.

A tile fits one bank of the weight registers (output channels x input channels x taps) and one bank of the vector
registers (8 bytes of bias and multiplier a channel). Where the contraction needs several tiles, partial sums stay
in SRAM between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from isa.errors import Loc, LowerError
from isa.execute.numerics import Float32, Int8, Int32
from isa.instructions.weights import PAIR_BYTES, packed_pairs, unpacked_pairs
from isa.layout import Box, Layout, align
from isa.npu import NpuConfig


class WeightTile(NamedTuple):
    """Output channels [oc0, oc0 + ocn) inside each slice, input channels [k0, k0 + kn) of the group."""

    oc0: int
    ocn: int
    k0: int
    kn: int
    first: bool
    last: bool


def weight_tiles(channels_per_slice: int, k: int, taps: int, npu: NpuConfig, at: Loc) -> tuple[WeightTile, ...]:
    """Tiles of a convolution, in the order they run. Raises LowerError KernelTooLarge."""
    most = min(npu.channels_per_pass, npu.vector_register_bytes // 2 // PAIR_BYTES)
    while most > 1 and taps * most > npu.weight_bank_bytes:
        most //= 2
    room = npu.weight_bank_bytes // (taps * most)
    if room == 0:
        raise LowerError(
            "KernelTooLarge",
            f"a kernel of {taps} taps does not fit a weight bank of {npu.weight_bank_bytes} B",
            at=at,
            hint="replace the kernel by several smaller ones",
        )
    return _tiles(channels_per_slice, k, most, room, npu.mac_width)


@lru_cache(maxsize=1 << 14)  # a search asks for the same ones again and again
def _tiles(channels_per_slice: int, k: int, most: int, room: int, mac_width: int) -> tuple[WeightTile, ...]:
    """most: output channels of a tile; room: input channels that a bank holds for them."""
    pieces = -(-k // room)
    size = -(-k // pieces)
    if size > mac_width:
        size = min(align(size, mac_width), max(mac_width, room // mac_width * mac_width))
    starts = range(0, k, size)
    return tuple(
        WeightTile(oc0, min(most, channels_per_slice - oc0), k0, min(size, k - k0), k0 == 0, k0 + size >= k)
        for oc0 in range(0, channels_per_slice, most)
        for k0 in starts
    )


@lru_cache(maxsize=1 << 14)
def tile_kinds(tiles: tuple[WeightTile, ...]) -> tuple[tuple[WeightTile, int], ...]:
    """Tiles that cost alike, once, with how many there are: all of one size, but for the first one of the operator."""
    alike = Counter(tile._replace(oc0=1, k0=1) if tile.oc0 or tile.k0 else tile for tile in tiles)
    return tuple(alike.items())


class PackedTile(NamedTuple):
    """Where a tile lies in the packed weights: first byte, weight and vector bytes of each channel group."""

    start: int
    wbytes: int
    vbytes: int


def packed_tiles(tiles: Sequence[WeightTile], taps: int, groups: int) -> tuple[list[PackedTile], int]:
    """Places of the tiles one after another, and the bytes of all of them."""
    at, places = 0, []
    for tile in tiles:
        wbytes = tile.ocn * tile.kn * taps
        vbytes = tile.ocn * PAIR_BYTES if tile.last else 0
        places.append(PackedTile(at, wbytes, vbytes))
        at += groups * (wbytes + vbytes)
    return places, at


def packed_bytes(channels: int, k: int, taps: int) -> int:
    """Bytes of all tiles where `channels` output channels (those that only fill up slices included) are packed."""
    return channels * (k * taps + PAIR_BYTES)


def pack(
    weights: Int8, bias: Int32, multiplier: Float32, layout: Layout, channels: int, box: Box, npu: NpuConfig, at: Loc
) -> Int8:
    """Packed weights for a result of `channels` channels in `layout`, of which the convolution makes `box`.

    weights [o, k, kh, kw], bias and multiplier [o]; result int8 [bytes], tile after tile, group after group.
    Channels of a slice that are not made get zero weights.
    """
    per_slice, taps = layout.channels(channels), weights.shape[2] * weights.shape[3]
    k = weights.shape[1]
    grid = np.zeros((layout.co * per_slice, k, taps), np.int8)
    vector = np.zeros((layout.co * per_slice, PAIR_BYTES), np.int8)
    made = slice(box.c0, box.c0 + box.c)
    grid[made] = weights.reshape(box.c, k, taps)
    vector[made] = packed_pairs(bias, multiplier)
    by_column = grid.reshape(layout.co, per_slice, k, taps)
    pairs = vector.reshape(layout.co, per_slice, -1)
    parts = []
    for tile in weight_tiles(per_slice, k, taps, npu, at):
        rows = slice(tile.oc0, tile.oc0 + tile.ocn)
        part = by_column[:, rows, tile.k0 : tile.k0 + tile.kn].reshape(layout.co, -1)
        parts.append(np.concatenate([part, pairs[:, rows].reshape(layout.co, -1)], axis=1) if tile.last else part)
    return np.concatenate([part.reshape(-1) for part in parts])


def unpack(
    packed: Int8, layout: Layout, channels: int, box: Box, k: int, kernel: tuple[int, int], npu: NpuConfig
) -> tuple[Int8, Int32, Float32]:
    """The inverse of pack: weights [o, k, kh, kw], bias and multiplier [o]."""
    per_slice, taps = layout.channels(channels), kernel[0] * kernel[1]
    tiles = weight_tiles(per_slice, k, taps, npu, Loc())
    places, _ = packed_tiles(tiles, taps, layout.co)
    grid = np.zeros((layout.co, per_slice, k, taps), np.int8)
    vector = np.zeros((layout.co, per_slice, PAIR_BYTES), np.int8)
    for tile, place in zip(tiles, places, strict=True):
        size = place.wbytes + place.vbytes
        part = packed[place.start : place.start + layout.co * size].reshape(layout.co, size)
        rows = slice(tile.oc0, tile.oc0 + tile.ocn)
        block = part[:, : place.wbytes].reshape(layout.co, tile.ocn, tile.kn, taps)
        grid[:, rows, tile.k0 : tile.k0 + tile.kn] = block
        if tile.last:
            vector[:, rows] = part[:, place.wbytes :].reshape(layout.co, tile.ocn, -1)
    made = slice(box.c0, box.c0 + box.c)
    weights = grid.reshape(-1, k, *kernel)[made]
    return weights, *unpacked_pairs(vector.reshape(-1, PAIR_BYTES)[made])
