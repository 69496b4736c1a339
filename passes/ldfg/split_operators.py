"""Split operators whose operands and result do not fit SRAM together, along N, H or C, or along two of them.

before:
    %y = LowLevelConv2d(x=%x, ...) {kernel=(size=[3,3], pads=[1,1,1,1]), channels=8}
after:
    %y.0.x = LowLevelSlice(x=%x) {box=(n0=0, n=1, c0=0, c=3, h0=0, h=13)}
    %y.0 = LowLevelConv2d(x=%y.0.x, ...) {kernel=(size=[3,3], pads=[1,1,0,1]), channels=8}
    %y.12.x = LowLevelSlice(x=%x) {box=(n0=0, n=1, c0=0, c=3, h0=11, h=14)}
    %y.12 = LowLevelConv2d(x=%y.12.x, ...) {kernel=(size=[3,3], pads=[0,1,0,1]), channels=8}
    %y = LowLevelConcat(inputs=[%y.0, %y.12, ...]) {axis=2, early=true} : ... @dram:HCHCW

ldfg -> ldfg. The result of a split operator lies in DRAM. So does that of a channel concatenation: its parts are
spread over other slices than the result, and only the DMA engine brings bytes from any slice to any other.
Rows that two tiles need (the halo) are read twice.
Keeps: every value, bit for bit. Leaves alone: what fits under some layout.
Raises LowerError OutOfSram where no split makes an operator fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from isa.errors import LowerError
from isa.layout import Box, LayoutKind, Shape4
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import over_rows, smallest_bytes, striped_bytes
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, OpField, Role, Runs, Value, op_fields
from passes.ir.types import DType, InDram, TensorType
from passes.ops.concat import LowLevelConcat
from passes.ops.host import Converts
from passes.ops.move import LowLevelSlice
from passes.options import CompileOptions

WHOLE_SHARE = 3 / 4  # of SRAM that an unsplit operator may use under the most compact layouts
USABLE_SHARE = 15 / 16  # of SRAM that an operator may use at all: the rest is for weights of its neighbours
IMAGE_AXIS, CHANNEL_AXIS = 0, 1
JOINED_SHARE = 3 / 8  # of SRAM that a concatenation may use that stays on chip while its parts are made
TILE_SHARE = 1 / 2  # of SRAM that a tile may use: the next tile is loaded while it computes


def split_operators(graph: Graph, options: CompileOptions) -> Graph:
    """Replace what does not fit by tiles."""
    return Splitting(graph, options).run()


class Splitting:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.npu, self.names = graph, options.npu, Names(graph.names())
        self.slices, self.join_on_chip = options.layout_slices, options.join_on_chip
        self.aliases, self.producers = Aliases(graph), graph.producers()
        self.ops: list[Op] = []
        self.tiles: set[Value] = set()  # that are in tiles themselves

    def run(self) -> Graph:
        self.place_in_dram()
        for op in self.graph.ops:
            self._add(op)
        self.graph.ops = self._with_loads()
        self.graph.remove_dead()
        return self.graph

    def _add(self, op: Op) -> None:
        """Append an op, in tiles where it does not fit."""
        in_dram = any(isinstance(r.type.place, InDram) for r in op.results)
        if op.runs is Runs.HOST or in_dram or self.need(op) <= WHOLE_SHARE * self.npu.sram_bytes_per_slice:
            self.ops.append(op)
        else:
            self._split(op)

    def place_in_dram(self) -> None:
        """What the host makes for the NPU, concatenations of images that go to the host, and channel concatenations
        that may not stay or are too large."""
        made = [op.result for op in self.graph.ops if isinstance(op, Converts) and op.feeds_npu]
        users = self.graph.users()
        given = [v for v in self.graph.inputs if any(op.runs is not Runs.HOST for op in users.get(v, ()))]
        for value in (*given, *made):
            if value.type.dtype is DType.I8:
                value.type = value.type.at(InDram(LayoutKind.HCHCW))
        for op in self.graph.ops:
            if not isinstance(op, LowLevelConcat):
                continue
            if op.axis == IMAGE_AXIS and all(user.runs is Runs.HOST for user in users.get(op.result, ())):
                op.early = True  # groups of a batch: each is stored when it is done
                op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
            if op.axis == CHANNEL_AXIS:
                if self.join_on_chip and self.bytes(op.result) <= JOINED_SHARE * self.npu.sram_bytes_per_slice:
                    op.early = len(dict.fromkeys(op.inputs)) == len(op.inputs)
                else:
                    op.early = True
                    op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))

    def _with_loads(self) -> list[Op]:
        """The ops, with a slice of the whole tensor before the first op that computes on a DRAM tensor."""
        loaded: dict[Value, Value] = {}
        ops: list[Op] = []
        for op in self.ops:
            if isinstance(op, LowLevelConcat):
                op.inputs = tuple(part for value in op.inputs for part in self._parts(value, op, ops))
            if op.runs is Runs.NPU:  # a slice of a DRAM tensor is itself a load
                for value in op.activations():
                    in_dram = isinstance(value.type.place, InDram) or value in self.graph.constants
                    if in_dram and value not in loaded and value not in self.tiles:
                        loaded[value] = self._load(value, ops, op)
                op.substitute(loaded)
            elif isinstance(op, LowLevelSlice) and op.x in self.graph.constants:
                op.x.type = op.x.type.at(InDram(LayoutKind.HCHCW))  # so that its pieces are loads
            ops.append(op)
        return ops

    def _parts(self, value: Value, op: LowLevelConcat, ops: list[Op]) -> list[Value]:
        """A part of a concatenation, in pieces where it lies in DRAM because it does not fit SRAM."""
        if value in self.tiles:
            return [value]  # its own tiles go there at once
        shape, axis = value.type.shape4, op.axis
        room = TILE_SHARE * self.npu.sram_bytes_per_slice
        if not isinstance(value.type.place, InDram) or smallest_bytes(shape, self.npu, self.slices) <= room:
            return [value]
        size = shape[axis]
        while size > 1 and smallest_bytes(_with(shape, axis, size), self.npu, self.slices) > room:
            size = -(-size // 2)
        parts = []
        for at in range(0, shape[axis], size):
            box = cut(shape, axis, at, min(size, shape[axis] - at))
            type = TensorType(tuple(box.shape(shape.w)), value.type.dtype, value.type.quant)
            parts.append(Value(self.names.fresh(f"{op.result.name}.{value.name}.{at}"), type))
            ops.append(LowLevelSlice(results=(parts[-1],), loc=op.loc, x=value, box=box))
        return parts

    def _load(self, value: Value, ops: list[Op], reader: Op) -> Value:
        if value in self.graph.constants:
            value.type = value.type.at(InDram(LayoutKind.HCHCW))
        result = Value(self.names.fresh(f"{value.name}.loaded"), value.type.at(None))
        box = cut(value.type.shape4, 0, 0, value.type.shape4.n)
        ops.append(LowLevelSlice(results=(result,), loc=reader.loc, x=value, box=box))
        return result

    def need(self, op: Op) -> int:
        """Fewest bytes per slice that hold operands, result, packed constants and partial sums."""
        part = op.alias()
        if part is not None:
            root = self.aliases.root(part[0])
            return 0 if isinstance(root.type.place, InDram) else self.bytes(root)
        roots = dict.fromkeys(self.aliases.root(v) for v in op.activations())
        result = op.result.type.shape4
        return sum(self.bytes(v) for v in roots) + self.bytes(op.result) + self._constants(op, result)

    def bytes(self, value: Value) -> int:
        return smallest_bytes(value.type.shape4, self.npu, self.slices)

    def _constants(self, op: Op, shape: Shape4) -> int:
        """Bytes per slice of packed constants and partial sums where an op makes `shape`, all channels in one slice."""
        packed = op.packed_bytes(shape.c)
        y = over_rows(shape, self.slices)
        return (striped_bytes(packed, self.npu) if packed else 0) + op.scratch_bytes(y, self.npu)

    def _dram_box(self, value: Value) -> tuple[Value, Box] | None:
        """The DRAM tensor that a value is, or is loaded from, and the box of it; None for what is made on chip."""
        if isinstance(value.type.place, InDram):
            return value, cut(value.type.shape4, 0, 0, value.type.shape4.n)
        op = self.producers.get(value)
        source = self._dram_box(op.x) if isinstance(op, LowLevelSlice) else None
        if source is None:
            return None
        assert isinstance(op, LowLevelSlice)
        return source[0], op.box.within(source[1])

    def _split(self, op: Op) -> None:
        if isinstance(op, LowLevelConcat):
            op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
            self.ops.append(op)
            return
        axis, pieces, fits = self._choose(op)
        shape = op.result.type.shape4
        size = -(-shape[axis] // pieces)
        starts = range(0, shape[axis], size)
        tiles = [self.tile(op, cut(shape, axis, at, min(size, shape[axis] - at)), at, fits) for at in starts]
        op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        self.ops.append(LowLevelConcat(results=(op.result,), loc=op.loc, inputs=tuple(tiles), axis=axis, early=True))

    def _choose(self, op: Op) -> tuple[int, int, bool]:
        """Axis and number of tiles: the axes in the op's own order. Halves that do not fit yet where no axis alone is
        enough."""
        shape = op.result.type.shape4
        limit = TILE_SHARE * self.npu.sram_bytes_per_slice
        resident = sum(self.bytes(v) for v in self._resident(op))
        for share in (limit, USABLE_SHARE * self.npu.sram_bytes_per_slice):
            for axis in op.cut_axes():
                for pieces in range(2, shape[axis] + 1):
                    if resident + self._tile_need(op, axis, -(-shape[axis] // pieces)) <= share:
                        return axis, pieces, True
        axes = [axis for axis in op.cut_axes() if shape[axis] > 1]
        if len(axes) < 2:
            raise self._too_large(op)
        return axes[0], 2, False

    def _resident(self, op: Op) -> list[Value]:
        """Operands that lie in SRAM whole whatever the tiles are."""
        on_chip = [v for v in op.activations() if self._dram_box(v) is None]
        return list(dict.fromkeys(self.aliases.root(v) for v in on_chip))

    def _tile_need(self, op: Op, axis: int, size: int) -> int:
        shape = op.result.type.shape4
        piece = cut(shape, axis, 0, size)
        need = smallest_bytes(piece.shape(shape.w), self.npu, self.slices)
        for field, value in activation_fields(op):
            if self._dram_box(value) is not None:
                box = op.needs_of(field.name, value, piece)
                need += smallest_bytes(box.shape(value.type.shape4.w), self.npu, self.slices)
        return need + self._constants(op, piece.shape(shape.w))

    def tile(self, op: Op, piece: Box, at: int, fits: bool) -> Value:
        """Emit one tile: boxes of the operands, then the op on them; in tiles of its own where it does not fit yet."""
        name = self.names.fresh(f"{op.result.name}.{at}")
        shape = piece.shape(op.result.type.shape4.w)
        result = Value(name, replace(op.result.type, shape=tuple(shape), place=None))
        changes: dict[str, Any] = {"results": (result,), **op.piece(piece), **self._constant_rows(op, piece, at)}
        for field in op_fields(type(op)):
            if field.role is Role.ACTIVATION:
                boxes = {v: op.needs_of(field.name, v, piece) for v in op.held(field)}
                taken = [self.boxed(op, v, box, f"{name}.{field.name}") for v, box in boxes.items()]
                held = dict(zip(boxes, taken, strict=True))
                changes[field.name] = (
                    tuple(held[v] for v in op.held(field)) if field.kind == "many" else next(iter(taken), None)
                )
        made = replace(op, **changes)
        if fits:
            self.ops.append(made)
        else:
            self._split(made)
            self.tiles.add(result)
        return result

    def boxed(self, op: Op, value: Value, box: Box, name: str) -> Value:
        shape = box.shape(value.type.shape4.w)
        source = self._dram_box(value)
        if source is not None:
            value, box = source[0], box.within(source[1])
        elif shape == value.type.shape4:
            return value
        result = Value(self.names.fresh(name), TensorType(tuple(shape), value.type.dtype, value.type.quant))
        self.producers[result] = LowLevelSlice(results=(result,), loc=op.loc, x=value, box=box)
        self.ops.append(self.producers[result])
        return result

    def _constant_rows(self, op: Op, piece: Box, at: int) -> dict[str, Value]:
        """The rows of its constants that a piece takes, as constants of their own."""
        changes: dict[str, Value] = {}
        for field, rows in op.constant_rows(piece).items():
            old: Value = getattr(op, field)
            array = self.graph.constants[old][rows]
            changes[field] = Value(self.names.fresh(f"{old.name}.{at}"), old.type.shaped(array.shape))
            self.graph.constants[changes[field]] = array
        return changes

    def _too_large(self, op: Op) -> LowerError:
        need, have = self.need(op), self.npu.sram_bytes_per_slice
        return LowerError(
            "OutOfSram",
            f"{op.profiled_as} {list(op.result.type.shape)} needs {need} B of each slice's SRAM, there are {have}",
            at=op.loc,
            hint="use a smaller input, a smaller batch, or warboy-2pe",
        )


def activation_fields(op: Op) -> list[tuple[OpField, Value]]:
    return [(f, value) for f in op_fields(type(op)) if f.role is Role.ACTIVATION for value in op.held(f)]


def _with(shape: Shape4, axis: int, size: int) -> Shape4:
    return shape._replace(**{"nchw"[axis]: size})


def cut(shape: Shape4, axis: int, at: int, size: int) -> Box:
    """A range of one axis, all of the others."""
    box = Box(0, shape.n, 0, shape.c, 0, shape.h)
    start, count = (("n0", "n"), ("c0", "c"), ("h0", "h"))[axis]
    return box._replace(**{start: at, count: size})
