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

from isa.errors import LowerError
from isa.layout import Box, LayoutKind, Shape4
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import USABLE_SHARE, Room, more_room, pair_of
from passes.analysis.pieces import Pieces, needed
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Runs, Value
from passes.ir.types import DType, InDram, TensorType
from passes.ops.concat import LowLevelConcat
from passes.ops.host import Converts
from passes.ops.move import LowLevelSlice
from passes.options import CompileOptions

IMAGE_AXIS, CHANNEL_AXIS = 0, 1
JOINED_SHARE = 3 / 8  # of SRAM that a concatenation may use that stays on chip while its parts are made
TILE_SHARE = 1 / 2  # of SRAM that a tile may use: the next tile is loaded while it computes


def split_operators(graph: Graph, options: CompileOptions) -> Graph:
    """Replace what does not fit by tiles."""
    return _Splitting(graph, options).run()


def place_in_dram(graph: Graph, room: Room, join_on_chip: bool) -> None:
    """What the host makes for the NPU, concatenations of images that go to the host, and channel concatenations that
    may not stay or are too large."""
    made, users = [op.result for op in graph.ops if isinstance(op, Converts) and op.feeds_npu], graph.users()
    given = [value for value in graph.inputs if any(op.runs is not Runs.HOST for op in users.get(value, ()))]
    for value in (*given, *made):
        if value.type.dtype is DType.I8:
            value.type = value.type.at(InDram(LayoutKind.HCHCW))
    for op in graph.ops:
        if not isinstance(op, LowLevelConcat):
            continue
        if op.axis == IMAGE_AXIS and all(user.runs is Runs.HOST for user in users.get(op.result, ())):
            op.early = True  # groups of a batch: each is stored when it is done
            op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        if op.axis == CHANNEL_AXIS:
            if join_on_chip and room.of(op.result.type.shape4) <= JOINED_SHARE * room.bytes_per_slice:
                op.early = len(dict.fromkeys(op.inputs)) == len(op.inputs)
            else:
                op.early = True
                op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))


