"""Give every value an address: activations from the top of SRAM, weights from the bottom, the rest in DRAM.

before:
    %y = LowLevelConv2d(x=%t, packed=%w) ... : i8[1,16,8,8] q(0.1,0) @sram:HCHCW(8x1)
after:
    %y = LowLevelConv2d(x=%t, packed=%w) ... : i8[1,16,8,8] q(0.1,0) @sram:HCHCW(8x1)+0x3ff40

cdfg -> gir. Goes through the commands in order. Where a tensor does not fit, the resident tensor whose next use is
farthest is stored to DRAM and loaded again before that use (Belady, 1966). A tensor lies as high as it can while what
is made next still finds room in one piece. Weights that fit beside all activations get places of their own, so that
they stay from run to run; else they go to the address that has been free longest, and their loads move as early as
that allows: that is the prefetch. Where groups of a batch overlap, activations too avoid what is still in use.
Keeps: every value. Raises LowerError OutOfSram, OutOfDram."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isa.errors import Loc, LowerError
from isa.layout import Box, align
from isa.npu import NpuConfig
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import CELL_BYTES, Room, more_room, pair_of, striped_bytes, whole_window
from passes.ir.graph import Graph, Names
from passes.ir.op import Level, Op, Runs, Value
from passes.ir.types import InDram, InSram, Striped
from passes.ops.commands import Load, LoadWeights, Store
from passes.options import CompileOptions


@dataclass(frozen=True, slots=True)
class Span:
    """Cells [low, high) of every slice's SRAM."""

    low: int
    high: int


def place_tensors(graph: Graph, options: CompileOptions) -> Graph:
    """Rewrite cdfg to gir."""
    _sink_views(graph)
    resident = _Residency(graph, options.npu, overlapping=options.stagger is not None)
    resident.run()
    _prefetch_weights(graph, resident, options.npu)
    _place_dram(graph, options.npu)
    graph.level = Level.GIR
    return graph


def _sink_views(graph: Graph) -> None:
    """Put a view of its own right before each reader, so that no view outlives a spill of its buffer."""
    names, producers = Names(graph.names()), graph.producers()
    ops: list[Op] = []

    def own(value: Value) -> Value:
        op = producers.get(value)
        if op is None or not _is_view(op):
            return value
        view = Value(names.fresh(f"{value.name}.view"), value.type)
        ops.append(op.on(own, (view,)))
        return view

    for op in graph.ops:
        if not _is_view(op):
            op.substitute({v: own(v) for v in dict.fromkeys(op.operands())})
            ops.append(op)
    graph.ops = ops


def _is_view(op: Op) -> bool:
    """True for a name of bytes that lie in SRAM already."""
    return op.runs is Runs.NOBODY and op.alias() is not None


