"""Contractions: convolution, transposed convolution and fully connected, all lowered to one op of the machine."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from isa import instructions as isa
from isa.errors import counted
from isa.execute import numerics
from isa.execute.numerics import Float32, Int8, Int32
from isa.instructions import NO_SRAM, Instruction
from isa.instructions.weights import TABLE_BYTES
from isa.layout import Box, Window, align
from isa.npu import NpuConfig
from isa.operands import MAX_IMAGES, SramRange
from passes.analysis import weight_tiles
from passes.analysis.weight_tiles import PackedTile, WeightTile
from passes.ir.attributes import Clamp, Kernel, Pair
from passes.ir.op import LOW, Activation, Array, Constant, Level, Lowering, Op, Packed, Read, Site, Value, op
from passes.ir.types import DType, InSram, Quant, per_tensor
from passes.ops.base import CHANNELS, IMAGES, ROWS, four_axes, int8, quantized, table_rule, within_int8
from passes.ops.move import Pad, Reshape
from passes.ops.pool import sliding
from passes.ops.turned import over_channels, turned, turned_back


def multiplier(x: Quant, w: Quant, y: Quant, channels: int) -> Float32:
    """sx * sw[c] / sy in float32, left to right, for each output channel: what ONNX Runtime's QLinearConv computes."""
    scales = np.asarray(w.scale, np.float32)
    product: Float32 = np.float32(x.s) * scales / np.float32(y.s)
    return np.broadcast_to(product, (channels,)).astype(np.float32)


@dataclass(eq=False, kw_only=True)
class Contraction(Op):
    """x int8, w int8 with one zero point for all channels, bias int32 of scale sx * sw."""

    x: Activation
    w: Constant
    bias: Constant | None = None
    clamp: Clamp = Clamp()

    made_axis: ClassVar[int] = 0  # of the weights: output channels, which may have a scale each

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, w=self.w, result=self.result)
        yield from quantized(x=self.x, result=self.result)
        yield from self._weight_rules()
        channels = self.shapes()[0][1]
        if self.bias is not None and (self.bias.type.shape, self.bias.type.dtype) != ((channels,), DType.I32):
            yield f"bias is {self.bias.type.dtype}{list(self.bias.type.shape)}, expected i32[{channels}]"

    def _weight_rules(self) -> Iterator[str]:
        quant = self.w.type.quant
        if quant is None:
            yield "the weights have no scale"
        elif len(set(quant.zero)) > 1:
            yield "the weights have more than one zero point"
        elif quant.axis is None and len(quant.scale) != 1:
            yield f"the weights have {counted(len(quant.scale), 'scale')} and no axis"
        elif quant.axis not in (None, self.made_axis):
            yield f"the weights have scales along axis {quant.axis}, expected output channels, axis {self.made_axis}"

    def _sums(self, x: Int8, w: Int8, kernel: Kernel, out: Pair, group: int, read: Read, up: int = 1) -> Int32:
        zero = self.w.type.q.zero[0]
        sums = numerics.contract(x, w, self.x.type.q.z, kernel.geometry(up), out, group, zero)
        return sums if self.bias is None else sums + read(self.bias).reshape(1, -1, 1, 1)

    def _requantized(self, sums: Int32, w: Quant) -> Int8:
        y = self.result.type.q
        scale = multiplier(self.x.type.q, w, y, sums.shape[1])
        return numerics.requantize(sums, scale, y.z, self.clamp.lo, self.clamp.hi)

    def _contract(self, low: Lowering, weights: Array, quant: Quant, **attributes: Any) -> None:
        """Lower to the contraction of the machine. weights [o, c / group, kh, kw].

        x, made: what it reads and makes where those are not operand and result themselves."""
        x, made = attributes.pop("x", None), attributes.pop("made", self.result)
        channels, name, table = weights.shape[0], self.result.name, attributes.pop("table", None)
        mid: Quant = attributes.pop("mid", self.result.type.q)
        group, own = attributes.get("group", 1), weights.shape[1] == 1
        cls = LowLevelDepthwiseConv2d if group > 1 and own and group == channels else LowLevelConv2d
        bias = low.array(self.bias) if self.bias is not None else np.zeros(channels, np.int32)
        lowered = cls(
            results=(low.result(made),), loc=self.loc, x=low.value(self.x) if x is None else x,
            w=low.constant(f"{name}.w", weights), bias=low.constant(f"{name}.bias", bias),
            multiplier=low.constant(f"{name}.multiplier", multiplier(self.x.type.q, quant, mid, channels)),
            table=low.value(table) if table is not None else None, lookup=table is not None, channels=channels,
            zero=mid.z, weight_zero=quant.zero[0], clamp=self.clamp, **attributes,
        )  # fmt: skip
        low.emit(lowered, made)