class _Splitting:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.names, self.join_on_chip = graph, Names(graph.names()), options.join_on_chip
        self.npu, self.aliases, self.room = options.npu, Aliases(graph), Room(options.npu, options.layout_slices)
        self.pieces = Pieces(graph, self.names)
        self.ops: list[Op] = []
        self.tiles: set[Value] = set()  # that are in tiles themselves

    def run(self) -> Graph:
        place_in_dram(self.graph, self.room, self.join_on_chip)
        for op in self.graph.ops:
            self._add(op)
        self.graph.ops = self._with_loads()
        self.graph.remove_dead()
        return self.graph

    def _add(self, op: Op) -> None:
        """Append an op, in tiles where it does not fit."""
        in_dram = any(isinstance(r.type.place, InDram) for r in op.results)
        if op.runs is Runs.HOST or in_dram or self.room.fits(op, self.aliases):
            self.ops.append(op)
        else:
            self._split(op)

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
        most = TILE_SHARE * self.room.bytes_per_slice
        if not isinstance(value.type.place, InDram) or self.room.of(shape) <= most:
            return [value]
        size = shape[axis]
        while size > 1 and self.room.of(_with(shape, axis, size)) > most:
            size = -(-size // 2)
        parts = []
        for at in range(0, shape[axis], size):
            box = shape.box.cut(axis, at, min(size, shape[axis] - at))
            type = TensorType(tuple(box.shape(shape.w)), value.type.dtype, value.type.quant)
            parts.append(Value(self.names.fresh(f"{op.result.name}.{value.name}.{at}"), type))
            ops.append(LowLevelSlice(results=(parts[-1],), loc=op.loc, x=value, box=box))
        return parts

    def _load(self, value: Value, ops: list[Op], reader: Op) -> Value:
        if value in self.graph.constants:
            value.type = value.type.at(InDram(LayoutKind.HCHCW))
        result = Value(self.names.fresh(f"{value.name}.loaded"), value.type.at(None))
        ops.append(LowLevelSlice(results=(result,), loc=reader.loc, x=value, box=value.type.shape4.box))
        return result

    def _split(self, op: Op) -> None:
        if isinstance(op, LowLevelConcat):
            op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
            self.ops.append(op)
            return
        axis, pieces, fits = self._choose(op)
        shape = op.result.type.shape4
        size = -(-shape[axis] // pieces)
        starts = range(0, shape[axis], size)
        tiles = [self._tile(op, shape.box.cut(axis, at, min(size, shape[axis] - at)), at, fits) for at in starts]
        op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        self.ops.append(LowLevelConcat(results=(op.result,), loc=op.loc, inputs=tuple(tiles), axis=axis, early=True))

    def _choose(self, op: Op) -> tuple[int, int, bool]:
        """Axis and number of tiles, and whether they fit. Halves that do not yet where no axis alone is enough."""
        found = self._tiles(op, self.room)
        if found is not None:
            return *found, True
        shape = op.result.type.shape4
        axes = [axis for axis in op.cut_axes() if shape[axis] > 1]
        if len(axes) < 2:
            raise self._too_large(op)
        return axes[0], 2, False

    def _tiles(self, op: Op, room: Room) -> tuple[int, int] | None:
        """Axis and number of tiles that fit: the axes in the op's own order."""
        shape = op.result.type.shape4
        resident = sum(room.of(v.type.shape4) for v in self._resident(op))
        for most in (share * room.bytes_per_slice for share in (TILE_SHARE, USABLE_SHARE)):
            for axis in op.cut_axes():
                for pieces in range(2, shape[axis] + 1):
                    if resident + self._tile_need(op, axis, -(-shape[axis] // pieces), room) <= most:
                        return axis, pieces
        return None

    def _resident(self, op: Op) -> list[Value]:
        """Operands that lie in SRAM whole whatever the tiles are."""
        on_chip = [v for v in op.activations() if self.pieces.in_dram(v) is None]
        return list(dict.fromkeys(self.aliases.root(v) for v in on_chip))

    def _tile_need(self, op: Op, axis: int, size: int, room: Room) -> int:
        shape = op.result.type.shape4
        piece = shape.box.cut(axis, 0, size)
        made = piece.shape(shape.w)
        need = room.of(made) + room.of_constants(op, made)
        for value, box in needed(op, piece):
            if self.pieces.in_dram(value) is not None:
                need += room.of(box.shape(value.type.shape4.w))
        return need

    def _tile(self, op: Op, box: Box, at: int, fits: bool) -> Value:
        """Emit one tile: boxes of the operands, then the op on them; in tiles of its own where it does not fit yet."""
        piece = self.pieces.piece(op, box, at, {})
        self.graph.constants |= piece.constants
        self.ops += piece.slices
        if fits:
            self.ops.append(piece.op)
        else:
            self._split(piece.op)
            self.tiles.add(piece.op.result)
        return piece.op.result

    def _too_large(self, op: Op) -> LowerError:
        need, have = self.room.need(op, self.aliases), self.room.bytes_per_slice
        return LowerError(
            "OutOfSram",
            f"{op.profiled_as} {list(op.result.type.shape)} needs {need} B of each slice's SRAM, there are {have}",
            at=op.loc,
            hint=more_room(self.npu, batch=False, pair=self._fits_pair(op)),  # tiles of one image were tried
        )

    def _fits_pair(self, op: Op) -> bool:
        pair = pair_of(self.npu)
        if pair is None:
            return False
        room = Room(pair, pair.num_slices)
        return room.fits(op, self.aliases) or self._tiles(op, room) is not None


def _with(shape: Shape4, axis: int, size: int) -> Shape4:
    return shape._replace(**{"nchw"[axis]: size})
