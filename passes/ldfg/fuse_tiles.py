"""Compute operators together in bands of rows where what lies between them, or what they read, would go through DRAM.

before:
    %y = LowLevelMaxPool(x=%x) ...
    %z = LowLevelMaxPool(x=%y) ...
after:
    %y.0.x = LowLevelSlice(x=%x) ...
    %y.0 = LowLevelMaxPool(x=%y.0.x) ...
    %z.0 = LowLevelMaxPool(x=%y.0) ...
    %z = LowLevelConcat(inputs=[%z.0, ...]) {axis=2, early=true} ...

ldfg -> ldfg. This is the depth-first order of fused-layer accelerators (Alwani et al., 2016).
1. A tensor is deep where what makes it does not fit SRAM, so that `split-operators` would join its tiles in DRAM.
2. Operators that deep tensors connect are a group, with what is computed between them; so is, alone, one that fits and
   reads a concatenation in DRAM.
3. A group makes its results band after band. Which rows a band needs is found backwards, reader by reader; those that
   two bands need (the halo) are computed twice. Deep tensors, and what the group alone reads, exist as bands alone; the
   next band is loaded meanwhile.
4. The bands of a result are joined on chip.
5. What cannot be so stays as it is: readers that are not cut along rows, results that are read early or are too large.
6. Whether this is faster is for the clock to say: `passes/plan.py` compiles with it and without.
Keeps: every value, bit for bit. Raises: nothing. Leaves alone: every graph, unless asked to fuse."""

from __future__ import annotations

from isa.layout import Box, Shape4
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import WHOLE_SHARE, Room
from passes.analysis.pieces import Band, Pieces, needed
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Runs, Value
from passes.ir.types import InDram
from passes.ldfg.split_operators import place_in_dram
from passes.ops.base import ROWS
from passes.ops.concat import LowLevelConcat
from passes.ops.move import LowLevelMove, LowLevelSlice
from passes.options import CompileOptions

BANDS = 8  # of a group: the first is loaded and the last is joined while nothing is computed


def fuse_tiles(graph: Graph, options: CompileOptions) -> Graph:
    """Replace groups of operators by their bands."""
    return _Fusing(graph, options).run()


