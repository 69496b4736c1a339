"""Make every movement of data a command: loads, stores, weight loads, and writes into parts of buffers.

before:
    %q = quantize(x=%images) : i8[1,3,8,8] q(0.1,-3) @dram:HCHCW
    %t = LowLevelSlice(x=%q) {box=(n0=0, n=1, c0=0, c=3, h0=0, h=8)} : i8[1,3,8,8] q(0.1,-3) @sram:HCHCW(8x1)
    %y = LowLevelConv2d(x=%t, w=%w, bias=%b, multiplier=%m) ...
after:
    %t = load(x=%q) {box=(n0=0, n=1, c0=0, c=3, h0=0, h=8)} : i8[1,3,8,8] q(0.1,-3) @sram:HCHCW(8x1)
    %y.weights = load_weights(x=%y.packed) : i8[140] @stripes:
    %y = LowLevelConv2d(x=%t, packed=%y.weights) ...

ldfg -> cdfg. A concatenation becomes a buffer and one move (in SRAM) or one store (in DRAM) for each part; an early one
stores each part as soon as it is made. Keeps: every value. Raises: nothing."""

from __future__ import annotations

from isa.errors import NOWHERE
from isa.layout import LayoutKind
from isa.npu import NpuConfig
from passes.ir.graph import Graph, Names, constant
from passes.ir.op import Level, Op, Role, Runs, Value, op_fields
from passes.ir.types import DType, InDram, InSram, Striped, TensorType
from passes.ops.commands import Alloc, Load, LoadWeights, Store
from passes.ops.concat import LowLevelConcat, part_move
from passes.ops.move import LowLevelSlice
from passes.options import CompileOptions


def insert_commands(graph: Graph, options: CompileOptions) -> Graph:
    """Rewrite ldfg to cdfg."""
    _Commands(graph, options.npu).run()
    return graph


def _joins_in_dram(op: Op) -> bool:
    return isinstance(op, LowLevelConcat) and op.early and isinstance(op.result.type.place, InDram)


class _Commands:
    def __init__(self, graph: Graph, npu: NpuConfig) -> None:
        self.graph, self.npu, self.names = graph, npu, Names(graph.names())
        self.ops: list[Op] = []
        self.stored: dict[Value, Value] = {}
        self.missing: dict[LowLevelConcat, int] = {}  # parts not stored yet
        self.parts = self._early_parts()  # a tensor -> the early concatenations it is part of, and where
        self.buffer: dict[LowLevelConcat, Value] = {}

    def run(self) -> None:
        for op in self.graph.ops:
            if isinstance(op, LowLevelConcat):
                self._concat(op)
            elif isinstance(op, LowLevelSlice) and op.loads:
                self.ops.append(Load(results=op.results, loc=op.loc, x=op.x, box=op.box))
            elif op.runs is Runs.HOST:
                on_chip = [v for v in op.activations() if isinstance(v.type.place, InSram)]
                op.substitute({v: self._store(v, op) for v in on_chip})
                self.ops.append(op)
            else:
                self._pack(op)
                self.ops.append(op)
            for value in op.results:
                for concat, at in self.parts.get(value, ()):
                    self._store_part(value, concat, at)
        self.graph.outputs = [
            self._store(v, None) if isinstance(v.type.place, InSram) else v for v in self.graph.outputs
        ]
        self.graph.ops, self.graph.level = self.ops, Level.CDFG
        self.graph.remove_dead()

    def _early_parts(self) -> dict[Value, list[tuple[LowLevelConcat, tuple[int, ...]]]]:
        parts: dict[Value, list[tuple[LowLevelConcat, tuple[int, ...]]]] = {}
        makers, users = self.graph.producers(), self.graph.users()
        joined = {v: op for v, op in makers.items() if users.get(v) and all(map(_joins_in_dram, users[v]))}
        for op in self.graph.ops:
            absorbed = isinstance(op, LowLevelConcat) and op.result in joined and op.result not in self.graph.outputs
            if isinstance(op, LowLevelConcat) and op.early and not absorbed:
                for value, at in op.nested(joined):
                    parts.setdefault(value, []).append((op, at))
                    self.missing[op] = self.missing.get(op, 0) + 1
        return parts

    def _store_part(self, part: Value, concat: LowLevelConcat, at: tuple[int, ...]) -> None:
        """Bring one part to the buffer of its concatenation: the first one makes it, the last one is the result."""
        if concat not in self.buffer:
            self.buffer[concat] = Value(self.names.fresh(f"{concat.result.name}.buffer"), concat.result.type)
            self.ops.append(Alloc(results=(self.buffer[concat],), loc=concat.loc))
        into = self.buffer[concat]
        self.missing[concat] -= 1
        last = self.missing[concat] == 0
        name = self.names.fresh(f"{concat.result.name}.part")
        self.buffer[concat] = made = concat.result if last else Value(name, concat.result.type)
        if isinstance(concat.result.type.place, InDram):
            self.ops.append(Store(results=(made,), loc=concat.loc, x=part, into=into, at=at))
        else:
            self.ops.append(part_move(made, concat, part, into, at))

    def _concat(self, op: LowLevelConcat) -> None:
        if op.early:
            return  # each part was stored when it was made
        self.missing[op] = len(op.inputs)
        for value, at in op.parts():
            self._store_part(value, op, at)

    def _store(self, value: Value, reader: Op | None) -> Value:
        """What DRAM has of a tensor in SRAM, stored once. reader: None where it is an output."""
        if value not in self.stored:
            place = InDram(value.type.layout.kind)
            result = Value(self.names.fresh(f"{value.name}.out"), value.type.at(place))
            self.ops.append(Store(results=(result,), loc=reader.loc if reader is not None else NOWHERE, x=value))
            self.stored[value] = result
        return self.stored[value]

    def _pack(self, op: Op) -> None:
        """Replace the constants of an op by packed bytes and their load."""
        packed = op.pack(self.graph.constants.__getitem__, self.npu)
        if packed is None:
            return
        type = TensorType(packed.data.shape, DType.I8, None, InDram(LayoutKind.HCHCW))
        stored = constant(self.graph, self.names, f"{op.result.name}.packed", packed.data, type)
        loaded = Value(self.names.fresh(f"{op.result.name}.weights"), type.at(Striped()))
        self.ops.append(LoadWeights(results=(loaded,), loc=op.loc, x=stored))
        for field in op_fields(op.__class__):
            if field.role is Role.CONSTANT:
                setattr(op, field.name, loaded if field.name == packed.field else None)