class _Residency:
    """Simulates the commands in order and decides which buffer lies where, inserting spills.

    A buffer is the root of its views and of the results written into it. `current` is the value that stands for its
    content now: a buffer changes names when a part is written and when it comes back from DRAM. Below, `index` is the
    position of a command in cdfg, `needed` are the buffers that it reads and writes, none of which may be spilled for
    another, and `busy` are spans beside them that it takes while it runs.
    """

    def __init__(self, graph: Graph, npu: NpuConfig, overlapping: bool) -> None:
        self.graph, self.npu, self.names, self.overlapping = graph, npu, Names(graph.names()), overlapping
        self.cells = npu.sram_bytes_per_slice // CELL_BYTES
        self.aliases = Aliases(graph)
        self.uses = self._uses()
        self.made_at: dict[int, list[Value]] = {}  # buffers by the command that uses them first
        for root, uses in self.uses.items():
            self.made_at.setdefault(uses[0], []).append(root)
        self.views = {v for op in graph.ops if _is_view(op) for v in op.results}
        self.home: dict[Value, Span] = {}  # where resident buffers lie
        self.since: dict[Value, int] = {}  # of each, the position in ops from which on
        self.current: dict[Value, Value] = {}
        self.dram_copy: dict[Value, tuple[Value, Box]] = {}  # the same bytes as a box of a DRAM tensor
        self.freed, self.stored = np.full((2, self.cells), -1)  # of each cell: when it became free, was last stored
        self.ops: list[Op] = []  # the commands of gir, so far
        self.history: list[tuple[int, int, Span]] = []  # what lay where: first and last position in ops, span

    def _uses(self) -> dict[Value, list[int]]:
        """Positions at which each SRAM buffer is read or written."""
        uses: dict[Value, list[int]] = {}
        for index, op in enumerate(self.graph.ops):
            for root in self._buffers(op):
                uses.setdefault(root, []).append(index)
        return uses

    def _buffers(self, op: Op) -> list[Value]:
        roots = (self.aliases.root(v) for v in (*op.operands(), *op.results))
        return list(dict.fromkeys(r for r in roots if isinstance(r.type.place, InSram)))

    def run(self) -> None:
        views: list[Op] = []  # of the next op: named when it is known where its operands lie by then
        for index, op in enumerate(self.graph.ops):
            if _is_view(op):
                views.append(op)
                continue
            needed = self._buffers(op)
            for root in needed:
                if root not in self.home:
                    self._admit(root, index, needed)
            scratch = self._scratch(op, index, needed)
            self._reserve_weights(op, index, needed, scratch)
            for each in (*views, op):
                self._append(each)
            views.clear()
            here = len(self.ops) - 1
            self.history += [(here, here, span) for span in scratch]
            self._note_results(op)
            self._note_copy(op)
            for root in [r for r in self.home if self.uses[r][-1] <= index]:
                self._free(root)
        self.graph.ops = self.ops

    def _note_results(self, op: Op) -> None:
        """What an op made stands for its buffer from now on; what DRAM holds of that is stale."""
        for value in op.results:
            made = self.aliases.root(value)
            if made in self.home:
                self.current[made] = value
                self.dram_copy.pop(made, None)

    def _append(self, op: Op) -> None:
        """A command, on the values that its buffers are called by now."""
        op.substitute({v: self.current.get(self.aliases.root(v), v) for v in op.operands() if v not in self.views})
        self.ops.append(op)

    def _admit(self, root: Value, index: int, needed: list[Value], busy: list[Span] | None = None) -> None:
        """Find a place for a buffer that is made now, or comes back from DRAM by a load in front of the command."""
        assert isinstance(root.type.place, InSram)
        loaded = root in self.current or isinstance(self.graph.ops[index], Load)
        span = self._find(self._cells(root), index, needed, busy or [], loaded)
        type = root.type.at(replace(root.type.place, offset=span.low * CELL_BYTES))
        self.home[root], self.since[root] = span, len(self.ops)
        if root not in self.current:
            root.type = type
            return
        value = Value(self.names.fresh(f"{root.name}.reloaded"), type)
        copy, box = self.dram_copy[root]
        self.ops.append(Load(results=(value,), loc=self.graph.ops[index].loc, x=copy, box=box))
        self.current[root] = value

    def _cells(self, root: Value) -> int:
        size = root.type.layout.bytes_per_slice(root.type.shape4, self.npu.sram_access_bytes)
        return -(-size // CELL_BYTES)

    def _scratch(self, op: Op, index: int, needed: list[Value]) -> list[Span]:
        """Room for the partial sums of a convolution while it runs."""
        if op.runs is not Runs.NPU:
            return []
        size = op.scratch_bytes(whole_window(op.result.type.shape4, op.result.type.layout), self.npu)
        if not size:
            return []
        span = self._find(-(-size // CELL_BYTES), index, needed, [])
        op.place_scratch(span.low * CELL_BYTES)
        return [span]

    def _reserve_weights(self, op: Op, index: int, needed: list[Value], busy: list[Span]) -> None:
        """Make sure that the packed weights will find room; where is decided with the prefetch."""
        for packed in packed_operands(op):
            self._find(weight_cells(packed, self.npu), index, needed, busy)

    def _find(self, cells: int, index: int, needed: list[Value], busy: list[Span], loaded: bool = False) -> Span:
        """A free span of so many cells, as high as possible, after as many spills as it takes. loaded: DMA fills it."""
        compacted = False
        while True:
            gaps = self._gaps(busy)
            fitting = [gap for gap in gaps if gap.high - gap.low >= cells]
            if fitting:
                return self._best(fitting, cells, loaded, index)
            victims = [r for r in self.home if r not in needed]
            if victims:
                self._spill(max(victims, key=lambda root: self._next_use(root, index)))
            elif compacted or sum(gap.high - gap.low for gap in gaps) < cells:
                raise self._out_of_sram(self.graph.ops[index], cells, gaps, needed)
            else:
                self._compact(index, needed, busy)
                compacted = True

    def _best(self, gaps: list[Span], cells: int, loaded: bool, index: int) -> Span:
        """The highest that leaves room in one piece for what is made next. Where groups overlap, first of all one that
        need not be waited for: for a load the one where nothing was for longest, for what is computed the one whose
        latest store is longest ago."""
        if not self.overlapping:
            places = [Span(gap.high - cells, gap.high) for gap in reversed(gaps)]
            places += [Span(gap.low, gap.low + cells) for gap in gaps]
            return next((place for place in places if self._leaves_room(place, index)), places[0])
        latest = _sliding_maximum(self.freed if loaded else self.stored, cells)
        lows = np.concatenate([np.arange(gap.low, gap.high - cells + 1) for gap in gaps])[::-1]
        low = int(lows[np.argmin(latest[lows])])
        return Span(low, low + cells)

    def _leaves_room(self, place: Span, index: int) -> bool:
        """Whether each buffer that the next command makes would find room beside this one, in one piece."""
        following = next((at for at in range(index + 1, len(self.graph.ops)) if at in self.made_at), None)
        if following is None:
            return True
        stay = [span for root, span in self.home.items() if self.uses[root][-1] >= following]
        largest = max((gap.high - gap.low for gap in self._between([*stay, place])), default=0)
        return largest >= max(map(self._cells, self.made_at[following]))

    def _compact(self, index: int, needed: list[Value], busy: list[Span]) -> None:
        """Free space is enough but in pieces: send the resident operands through DRAM to close the gaps."""
        residents = [root for root in needed if root in self.home]
        for root in residents:
            if root in self.current:
                self._spill(root)
            else:
                del self.home[root]  # nothing in it yet: it just moves
        for root in residents:
            self._admit(root, index, needed, busy)

    def _gaps(self, busy: list[Span]) -> list[Span]:
        """What is free, from the bottom up."""
        return self._between([*self.home.values(), *busy])

    def _between(self, taken: list[Span]) -> list[Span]:
        gaps, at = [], 0
        for span in sorted(taken, key=lambda span: span.low):
            if span.low > at:
                gaps.append(Span(at, span.low))
            at = max(at, span.high)
        return [*gaps, Span(at, self.cells)] if at < self.cells else gaps

    def _next_use(self, root: Value, index: int) -> int:
        """The first command behind this one that reads or writes a buffer; the end where none does."""
        uses = self.uses[root]
        at = bisect_right(uses, index)
        return uses[at] if at < len(uses) else len(self.graph.ops)

    def _spill(self, root: Value) -> None:
        """Free a resident buffer; store it first unless DRAM has the same bytes already."""
        if root not in self.dram_copy:
            copy = Value(self.names.fresh(f"{root.name}.spilled"), root.type.at(InDram(root.type.layout.kind)))
            self.ops.append(Store(results=(copy,), x=self.current[root]))
            self.dram_copy[root] = copy, copy.type.shape4.box
        self._free(root)

    def _note_copy(self, op: Op) -> None:
        """After a load or a store of a whole buffer, DRAM holds what SRAM does: a spill needs no store of its own."""
        if isinstance(op, Load):
            self.dram_copy[op.result] = op.x, op.box
        elif isinstance(op, Store):
            root = next((r for r in self.home if self.current.get(r) is op.x), None)
            if root is not None:
                self.stored[self.home[root].low : self.home[root].high] = len(self.ops)
                self.dram_copy[root] = op.result, op.written() or op.result.type.shape4.box

    def _free(self, root: Value) -> None:
        """A buffer leaves SRAM, behind the commands so far."""
        span = self.home.pop(root)
        self.freed[span.low : span.high] = len(self.ops)
        self.history.append((self.since[root], len(self.ops) - 1, span))

    def _out_of_sram(self, op: Op, cells: int, gaps: list[Span], needed: list[Value]) -> LowerError:
        largest = max((gap.high - gap.low for gap in gaps), default=0)
        return LowerError(
            "OutOfSram",
            f"{op.profiled_as} needs {cells * CELL_BYTES} B of each slice in one piece, "
            f"{largest * CELL_BYTES} are free",
            at=op.loc,
            hint=more_room(self.npu, batch=self._fits_one_image(op, needed), pair=self._fits_pair(op, needed)),
        )

    def _fits_one_image(self, op: Op, needed: list[Value]) -> bool:
        shapes, made = [value.type.shape4 for value in needed], op.result.type.shape4
        room = Room(self.npu, self.npu.num_slices)
        alone = [shape._replace(n=1) for shape in shapes]
        return alone != shapes and room.holds(op, alone, made._replace(n=1))

    def _fits_pair(self, op: Op, needed: list[Value]) -> bool:
        pair, shapes = pair_of(self.npu), [value.type.shape4 for value in needed]
        return pair is not None and Room(pair, pair.num_slices).holds(op, shapes, op.result.type.shape4)


def packed_operands(op: Op) -> tuple[Value, ...]:
    """Packed constants that an op reads from SRAM."""
    return tuple(v for v in op.operands() if isinstance(v.type.place, Striped))


def weight_cells(packed: Value, npu: NpuConfig) -> int:
    """Cells per slice of packed weights."""
    return -(-striped_bytes(packed.type.elements, npu) // CELL_BYTES)


def _prefetch_weights(graph: Graph, resident: _Residency, npu: NpuConfig) -> None:
    """Place packed weights, and move their loads as far ahead as that allows: all to the front where all can stay."""
    loads = {op.result: op for op in graph.ops if isinstance(op, LoadWeights)}
    if _keep_weights(graph, resident, npu):
        early = {0: list(loads)}
    else:
        early = _share_room(graph, resident, npu)
    ops: list[Op] = []
    for position, op in enumerate(graph.ops):
        ops += [loads[packed] for packed in early.get(position, ())]
        if not isinstance(op, LoadWeights):
            ops.append(op)
    graph.ops = ops


def _share_room(graph: Graph, resident: _Residency, npu: NpuConfig) -> dict[int, list[Value]]:
    """Place packed weights where SRAM has been free longest. By position: which may be loaded in front of it, right
    behind the last occupant of their place, but not before the weights of an earlier reader."""
    occupied: dict[int, list[Span]] = {}  # by position
    for first, last, span in resident.history:
        for position in range(first, last + 1):
            occupied.setdefault(position, []).append(span)
    latest = np.full(resident.cells, -1, np.int64)  # last position at which each cell was occupied
    early: dict[int, list[Value]] = {}
    previous = 0
    for position, op in enumerate(graph.ops):
        for span in occupied.get(position, ()):
            latest[span.low : span.high] = position
        for packed in packed_operands(op):
            cells = weight_cells(packed, npu)
            window = _sliding_maximum(latest, cells)
            low = int(np.argmin(window))
            previous = max(previous, int(window[low]) + 1)
            assert previous <= position, "no room for weights that were given room"
            latest[low : low + cells] = position
            packed.type = packed.type.at(Striped(low * CELL_BYTES))
            early.setdefault(previous, []).append(packed)
    return early


def _keep_weights(graph: Graph, resident: _Residency, npu: NpuConfig) -> bool:
    """Place all weights side by side where no activation ever lies, so that they stay from run to run; False where
    they take more room than that."""
    free = min((span.low for _, _, span in resident.history), default=resident.cells)
    weights = [op.result for op in graph.ops if isinstance(op, LoadWeights)]
    if sum(weight_cells(value, npu) for value in weights) > free:
        return False
    at = 0
    for value in weights:
        value.type = value.type.at(Striped(at * CELL_BYTES))
        at += weight_cells(value, npu)
    return True


def _sliding_maximum(values: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Maximum of each run of `width` neighbours, by doubling."""
    result, covered = values, 1
    while covered < width:
        step = min(covered, width - covered)
        result = np.maximum(result[:-step], result[step:])
        covered += step
    return result


def _place_dram(graph: Graph, npu: NpuConfig) -> None:
    """Consecutive DRAM addresses: constants first, then everything else. A buffer written in parts has one address."""
    aliases, at = Aliases(graph), 0
    values = [*graph.constants, *graph.inputs, *(v for op in graph.ops for v in op.results)]
    for value in values:
        if not isinstance(value.type.place, InDram) or aliases.root(value) is not value:
            continue
        value.type = value.type.at(replace(value.type.place, address=at))
        at = align(at + value.type.bytes, npu.dram_alignment_bytes)
    for value in values:
        root = aliases.root(value)
        if root is not value:
            value.type = value.type.at(root.type.place)
    if at > npu.dram_bytes:
        raise LowerError(
            "OutOfDram",
            f"the model needs {at} B of DRAM, there are {npu.dram_bytes}",
            at=Loc(graph.source),
            hint="use a smaller batch or input, or more dram_bytes",
        )
