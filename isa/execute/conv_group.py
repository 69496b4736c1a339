"""All weight tiles of one convolution as one.

Partial sums in SRAM are not written: nothing but the tiles of the same convolution reads them. A convolution is grouped
only where no instruction between its first and last tile touches its input, its output or its weights; otherwise its
tiles run one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from isa.execute import numerics
from isa.execute.kernel_form import UInt8
from isa.execute.kernel_graph import KernelGraph, Pads
from isa.execute.lookup import clamped
from isa.execute.qlinear_conv import Contraction, emit_conv, onnx_pads
from isa.instructions import Conv, Instruction, LoadTable, Preload, Unit
from isa.instructions.weights import PAIR_BYTES, unpacked_pairs
from isa.layout import Window
from isa.machine import Int8, Machine
from isa.npu import NpuConfig
from isa.operands import SramRange, sram_bytes

# What tells the tiles of one convolution apart; in everything else they are the same.
_OWN = {"acc", "oc0", "ocn", "k0", "kn", "first", "last", "bank"}
_shared = attrgetter(*(operand.name for operand in Conv.spec.operands if operand.name not in _OWN))


class Tile(NamedTuple):
    """A conv, the preload that fills its bank, and where both stand in the program."""

    preload: Preload
    conv: Conv
    preload_at: int
    conv_at: int


@dataclass(eq=False)
class ConvGroup:
    """All tiles of one convolution in order: a part (isa/execute/parts.py)."""

    tiles: list[Tile] = field(default_factory=list)
    _loaded: Int8 | None = None  # what the region held
    _contraction: Contraction | None = None  # out of it

    @property
    def conv(self) -> Conv:
        return self.tiles[0].conv

    @property
    def instructions(self) -> list[Instruction]:
        return [insn for tile in self.tiles for insn in (tile.preload, tile.conv)]

    @property
    def reads(self) -> tuple[Window, ...]:
        return (self.conv.x,)

    @property
    def writes(self) -> Window:
        return self.conv.y

    @property
    def looks_up(self) -> bool:
        return bool(self.conv.lookup)

    @cached_property
    def feeds_itself(self) -> bool:
        """Where ONNX has no such padding, or where a tile sees nothing but padding. Asked when all tiles are there."""
        geometry, (_, used) = self.conv.geometry, self._pads()
        return geometry.up != 1 or geometry.pad_top < 0 or geometry.pad_left < 0 or min(used) < 1

    def region(self) -> tuple[SramRange, int, int]:
        """The striped range of the weights, and the bytes of it that the tiles use."""
        first = self.tiles[0].preload
        return first.src, first.start, max(tile.preload.start + tile.preload.tile_bytes for tile in self.tiles)

    def bind(self, machine: Machine) -> bool:
        loaded = machine.striped(self.tiles[0].preload.src)
        if loaded is self._loaded and not loaded.flags.writeable:  # of what nobody can write, nobody asks the bytes
            return False
        _, start, stop = self.region()
        if self._loaded is not None and np.array_equal(loaded[start:stop], self._loaded[start:stop]):
            return False
        self._loaded, self._contraction = loaded, self._unpacked(loaded[start:stop])
        return True

    def feed(self, x: UInt8) -> UInt8:
        if not self.feeds_itself:
            return x
        y = self.conv.y.shape
        spread = numerics.spread(x.transpose(0, 3, 1, 2), self.conv.geometry, (y.h, y.w), self.conv.zx + 128)
        return np.ascontiguousarray(spread.transpose(0, 2, 3, 1), np.uint8)

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        [x], conv, contraction = xs, self.conv, self._contraction
        assert contraction is not None, "bound before"
        if self.feeds_itself:
            width = (conv.reached[1], conv.y.shape.w)
            y = emit_conv(graph, x, contraction, replace(conv.geometry, up=1), (0, 0, 0, 0), width)
        else:
            pads, used = self._pads()
            width = (used[1], conv.y.shape.w)
            y = emit_conv(graph, graph.crop(x, conv.x.shape, used), contraction, conv.geometry, pads, width)
        return y if self.looks_up else graph.clip(y, conv.lo, conv.hi)

    def table(self, machine: Machine) -> Int8 | None:
        if not self.looks_up:
            return None
        return clamped(machine.tables[self.conv.tbank].copy(), self.conv.lo, self.conv.hi)  # others load the bank

    def _pads(self) -> tuple[Pads, tuple[int, int]]:
        x, y = self.conv.x.shape, self.conv.y.shape
        return onnx_pads(self.conv.geometry, (x.h, x.w), (y.h, y.w))

    def _unpacked(self, packed: Int8) -> Contraction:
        """Weights, bias and multipliers in the order ONNX wants them, out of the packed tiles."""
        conv, base = self.conv, self.region()[1]
        weights = np.zeros((conv.y.shape.c, conv.x.shape.c // conv.groups, conv.kh * conv.kw), np.int8)
        pairs = np.zeros((conv.y.shape.c, PAIR_BYTES), np.int8)
        for preload, tile, _, _ in self.tiles:
            at = preload.start - base
            data = packed[at : at + preload.tile_bytes].reshape(preload.groups, -1)
            for column, (rows, channels) in enumerate(tile.tile_channels()):
                part = data[column, : preload.wbytes].reshape(tile.ocn, tile.kn, conv.kh * conv.kw)
                weights[channels, tile.k0 : tile.k0 + tile.kn] = part[rows]
                if tile.last:
                    pairs[channels] = data[column, preload.wbytes :].reshape(tile.ocn, PAIR_BYTES)[rows]
        bias, multiplier = unpacked_pairs(pairs)
        shaped = weights.reshape(*weights.shape[:2], conv.kh, conv.kw)
        return Contraction(shaped, bias, numerics.finite(multiplier), conv.zx, conv.zw, conv.zy, conv.groups)


def group_convolutions(program: Sequence[Instruction], npu: NpuConfig) -> list[Instruction | ConvGroup]:
    """Replace complete, undisturbed runs of tiles by groups; a group stands where its last tile stood.

    Preloads go with their tiles, but for the last one of each bank: the next program may use what it left.
    """
    tiles, kept = _tiles(program)
    groups = [g for g in _runs(tiles) if _complete(g) and _undisturbed(g, program, npu.sram_access_bytes)]
    last_at = {group.tiles[-1].conv_at: group for group in groups}
    grouped = {tile.conv_at for group in groups for tile in group.tiles}
    kept |= {tile.preload_at for tile in tiles if tile.conv_at not in grouped}
    swallowed = grouped | {tile.preload_at for group in groups for tile in group.tiles} - kept
    work: list[Instruction | ConvGroup] = []
    for index, insn in enumerate(program):
        if index in last_at:
            work.append(last_at[index])
        elif index not in swallowed:
            work.append(insn)
    return work


def _tiles(program: Sequence[Instruction]) -> tuple[list[Tile], set[int]]:
    """Every conv whose bank this program fills, and the last preload of each bank."""
    filled: dict[int, int] = {}
    tiles = []
    for index, insn in enumerate(program):
        if isinstance(insn, Preload):
            filled[insn.bank] = index
        elif isinstance(insn, Conv) and insn.bank in filled:
            preload = program[filled[insn.bank]]
            assert isinstance(preload, Preload)
            tiles.append(Tile(preload, insn, filled[insn.bank], index))
    return tiles, set(filled.values())


def _runs(tiles: Iterable[Tile]) -> list[ConvGroup]:
    """Neighbours of one convolution, together."""
    groups: list[ConvGroup] = []
    for tile in tiles:
        if groups and _same_convolution(groups[-1].tiles[-1], tile):
            groups[-1].tiles.append(tile)
        else:
            groups.append(ConvGroup([tile]))
    return groups


def _same_convolution(a: Tile, b: Tile) -> bool:
    starts = b.conv.oc0 == 0 and b.conv.first
    return not starts and a.preload.src == b.preload.src and _shared(a.conv) == _shared(b.conv)


def _complete(group: ConvGroup) -> bool:
    """Every channel of every slice column, and the whole contraction."""
    conv = group.conv
    channels_out, k = conv.y.shape.c, conv.x.shape.c // conv.groups
    convs = [tile.conv for tile in group.tiles]
    made = {channel for tile in convs if tile.last for _, channels in tile.tile_channels() for channel in channels}
    blocks: dict[int, list[Conv]] = {}
    for tile in convs:
        blocks.setdefault(tile.oc0, []).append(tile)
    _, start, stop = group.region()
    # Tiles of a hostile file may overlap in memory: gathered, they would take much more than the file has.
    fits = channels_out * k * conv.kh * conv.kw <= stop - start
    return fits and len(made) == channels_out and all(_is_whole(block, k) for block in blocks.values())


def _is_whole(block: Sequence[Conv], k: int) -> bool:
    """Whether tiles of the same output channels begin with sums of zero, add up all of k, and end with a result."""
    begins, ends = [bool(tile.first) for tile in block], [bool(tile.last) for tile in block]
    once = sum(begins) == sum(ends) == 1 and begins[0] and ends[-1]
    return once and sum(tile.kn for tile in block) == k


def _undisturbed(group: ConvGroup, program: Sequence[Instruction], access_bytes: int) -> bool:
    """Whether nothing else changes what the tiles read, or sees their result half done."""
    conv, tiles = group.conv, group.tiles
    src, inside = tiles[0].preload.src, {tile.conv_at for tile in tiles}
    y = sram_bytes(conv.y.place, access_bytes)
    weights = sram_bytes(src, access_bytes)
    mine = (sram_bytes(conv.x.place, access_bytes), y, weights)
    first, last = tiles[0].conv_at, tiles[-1].conv_at
    loaded = min(tile.preload_at for tile in tiles)
    if any(w.overlaps(weights) for insn in program[loaded:first] for w in insn.writes(access_bytes)):
        return False
    for index in range(first, last):
        insn = program[index]
        if index in inside or insn.unit is Unit.CONTROL:
            continue
        if any(w.overlaps(r) for w in insn.writes(access_bytes) for r in mine):
            return False
        if any(r.overlaps(y) for r in insn.reads(access_bytes)):
            return False
        if isinstance(insn, LoadTable) and conv.lookup and insn.bank == conv.tbank:
            return False
    return True
