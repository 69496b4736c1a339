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
Rows that two tiles need (the halo) are read twice. Of operands that leave no room for tiles, the largest goes through
DRAM.
Keeps: every value, bit for bit. Leaves alone: what fits under some layout.
Raises LowerError OutOfSram where no split makes an operator fit."""

from __future__ import annotations

from isa.errors import LowerError
from isa.layout import Box, LayoutKind
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import USABLE_SHARE, Room, more_room, pair_of
from passes.analysis.pieces import Pieces, needed
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Runs, Value
from passes.ir.types import DType, InDram, TensorType
from passes.ops.base import CHANNELS, IMAGES
from passes.ops.concat import LowLevelConcat
from passes.ops.host import Converts
from passes.ops.move import LowLevelSlice
from passes.options import CompileOptions

JOINED_SHARE = 3 / 8  # of SRAM that a concatenation may use that stays on chip while its parts are made
TILE_SHARE = 1 / 2  # of the SRAM that operands leave which lie there whole: the next tile is loaded meanwhile


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
        if op.axis == IMAGES and all(user.runs is Runs.HOST for user in users.get(op.result, ())):
            op.early = True  # groups of a batch: each is stored when it is done
            op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        if op.axis == CHANNELS:
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
        load = isinstance(op, LowLevelSlice) and op.loads  # or none: who is split reads boxes
        if op.runs is Runs.HOST or in_dram or load or self.room.fits(op, self.aliases):
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
        while size > 1 and self.room.of(shape.box.cut(axis, 0, size).shape(shape.w)) > most:
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
        found = self._tiles(op, self.room)
        if found is None and self._spill(op):
            self._add(op)
            return
        axis, pieces = found or self._halves(op)
        shape = op.result.type.shape4
        size = -(-shape[axis] // pieces)
        starts = range(0, shape[axis], size)
        fits = found is not None
        tiles = [self._tile(op, shape.box.cut(axis, at, min(size, shape[axis] - at)), at, fits) for at in starts]
        op.result.type = op.result.type.at(InDram(LayoutKind.HCHCW))
        self.ops.append(LowLevelConcat(results=(op.result,), loc=op.loc, inputs=tuple(tiles), axis=axis, early=True))

    def _spill(self, op: Op) -> bool:
        """Let the largest operand that lies in SRAM go through DRAM, for this op and those behind it; False where none
        does."""
        resident = set(self._resident(op))
        made = [(at, value) for at, maker in enumerate(self.ops) for value in maker.results if value in resident]
        if not made:
            return False
        at, value = max(made, key=lambda each: self.room.of(each[1].type.shape4))
        stored = Value(self.names.fresh(f"{value.name}.stored"), value.type.at(InDram(LayoutKind.HCHCW)))
        join = LowLevelConcat(results=(stored,), loc=self.ops[at].loc, inputs=(value,), axis=CHANNELS, early=True)
        before = set(self.ops)
        self.ops.insert(at + 1, join)
        for reader in dict.fromkeys((*self.ops[at + 2 :], *self.graph.ops, op)):
            if reader not in before or isinstance(reader, LowLevelSlice):
                reader.substitute({value: stored})
        self.aliases = Aliases(self.graph)  # views of the value are now loads
        return True

    def _halves(self, op: Op) -> tuple[int, int]:
        """Axis and number of tiles that do not fit yet, where no axis alone is enough."""
        shape = op.result.type.shape4
        axes = [axis for axis in op.cut_axes() if shape[axis] > 1]
        if len(axes) < 2:
            raise self._too_large(op)
        return axes[0], 2

    def _tiles(self, op: Op, room: Room) -> tuple[int, int] | None:
        """Axis and number of tiles that fit, the cheapest: by what all tiles read, twice as much where the next tile
        finds no room to be loaded beside (waiting for loads is half of the time at most), then by their number."""
        taken = sum(room.of(v.type.shape4) for v in self._resident(op))
        alone, left = USABLE_SHARE * room.bytes_per_slice - taken, room.bytes_per_slice - taken
        beside = min(TILE_SHARE * left, alone)
        loads = any(self.pieces.in_dram(v) is not None for v in op.activations())
        found: list[tuple[int, int, int]] = []
        for axis in op.cut_axes():
            for most, dearer in ((beside, 1), (alone, 2)) if loads else ((alone, 1),):
                pieces = self._fewest(op, axis, room, most)
                if pieces is not None:
                    found.append((dearer * self._read_by_tiles(op, axis, pieces), pieces, axis))
        if not found:
            return None
        _, pieces, axis = min(found)
        return axis, pieces

    def _fewest(self, op: Op, axis: int, room: Room, most: float) -> int | None:
        """Tiles along an axis of which each takes so many bytes of a slice at most."""
        extent = op.result.type.shape4[axis]
        sizes = dict.fromkeys(-(-extent // pieces) for pieces in range(2, extent + 1))
        size = next((size for size in sizes if self._tile_need(op, axis, size, room) <= most), None)
        return None if size is None else -(-extent // size)

    def _read_by_tiles(self, op: Op, axis: int, pieces: int) -> int:
        """Bytes of operands and packed constants that all tiles of an op read."""
        shape = op.result.type.shape4
        piece = shape.box.cut(axis, 0, -(-shape[axis] // pieces))
        operands = sum(box.shape(value.type.shape4.w).elements for value, box in needed(op, piece))
        return pieces * (operands + op.packed_bytes(piece.c))

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
