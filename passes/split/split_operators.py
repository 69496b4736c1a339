"""Split operators whose operands and result do not fit SRAM together, along N, H or C.

before:
    %y = LowLevelConv2d(x=%x, ...) {kernel=[3,3], pad=[1,1], out=[60,24], channels=8}
after:
    %y.0.x = LowLevelSlice(x=%x) {box=[0,1,0,3,0,13]}
    %y.0 = LowLevelConv2d(x=%y.0.x, ...) {kernel=[3,3], pad=[1,1], out=[12,24], channels=8}
    %y.12.x = LowLevelSlice(x=%x) {box=[0,1,0,3,11,14]}
    %y.12 = LowLevelConv2d(x=%y.12.x, ...) {kernel=[3,3], pad=[0,1], out=[12,24], channels=8}
    %y = LowLevelConcat(inputs=[%y.0, %y.12, ...]) {axis=2, early=true} : ... @dram:HCHCW

ldfg -> ldfg. The result of a split operator lies in DRAM. So does that of a channel concatenation: its parts are
spread over other slices than the result, and only the DMA engine brings bytes from any slice to any other.
Rows that two tiles need (the halo) are read twice.
Keeps: every value, bit for bit. Leaves alone: what fits under some layout.
Raises LowerError OutOfSram where no split makes an operator fit."""

from __future__ import annotations

from dataclasses import replace

from isa.errors import LowerError
from isa.layout import Box, LayoutKind, Shape4
from passes.ir.dfg import HOST_OPS
from passes.ir.graph import Array, Graph, Names, Op, Value
from passes.ir.lowlevel import (
    LowLevelBinary,
    LowLevelConcat,
    LowLevelConv2d,
    LowLevelMove,
    LowLevelOp,
    LowLevelPad,
    LowLevelSlice,
    LowLevelTable,
    WindowOp,
)
from passes.ir.types import DType, InDram, TensorType
from passes.ir.windows import Windows
from passes.lower.cost_model import smallest_bytes, striped_bytes
from passes.lower.weight_tiles import VECTOR_BYTES_PER_CHANNEL, partial_bytes, weight_tiles
from passes.options import CompileOptions

WHOLE_SHARE = 3 / 4  # of SRAM that an unsplit operator may use under the most compact layouts
USABLE_SHARE = 15 / 16  # of SRAM that an operator may use at all: the rest is for weights of its neighbours
CHANNEL_AXIS = 1
TILE_SHARE = 1 / 2  # of SRAM that a tile may use: the next tile is loaded while it computes


def split_operators(graph: Graph, options: CompileOptions) -> Graph:
    """Replace what does not fit by tiles."""
    return _Splitting(graph, options).run()