class _Fusing:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        graph.remove_dead()  # so that everything has a reader
        self.graph, self.producers = graph, graph.producers()
        self.aliases, self.room = Aliases(graph), Room(options.npu, options.layout_slices)
        self.pieces = Pieces(graph, Names(graph.names()))
        place_in_dram(graph, self.room, options.join_on_chip)
        self.users = graph.users()
        self.bands: dict[Value, Band] = {}  # of deep tensors, the present ones
        self.ops: list[Op] = []

    def run(self) -> Graph:
        groups = {group[-1]: group for group in self._groups()}
        inside = {op for group in groups.values() for op in group}
        for op in self.graph.ops:
            if op in groups:
                self._fuse(groups[op])
            elif op not in inside:
                self.ops.append(op)
        self.graph.ops = self.ops
        self.graph.remove_dead()
        return self.graph

    # which operators

    def _groups(self) -> list[list[Op]]:
        """Operators in their order, those of each group together."""
        of: dict[Op, list[Op]] = {}
        for op in self.graph.ops:
            if not self._cuttable(op):
                continue
            sources = [self.pieces.root(value).value for value in op.activations()]
            deep = [self.producers[v] for v in sources if self._deep(v)]
            if not deep and self.room.fits(op, self.aliases) and not any(self._joined_in_dram(v) for v in sources):
                continue
            together = [*dict.fromkeys(each for maker in deep for each in of[maker]), op]
            for each in together:
                of[each] = together
        groups = {group[-1]: group for group in of.values()}
        return [group for each in groups.values() if self._works(group := self._with_between(each, of))]

    def _with_between(self, group: list[Op], of: dict[Op, list[Op]]) -> list[Op]:
        """The group, and what is computed from it for it, such as a branch beside a residual; where that can be cut."""
        before, members = self.graph.ops[: self.graph.ops.index(group[-1]) + 1], set(group)
        behind, ahead = set(members), set(members)
        for op in before:
            if any(self.producers.get(value) in behind for value in op.operands()):
                behind.add(op)
        for op in reversed(before):
            if op in ahead:
                ahead |= {self.producers[value] for value in op.operands() if value in self.producers}
        between = {op for op in behind & ahead - members if not isinstance(op, LowLevelSlice)}
        if not between or not all(self._cuttable(op) and op not in of for op in between):
            return group
        grown = [op for op in before if op in between or op in members]
        of |= dict.fromkeys(grown, grown)
        return grown

    def _joined_in_dram(self, value: Value) -> bool:
        return isinstance(value.type.place, InDram) and isinstance(self.producers.get(value), LowLevelConcat)

    def _cuttable(self, op: Op) -> bool:
        """True for what makes any rows from rows; of a move, not all pieces are moves."""
        if op.runs is not Runs.NPU or isinstance(op, LowLevelMove) or isinstance(op.result.type.place, InDram):
            return False
        return ROWS in op.cut_axes() and op.result.type.shape4.h >= BANDS

    def _deep(self, value: Value) -> bool:
        """True for what need not be whole: its maker does not fit, and everybody who reads it takes bands."""
        maker = self.producers.get(value)
        if maker is None or not self._cuttable(maker) or self.room.fits(maker, self.aliases):
            return False
        return self._read_in_bands(value)

    def _read_in_bands(self, value: Value) -> bool:
        """True where the model does not give a value away, and all who compute on it or a view of it can be cut."""
        users = self.users.get(value, ())
        return value not in self.graph.outputs and all(
            self._read_in_bands(user.result) if isinstance(user, LowLevelSlice) else self._cuttable(user)
            for user in users
        )

    def _works(self, group: list[Op]) -> bool:
        """True where nobody reads a result before all bands of it are made, and they and it fit together."""
        inner = self._inner(group)
        results = [op.result for op in group if op.result not in inner]
        before = self.graph.ops[: self.graph.ops.index(group[-1]) + 1]
        readers = {user for value in results for user in self.users.get(value, ())}
        most = WHOLE_SHARE * self.room.bytes_per_slice
        return readers.isdisjoint(before) and all(2 * self.room.of(value.type.shape4) <= most for value in results)

    def _inner(self, group: list[Op]) -> set[Value]:
        """What exists as bands alone."""
        members = set(group)
        return {op.result for op in group if self._deep(op.result) or self._read_by(members, op.result)}

    def _read_by(self, members: set[Op], value: Value) -> bool:
        """True where nobody else computes on a value or a view of it."""
        return value not in self.graph.outputs and all(
            user in members or (isinstance(user, LowLevelSlice) and self._read_by(members, user.result))
            for user in self.users.get(value, ())
        )

    # their bands

    def _fuse(self, group: list[Op]) -> None:
        inner = self._inner(group)
        parts: dict[Op, list[Value]] = {op: [] for op in group if op.result not in inner}
        for band in range(BANDS):
            boxes = {op.result: _band(op.result.type.shape4, band) for op in parts}
            for op in reversed(group):
                self._ask(op, boxes, inner)
            for op in group:
                box = boxes[op.result]
                piece = self.pieces.piece(op, box, box.h0, self.bands)
                self.graph.constants |= piece.constants
                self.ops += [*piece.slices, piece.op]
                if op in parts:
                    parts[op].append(piece.op.result)
                else:
                    self.bands[op.result] = Band(piece.op.result, box)
        for op, tiles in parts.items():
            self.ops.append(
                LowLevelConcat(results=(op.result,), loc=op.loc, inputs=tuple(tiles), axis=ROWS, early=True)
            )

    def _ask(self, op: Op, boxes: dict[Value, Box], inner: set[Value]) -> None:
        """Add the rows that a piece of an op needs to those that are asked of what it reads."""
        for value, own in needed(op, boxes[op.result]):
            root, box = self.pieces.root(value, own)
            if root in inner:
                boxes[root] = _over(root.type.shape4, box, boxes.get(root, box))


def _band(shape: Shape4, index: int) -> Box:
    """The rows of one band, all of them about equal."""
    first, last = (shape.h * i // BANDS for i in (index, index + 1))
    return shape.box.cut(ROWS, first, last - first)


def _over(shape: Shape4, one: Box, other: Box) -> Box:
    """The rows that cover those of two boxes."""
    first, last = min(one.h0, other.h0), max(one.h0 + one.h, other.h0 + other.h)
    return shape.box.cut(ROWS, first, last - first)