@op("conv2d", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Conv2d(Contraction):
    """Convolution. x [n, c, h, w], w int8 [o, c / group, kh, kw], bias int32 [o].

    A fused table maps the clamped int8 result once more; mid_scale and mid_zero quantize what goes into it."""

    table: Constant | None = None
    kernel: Kernel = Kernel()
    group: int = 1
    mid_scale: float = 0.0
    mid_zero: int = 0

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, _, h, w = self.x.type.shape
        return ((n, self.w.type.shape[0], *self.kernel.slides(h, w)),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        yield from four_axes(x=self.x, w=self.w, result=self.result)
        yield from _grouped(self.x.type.shape[1], self.w.type.shape[1], self.w.type.shape[0], self.group)
        yield from table_rule("table", self.table)
        if self.w.type.shape[2:] != self.kernel.size:
            yield f"a kernel of {list(self.kernel.size)}, the weights have {list(self.w.type.shape[2:])}"
        if (self.table is not None) != (self.mid_scale > 0):
            yield "a table and mid_scale go together"
        yield from within_int8(mid_zero=self.mid_zero)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        out = self.result.type.shape[2], self.result.type.shape[3]
        sums = self._sums(read(self.x), read(self.w), self.kernel, out, self.group, read)
        if self.table is None:
            return (self._requantized(sums, self.w.type.q),)
        scale = multiplier(self.x.type.q, self.w.type.q, per_tensor(self.mid_scale, self.mid_zero), sums.shape[1])
        clamped = numerics.requantize(sums, scale, self.mid_zero, self.clamp.lo, self.clamp.hi)
        return (numerics.lookup(clamped, read(self.table)),)

    def lower(self, low: Lowering) -> None:
        mid = per_tensor(self.mid_scale, self.mid_zero) if self.table is not None else self.result.type.q
        weights = low.array(self.w)
        self._contract(low, weights, self.w.type.q, kernel=self.kernel, group=self.group, table=self.table, mid=mid)


@op("conv_transpose2d", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class ConvTranspose2d(Contraction):
    """Transposed convolution. x [n, c, h, w], w int8 [c, o / group, kh, kw], bias int32 [o]."""

    kernel: Kernel = Kernel()
    output_padding: Pair = (0, 0)
    group: int = 1

    made_axis = 1

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, _, h, w = self.x.type.shape
        (sh, sw), (top, left, bottom, right), (rh, rw) = self.kernel.stride, self.kernel.pads, self.kernel.reach
        oh = (h - 1) * sh - top - bottom + rh + self.output_padding[0] + 1
        ow = (w - 1) * sw - left - right + rw + self.output_padding[1] + 1
        return ((n, self.w.type.shape[1] * self.group, oh, ow),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        yield from four_axes(x=self.x, w=self.w, result=self.result)
        if self.x.type.shape[1] != self.w.type.shape[0] or self.x.type.shape[1] % self.group:
            have = counted(self.x.type.shape[1], "input channel")
            yield f"{have}, {self.w.type.shape[0]} in the weights, {counted(self.group, 'group')}"
        if self.w.type.shape[2:] != self.kernel.size:
            yield f"a kernel of {list(self.kernel.size)}, the weights have {list(self.w.type.shape[2:])}"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        """A convolution with the flipped kernel over the input with zeros between its elements."""
        x, zero, (sh, sw) = read(self.x), self.x.type.q.z, self.kernel.stride
        n, c, h, width = x.shape
        wide = np.full((n, c, (h - 1) * sh + 1, (width - 1) * sw + 1), zero, np.int8)
        wide[:, :, ::sh, ::sw] = x
        out = self.result.type.shape[2], self.result.type.shape[3]
        sums = self._sums(wide, self._flipped(read(self.w)), self._forward(), out, self.group, read)
        return (self._requantized(sums, self._forward_quant()),)

    def lower(self, low: Lowering) -> None:
        """The machine puts zeros between elements alike on both axes: what one axis has more is padded before."""
        (sh, sw), kernel = self.kernel.stride, self._forward()
        up = math.gcd(sh, sw)
        x, more = self._spread(low, (sh // up, sw // up))
        top, left, bottom, right = kernel.pads
        kernel = replace(kernel, pads=(top, left, bottom - more[0] * up, right - more[1] * up))
        weights = np.ascontiguousarray(self._flipped(low.array(self.w)))
        self._contract(low, weights, self._forward_quant(), x=x, kernel=kernel, group=self.group, up=up)

    def _spread(self, low: Lowering, factors: Pair) -> tuple[Value, Pair]:
        """x with its zero point between rows and columns, and how many rows and columns that leaves behind the last."""
        if factors == (1, 1):
            return low.value(self.x), (0, 0)
        n, c, h, w = self.x.type.shape
        (rows, columns), zero = factors, self.x.type.q.z
        apart = Value(low.fresh(f"{self.x.name}.apart"), self.x.type.shaped((n, c, h, 1, w, 1)))
        Reshape(results=(apart,), loc=self.loc, x=self.x, to=apart.type.shape).lower(low)
        padded = Value(low.fresh(f"{self.x.name}.spread"), self.x.type.shaped((n, c, h, rows, w, columns)))
        Pad(
            results=(padded,), loc=self.loc, x=apart, before=(0,) * 6, after=(0, 0, 0, rows - 1, 0, columns - 1),
            value=zero,
        ).lower(low)  # fmt: skip
        wide = Value(low.fresh(f"{self.x.name}.wide"), self.x.type.shaped((n, c, h * rows, w * columns)))
        Reshape(results=(wide,), loc=self.loc, x=padded, to=wide.type.shape).lower(low)
        return low.value(wide), (rows - 1, columns - 1)

    def _forward(self) -> Kernel:
        """The kernel of the convolution it is, over the input with zeros between its elements."""
        (top, left, bottom, right), (rh, rw) = self.kernel.pads, self.kernel.reach
        pads = (rh - top, rw - left, rh - bottom + self.output_padding[0], rw - right + self.output_padding[1])
        return replace(self.kernel, stride=(1, 1), pads=pads)

    def _flipped(self, w: Int8) -> Int8:
        """[c, o / group, kh, kw] as [o, c / group, kh, kw], taps in reverse."""
        cin, cout, kh, kw = w.shape
        grouped = w.reshape(self.group, cin // self.group, cout, kh, kw).transpose(0, 2, 1, 3, 4)[..., ::-1, ::-1]
        return grouped.reshape(self.group * cout, cin // self.group, kh, kw)

    def _forward_quant(self) -> Quant:
        quant = self.w.type.q
        return quant if quant.axis is None else replace(quant, axis=0, scale=quant.scale * self.group)


@op("gemm", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Gemm(Contraction):
    """Fully connected. x [n, k], w int8 [o, k], bias int32 [o]."""

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return ((self.x.type.shape[0], self.w.type.shape[0]),)

    def rules(self, level: Level) -> Iterator[str]:
        if self.x.type.rank != 2 or self.w.type.rank != 2 or self.x.type.shape[1] != self.w.type.shape[1]:
            yield f"x {list(self.x.type.shape)} does not go with w {list(self.w.type.shape)}"
        else:
            yield from super().rules(level)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        x, w = read(self.x)[:, :, None, None], read(self.w)[:, :, None, None]
        return (self._requantized(self._sums(x, w, Kernel(), (1, 1), 1, read), self.w.type.q)[:, :, 0, 0],)

    def lower(self, low: Lowering) -> None:
        """Rows are images where the machine addresses so many, else rows of one image."""
        weights, rows = low.array(self.w)[:, :, None, None], self.x.type.shape[0]
        if rows <= MAX_IMAGES:
            self._contract(low, weights, self.w.type.q)
            return
        how, (channels, _) = turned(self.x.type.shape, (1,)), self.w.type.shape
        x = over_channels(low, self.x, how, self.loc)
        y = Value(low.fresh(f"{self.result.name}.turned"), self.result.type.shaped((1, channels, rows, 1)))
        self._contract(low, weights, self.w.type.q, x=x, made=y)
        turned_back(low, y, (channels, rows), how, self.result, self.loc)


def _grouped(channels: int, per_group: int, made: int, group: int) -> Iterator[str]:
    if group < 1 or channels != per_group * group or made % group:
        yield f"{channels} input and {made} output channels, {group} groups of {per_group} in the weights"


class Weights(NamedTuple):
    """What a convolution contracts with: w [o, c / group, kh, kw], bias and multiplier [o], table [256] or None."""

    w: Int8
    bias: Int32
    multiplier: Float32
    table: Int8 | None


@op("LowLevelConv2d", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelConv2d(Op):
    """Contract, requantize, look up. up: zeros between input elements plus one. zero: of the requantized sum.
    weight_zero: zero point of the weights.

    ldfg: w int8 [o, c / group, kh, kw], bias int32 [o], multiplier f32 [o], table int8 [256]; below: all of them
    packed. scratch: SRAM offset of the partial sums, from gir on."""

    x: Activation
    w: Constant | None = None
    bias: Constant | None = None
    multiplier: Constant | None = None
    table: Constant | None = None
    packed: Constant | None = None
    kernel: Kernel = Kernel()
    channels: int
    group: int = 1
    up: int = 1
    zero: int = 0
    weight_zero: int = 0
    clamp: Clamp = Clamp()
    lookup: bool = False
    scratch: int = 0

    timeless = ("zero", "weight_zero", "clamp", "scratch")

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, _, h, w = self.x.type.shape
        return ((n, self.channels, *self.kernel.slides((h - 1) * self.up + 1, (w - 1) * self.up + 1)),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)
        if self.up < 1 or self.group < 1 or self.channels < 1:
            yield f"up {self.up}, group {self.group} and channels {self.channels} must be positive"
            return
        yield from _grouped(self.x.type.shape[1], self.contracted, self.channels, self.group)
        yield from within_int8(zero=self.zero, weight_zero=self.weight_zero)
        yield from self._constant_rules(level)

    def _constant_rules(self, level: Level) -> Iterator[str]:
        plain = (self.w, self.bias, self.multiplier)
        if level is not Level.LDFG:
            if self.packed is None or any(v is not None for v in (*plain, self.table)):
                yield f"weights are packed at {level}"
            elif isinstance(self.result.type.place, InSram):
                layout = self.result.type.place.layout
                size = self.packed_bytes(layout.co * layout.channels(self.channels))
                if self.packed.type.shape != (size,):
                    yield f"{self.packed} has {counted(self.packed.type.elements, 'byte')}, {layout} takes {size}"
            return
        if self.packed is not None or any(v is None for v in plain):
            yield "weights, bias and multiplier are plain at ldfg"
            return
        if (self.table is not None) != self.lookup:
            yield "table and lookup go together"
        yield from table_rule("table", self.table)
        o = self.channels
        wanted = ((DType.I8, (o, self.contracted, *self.kernel.size)), (DType.I32, (o,)), (DType.F32, (o,)))
        for name, value, (dtype, shape) in zip(("w", "bias", "multiplier"), plain, wanted, strict=True):
            if value is not None and (value.type.dtype, value.type.shape) != (dtype, shape):
                yield f"{name} is {value.type.dtype}{list(value.type.shape)}, expected {dtype}{list(shape)}"

    @property
    def contracted(self) -> int:
        """Input channels of one group."""
        return self.x.type.shape4.c // self.group

    @property
    def depthwise(self) -> bool:
        """Every channel of the result has input channels of its own, mostly one."""
        return self.group == self.channels > 1

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        weights = self._weights(read, npu)
        out = self.result.type.shape[2], self.result.type.shape[3]
        sums = numerics.contract(
            read(self.x), weights.w, self.x.type.q.z, self.kernel.geometry(self.up), out, self.group, self.weight_zero
        )
        biased = sums + weights.bias.reshape(1, -1, 1, 1)
        made = numerics.requantize(biased, weights.multiplier, self.zero, self.clamp.lo, self.clamp.hi)
        return (made if weights.table is None else numerics.lookup(made, weights.table),)

    def _weights(self, read: Read, npu: NpuConfig) -> Weights:
        """Plain, or out of the packed bytes as the machine reads them, so that packing is part of what is executed."""
        if self.packed is None:
            assert self.w is not None and self.bias is not None and self.multiplier is not None
            table = read(self.table) if self.table is not None else None
            return Weights(read(self.w), read(self.bias), read(self.multiplier), table)
        packed, y = read(self.packed), self.result
        plain = weight_tiles.unpack(
            packed, y.type.layout, self.channels, y.type.shape4.box, self.contracted, self.kernel.size, npu
        )
        return Weights(*plain, packed[-TABLE_BYTES:] if self.lookup else None)

    # pieces

    def cut_axes(self) -> tuple[int, ...]:
        whole_groups = self.group > 1 and not self.depthwise
        return (IMAGES, ROWS) if whole_groups else (IMAGES, ROWS, CHANNELS)

    def needs(self, operand: str, piece: Box) -> Box:
        first, last = self.kernel.rows(piece.h0, piece.h, self.x.type.shape4.h, self.up)
        box = self.x.type.shape4.box._replace(n0=piece.n0, n=piece.n, h0=first, h=last - first)
        each = self.contracted
        return box._replace(c0=piece.c0 * each, c=piece.c * each) if self.depthwise else box

    def piece(self, piece: Box) -> dict[str, Any]:
        changes: dict[str, Any] = {}
        if piece.h != self.result.type.shape[ROWS]:
            changes["kernel"] = self.kernel.over_rows(piece.h0, piece.h, self.x.type.shape4.h, self.up)
        if piece.c != self.channels:
            changes |= {"channels": piece.c, "group": piece.c if self.depthwise else 1}
        return changes

    def constant_rows(self, piece: Box) -> dict[str, slice]:
        if piece.c == self.channels:
            return {}
        return dict.fromkeys(("w", "bias", "multiplier"), slice(piece.c0, piece.c0 + piece.c))

    # footprint

    def _tiles(self, channels_per_slice: int, npu: NpuConfig) -> tuple[WeightTile, ...]:
        return weight_tiles.weight_tiles(channels_per_slice, self.contracted, self.kernel.taps, npu, self.loc)

    def packed_bytes(self, channels: int) -> int:
        table = TABLE_BYTES if self.lookup else 0
        return weight_tiles.packed_bytes(channels, self.contracted, self.kernel.taps) + table

    def scratch_bytes(self, y: Window, npu: NpuConfig) -> int:
        return self.sums_bytes(self._tiles(y.layout.channels(y.place.shape.c), npu), y, npu)

    def sums_bytes(self, tiles: tuple[WeightTile, ...], y: Window, npu: NpuConfig) -> int:
        """SRAM of each slice for the int32 sums of one tile's channels; 0 where every contraction is one tile."""
        if tiles[0].last:
            return 0
        rows = y.images_per_slice() * -(-y.shape.h // y.layout.ho)
        return rows * tiles[0].ocn * align(4 * y.shape.w, npu.sram_access_bytes)

    def place_scratch(self, offset: int) -> None:
        self.scratch = offset

    def scratch_offset(self) -> int:
        return self.scratch

    def pack(self, read: Read, npu: NpuConfig) -> Packed:
        weights, y = self._weights(read, npu), self.result
        data = weight_tiles.pack(
            weights.w, weights.bias, weights.multiplier, y.type.layout, self.channels, y.type.shape4.box, npu, self.loc
        )
        return Packed("packed", data if weights.table is None else np.concatenate([data, weights.table]))

    # instructions

    def instructions(self, at: Site) -> Iterator[Instruction]:
        y = at.target(self)
        tiles = self._tiles(y.layout.channels(y.place.shape.c), at.npu)
        places, table = weight_tiles.packed_tiles(tiles, self.kernel.taps, y.layout.co)
        run = _Run(self, at, y, tiles, table)
        yield from run.opening()
        for tile, place in zip(tiles, places, strict=True):
            yield from run.of(tile, place)

    def distinct_instructions(self, at: Site) -> Iterator[tuple[Instruction, int]]:
        """Tiles of one size cost alike, but for the first one: it opens the operator."""
        y = at.target(self)
        tiles = self._tiles(y.layout.channels(y.place.shape.c), at.npu)
        run = _Run(self, at, y, tiles, 0)
        yield from ((instruction, 1) for instruction in run.opening())
        for tile, count in weight_tiles.tile_kinds(tiles):
            [place], _ = weight_tiles.packed_tiles([tile], self.kernel.taps, y.layout.co)
            yield from ((instruction, count) for instruction in run.of(tile, place))

    def timed_by(self, at: Site) -> Hashable:
        """What is fetched is said by the rows that are made; how, by the kind. Storing takes the same time in both."""
        made = at.target(self).layout
        return at.window(self.x).layout.kind, made.ho, made.co, made.apart


class _Run:
    """The instructions of one convolution at one place: weight tiles in turn, banks alternating."""

    def __init__(
        self, conv: LowLevelConv2d, at: Site, y: Window, tiles: tuple[WeightTile, ...], table_start: int
    ) -> None:
        self.conv, self.at, self.y, self.table_start = conv, at, y, table_start
        self.source = at.striped(conv.packed)
        sums_bytes = conv.sums_bytes(tiles, y, at.npu)
        self.sums = SramRange(conv.scratch, sums_bytes) if sums_bytes else NO_SRAM
        self.table_bank = at.table_bank() if conv.lookup else 0
        self.common: dict[str, Any] = {
            **sliding(conv.kernel, conv.clamp), "x": at.window(conv.x), "y": y, "up": conv.up, "groups": conv.group,
            "zx": conv.x.type.q.z, "zw": conv.weight_zero, "zy": conv.zero, "lookup": int(conv.lookup),
            "tbank": self.table_bank,
        }  # fmt: skip

    def opening(self) -> Iterator[Instruction]:
        if self.conv.lookup:
            yield isa.LoadTable(src=self.source, start=self.table_start, bank=self.table_bank)

    def of(self, tile: WeightTile, place: PackedTile) -> Iterator[Instruction]:
        bank = self.at.weight_bank()
        yield isa.Preload(
            src=self.source, start=place.start, wbytes=place.wbytes, vbytes=place.vbytes, groups=self.y.layout.co,
            bank=bank,
        )  # fmt: skip
        yield isa.Conv(
            **self.common, acc=self.sums, oc0=tile.oc0, ocn=tile.ocn, k0=tile.k0, kn=tile.kn,
            first=int(tile.first), last=int(tile.last), bank=bank,
        )  # fmt: skip


@op("LowLevelDepthwiseConv2d", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelDepthwiseConv2d(LowLevelConv2d):
    """A convolution with one input channel a group."""