class _Splitting:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.npu, self.names = graph, options.npu, Names(graph.names())
        self.slices = options.layout_slices
        self.windows, self.producers = Windows(graph), graph.producers()
        self.ops: list[Op] = []

    def run(self) -> Graph:
        heads = {op for op in self.graph.ops if isinstance(op, HOST_OPS) and op.x in self.graph.inputs}
        for value in self.graph.inputs:
            if value.type.dtype is DType.I8:
                value.type = value.type.at(InDram(LayoutKind.HCHCW))
        for op in self.graph.ops:
            if isinstance(op, LowLevelConcat) and op.axis == CHANNEL_AXIS:
                op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
                op.early = self._bytes(op.result) > TILE_SHARE * self.npu.sram_bytes_per_slice
        for op in self.graph.ops:
            if isinstance(op, HOST_OPS):
                if op in heads:
                    op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
                self.ops.append(op)
            elif (
                not isinstance(op, LowLevelOp)
                or isinstance(op.result.type.place, InDram)
                or self._need(op) <= WHOLE_SHARE * self.npu.sram_bytes_per_slice
            ):
                self.ops.append(op)
            else:
                self._split(op)
        self.graph.ops = self._with_loads()
        self.graph.remove_dead()
        return self.graph

    def _with_loads(self) -> list[Op]:
        """The ops, with a slice of the whole tensor in front of the first op that computes on a DRAM tensor."""
        loaded: dict[Value, Value] = {}
        ops: list[Op] = []
        for op in self.ops:
            if isinstance(op, LowLevelConcat):
                op.inputs = tuple(part for value in op.inputs for part in self._parts(value, op, ops))
            if not isinstance(op, LowLevelSlice):  # a slice of a DRAM tensor is itself a load
                for value in activations(op):
                    in_dram = isinstance(value.type.place, InDram) or value in self.graph.constants
                    if in_dram and value not in loaded:
                        loaded[value] = self._load(value, ops, op)
                op.substitute(loaded)
            ops.append(op)
        return ops

    def _parts(self, value: Value, op: LowLevelConcat, ops: list[Op]) -> list[Value]:
        """A part of a concatenation, in pieces where it lies in DRAM because it does not fit SRAM."""
        shape, axis = value.type.shape4, op.axis
        room = TILE_SHARE * self.npu.sram_bytes_per_slice
        if not isinstance(value.type.place, InDram) or smallest_bytes(shape, self.npu, self.slices) <= room:
            return [value]
        size = shape[axis]
        while size > 1 and smallest_bytes(shape._replace(**{"nchw"[axis]: size}), self.npu, self.slices) > room:
            size = -(-size // 2)
        parts = []
        for at in range(0, shape[axis], size):
            box = _operand_box(op, value, axis, at, min(size, shape[axis] - at))
            type = TensorType(tuple(box.shape(shape.w)), value.type.dtype, value.type.quant)
            parts.append(Value(self.names.fresh(f"{op.result.name}.{value.name}.{at}"), type))
            ops.append(LowLevelSlice(result=parts[-1], loc=op.loc, x=value, box=tuple(box)))
        return parts

    def _load(self, value: Value, ops: list[Op], reader: Op) -> Value:
        if value in self.graph.constants:
            value.type = value.type.at(InDram(LayoutKind.HCHCW))
        shape = value.type.shape4
        box = Box(0, shape.n, 0, shape.c, 0, shape.h)
        result = Value(self.names.fresh(f"{value.name}.loaded"), value.type.at(None))
        ops.append(LowLevelSlice(result=result, loc=reader.loc, x=value, box=tuple(box)))
        return result

    def _need(self, op: LowLevelOp) -> int:
        """Fewest bytes per slice that hold operands, result, weights and partial sums."""
        if isinstance(op, LowLevelSlice):
            return 0 if isinstance(self.windows.root(op.x).type.place, InDram) else self._bytes(self.windows.root(op.x))
        roots = dict.fromkeys(self.windows.root(v) for v in activations(op))
        return sum(self._bytes(v) for v in roots) + self._bytes(op.result) + self._weights(op, op.made())

    def _bytes(self, value: Value) -> int:
        return smallest_bytes(value.type.shape4, self.npu, self.slices)

    def _weights(self, op: LowLevelOp, shape: Shape4) -> int:
        """Bytes per slice of packed weights and partial sums where a convolution makes `shape`."""
        if not isinstance(op, LowLevelConv2d):
            return 0
        k, taps = op.x.type.shape4.c // op.group, op.kernel[0] * op.kernel[1]
        weights = striped_bytes(shape.c * (k * taps + VECTOR_BYTES_PER_CHANNEL), self.npu)
        tiles = weight_tiles(shape.c, k, taps, self.npu, op.loc)
        rows = -(-shape.h // self.slices)
        return weights + partial_bytes(tiles, shape.n, rows, shape.w, self.npu.sram_access_bytes)

    def _dram_box(self, value: Value) -> tuple[Value, Box] | None:
        """The DRAM tensor that a value is, or is loaded from, and the box of it; None for what is made on chip."""
        if isinstance(value.type.place, InDram):
            shape = value.type.shape4
            return value, Box(0, shape.n, 0, shape.c, 0, shape.h)
        op = self.producers.get(value)
        if not isinstance(op, LowLevelSlice):
            return None
        source = self._dram_box(op.x)
        if source is None:
            return None
        base, outer = source
        return base, Box(*op.box).within(outer)

    def _split(self, op: LowLevelOp) -> None:
        if isinstance(op, LowLevelConcat):
            op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
            self.ops.append(op)
            return
        if not isinstance(op, WindowOp | LowLevelBinary | LowLevelTable | LowLevelMove):
            raise self._too_large(op)
        axis, pieces = self._choose(op)
        extent = op.made()[axis]
        size = -(-extent // pieces)
        tiles = []
        for at in range(0, extent, size):
            tiles.append(self._tile(op, axis, at, min(size, extent - at)))
        op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        self.ops.append(LowLevelConcat(result=op.result, loc=op.loc, inputs=tuple(tiles), axis=axis, early=True))

    def _choose(self, op: LowLevelOp) -> tuple[int, int]:
        """Axis and number of tiles: images first, then rows, then output channels."""
        shape = op.made()
        limit = TILE_SHARE * self.npu.sram_bytes_per_slice
        resident = sum(self._bytes(v) for v in self._resident(op))
        options = [(axis, shape[axis]) for axis in _axes(op)]
        for share in (limit, USABLE_SHARE * self.npu.sram_bytes_per_slice):
            for axis, extent in options:
                for pieces in range(2, extent + 1):
                    if resident + self._tile_need(op, axis, -(-extent // pieces)) <= share:
                        return axis, pieces
        raise self._too_large(op)

    def _resident(self, op: LowLevelOp) -> list[Value]:
        """Operands that lie in SRAM whole whatever the tiles are."""
        on_chip = [v for v in activations(op) if self._dram_box(v) is None]
        return list(dict.fromkeys(self.windows.root(v) for v in on_chip))

    def _tile_need(self, op: LowLevelOp, axis: int, size: int) -> int:
        shape = op.made()._replace(**{"nchw"[axis]: size})
        need = smallest_bytes(shape, self.npu, self.slices)
        for value in activations(op):
            if self._dram_box(value) is not None:
                need += smallest_bytes(
                    _operand_box(op, value, axis, 0, size).shape(value.type.shape4.w), self.npu, self.slices
                )
        return need + self._weights(op, shape)

    def _tile(self, op: LowLevelOp, axis: int, at: int, size: int) -> Value:
        """Emit one tile: boxes of the operands, then the op on them."""
        name = self.names.fresh(f"{op.result.name}.{at}")
        shape = op.made()._replace(**{"nchw"[axis]: size})
        result = Value(name, replace(op.result.type, shape=tuple(shape), place=None))
        changes: dict[str, object] = {"result": result}
        for field, value in _activation_fields(op):
            changes[field] = self._boxed(op, value, axis, at, size, f"{name}.{field}")
        if isinstance(op, WindowOp):
            changes["out"] = (shape.h, shape.w)
            if axis == 2:
                changes["pad"] = (_first_pad(op, at), op.pad[1])
        if isinstance(op, LowLevelMove):
            changes |= {"shape": tuple(shape), "sizes": (op.sizes[0] // op.made()[axis] * size, *op.sizes[1:])}
        if isinstance(op, LowLevelConv2d) and axis == 1:
            changes |= {"channels": size, **self._weight_piece(op, at, size)}
        self.ops.append(replace(op, **changes))  # type: ignore[arg-type]
        return result

    def _boxed(self, op: LowLevelOp, value: Value, axis: int, at: int, size: int, name: str) -> Value:
        box = _operand_box(op, value, axis, at, size)
        shape = box.shape(value.type.shape4.w)
        source = self._dram_box(value)
        if source is not None:
            value, box = source[0], box.within(source[1])
        elif shape == value.type.shape4:
            return value
        result = Value(self.names.fresh(name), TensorType(tuple(shape), value.type.dtype, value.type.quant))
        self.ops.append(LowLevelSlice(result=result, loc=op.loc, x=value, box=tuple(box)))
        return result

    def _weight_piece(self, op: LowLevelConv2d, at: int, size: int) -> dict[str, object]:
        if op.group != 1 and op.group != op.channels:
            raise self._too_large(op)
        piece: dict[str, object] = {"group": size} if op.group == op.channels else {}
        for field in ("w", "bias", "multiplier"):
            old: Value = getattr(op, field)
            array: Array = self.graph.constants[old][at : at + size]
            value = Value(self.names.fresh(f"{old.name}.{at}"), old.type.shaped(array.shape))
            self.graph.constants[value] = array
            piece[field] = value
        return piece

    def _too_large(self, op: LowLevelOp) -> LowerError:
        need, have = self._need(op), self.npu.sram_bytes_per_slice
        return LowerError(
            "OutOfSram",
            f"{op.mnemonic} {list(op.made())} needs {need} B of each slice's SRAM, there are {have}",
            at=op.loc,
            hint="use a smaller input, a smaller batch, or warboy-2pe",
        )


def activations(op: Op) -> list[Value]:
    """Operands of a low-level op that are tensors, not weights."""
    return [value for _, value in _activation_fields(op)]


def _activation_fields(op: Op) -> list[tuple[str, Value]]:
    if isinstance(op, LowLevelBinary):
        return [("a", op.a), ("b", op.b)]
    if isinstance(op, LowLevelConcat):
        return [("inputs", v) for v in op.inputs]
    if isinstance(op, WindowOp | LowLevelTable | LowLevelMove | LowLevelPad | LowLevelSlice):
        return [("x", op.x)]
    return []


def _axes(op: LowLevelOp) -> tuple[int, ...]:
    """Axes along which an op can be cut into tiles, the best first: images, rows, output channels."""
    if isinstance(op, LowLevelMove):
        return tuple(axis for axis in (0, 1) if _cuts_move(op, axis))
    return (0, 2, 1) if isinstance(op, LowLevelConv2d) else (0, 2)


def _cuts_move(op: LowLevelMove, axis: int) -> bool:
    """True where one index of an axis of the result comes from one index of the same axis of the operand."""
    extent, source = op.made()[axis], op.x.type.shape4
    if any(n > 1 for n in op.made()[:axis]) or extent == 1 or source[axis] != extent or op.sizes[0] % extent:
        return False
    return op.start == 0 and op.sizes[0] // extent * op.steps[0] == source.elements // extent


def _operand_box(op: LowLevelOp, value: Value, axis: int, at: int, size: int) -> Box:
    """What a tile of the result needs of an operand."""
    shape = value.type.shape4
    box = Box(0, shape.n, 0, shape.c, 0, shape.h)
    if axis == 0:
        return box._replace(n0=at, n=size) if shape.n > 1 or op.made().n == 1 else box
    if axis == 2:
        if isinstance(op, WindowOp):
            first, last = _rows(op, at, size, shape)
            return box._replace(h0=first, h=last - first)
        return box._replace(h0=at, h=size) if shape.h > 1 or op.made().h == 1 else box
    depthwise = isinstance(op, LowLevelConv2d) and op.group == op.channels and op.group > 1
    return box._replace(c0=at, c=size) if depthwise or not isinstance(op, LowLevelConv2d) else box


def _up(op: WindowOp) -> int:
    return op.up if isinstance(op, LowLevelConv2d) else 1


def _rows(op: WindowOp, at: int, size: int, shape: Shape4) -> tuple[int, int]:
    """Input rows [first, last) that output rows [at, at + size) read."""
    up, reach = _up(op), (op.kernel[0] - 1) * op.dilation[0]
    top = at * op.stride[0] - op.pad[0]
    bottom = (at + size - 1) * op.stride[0] - op.pad[0] + reach
    first = min(max(0, -(-top // up)), shape.h - 1)
    return first, max(first + 1, min(shape.h, bottom // up + 1))


def _first_pad(op: WindowOp, at: int) -> int:
    """Padding above the rows of a tile: negative where an upsampled input starts inside a gap."""
    first, _ = _rows(op, at, 1, op.x.type.shape4)
    return op.pad[0] + first * _up(op) - at * op.stride[0]
