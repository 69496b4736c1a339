"""Make every movement of data a command: loads, stores, weight loads, and writes into parts of buffers.

before:
    %q = quantize(x=%images) : i8[1,3,8,8] q(0.1,-3) @dram:HCHCW
    %t = LowLevelSlice(x=%q) {box=[0,1,0,3,0,8]} : i8[1,3,8,8] q(0.1,-3) @sram:HCHCW(8x1)
    %y = LowLevelConv2d(x=%t, w=%w, bias=%b, multiplier=%m) ...
after:
    %t = load(x=%q) {box=[0,1,0,3,0,8]} : i8[1,3,8,8] q(0.1,-3) @sram:HCHCW(8x1)
    %y.weights = load_weights(x=%y.packed) : i8[140] @stripes:
    %y = LowLevelConv2d(x=%t, packed=%y.weights) ...

ldfg -> cdfg. A concatenation becomes a buffer and one move (in SRAM) or one store (in DRAM) for each part; an early one
stores each part as soon as it is made. Keeps: every value. Raises: nothing."""

from __future__ import annotations

import numpy as np

from isa.layout import Box, LayoutKind
from isa.npu import NpuConfig
from passes.ir.dfg import HOST_OPS
from passes.ir.graph import Graph, Level, Names, Op, Value, constant
from passes.ir.lowlevel import (
    Alloc,
    Load,
    LoadWeights,
    LowLevelConcat,
    LowLevelConv2d,
    LowLevelMove,
    LowLevelSlice,
    LowLevelTable,
    Store,
)
from passes.ir.types import DType, InDram, InSram, Striped, TensorType
from passes.lower.weight_tiles import pack
from passes.options import CompileOptions


def insert_commands(graph: Graph, options: CompileOptions) -> Graph:
    """Rewrite ldfg to cdfg."""
    _Commands(graph, options.npu).run()
    return graph


class _Commands:
    def __init__(self, graph: Graph, npu: NpuConfig) -> None:
        self.graph, self.npu, self.names = graph, npu, Names(graph.names())
        self.ops: list[Op] = []
        self.stored: dict[Value, Value] = {}
        self.producers = graph.producers()
        self.missing: dict[LowLevelConcat, int] = {}  # parts not stored yet
        self.parts = self._parts_in_dram()  # a tensor -> the concatenations in DRAM it is part of, and where
        self.buffer: dict[LowLevelConcat, Value] = {}

    def run(self) -> None:
        for op in self.graph.ops:
            if isinstance(op, LowLevelConcat):
                self._concat(op)
            elif isinstance(op, LowLevelSlice) and isinstance(op.x.type.place, InDram):
                self.ops.append(Load(result=op.result, loc=op.loc, x=op.x, box=op.box))
            else:
                self._packed(op)
                if isinstance(op, HOST_OPS) and isinstance(op.x.type.place, InSram):
                    op.x = self._store(op.x, op)
                self.ops.append(op)
            for concat, at in self.parts.get(op.result, ()):
                self._store_part(op, concat, at)
        self.graph.outputs = [
            self._store(v, None) if isinstance(v.type.place, InSram) else v for v in self.graph.outputs
        ]
        self.graph.ops, self.graph.level = self.ops, Level.CDFG
        self.graph.remove_dead()

    def _parts_in_dram(self) -> dict[Value, list[tuple[LowLevelConcat, int]]]:
        parts: dict[Value, list[tuple[LowLevelConcat, int]]] = {}
        for op in self.graph.ops:
            if isinstance(op, LowLevelConcat) and op.early:
                at = 0
                for value in op.inputs:
                    parts.setdefault(value, []).append((op, at))
                    self.missing[op] = self.missing.get(op, 0) + 1
                    at += value.type.shape4[op.axis]
        return parts

    def _store_part(self, op: Op, concat: LowLevelConcat, at: int) -> None:
        """Bring one part to the buffer of its concatenation: the first one makes it, the last one is the result."""
        if concat not in self.buffer:
            self.buffer[concat] = Value(self.names.fresh(f"{concat.result.name}.buffer"), concat.result.type)
            self.ops.append(Alloc(result=self.buffer[concat], loc=concat.loc))
        into = self.buffer[concat]
        self.missing[concat] -= 1
        last = self.missing[concat] == 0
        name = self.names.fresh(f"{concat.result.name}.part")
        self.buffer[concat] = concat.result if last else Value(name, concat.result.type)
        corner = tuple(at if axis == concat.axis else 0 for axis in range(3))
        self.ops.append(_part(self.buffer[concat], concat, op.result, into, corner))

    def _concat(self, op: LowLevelConcat) -> None:
        if op.early:
            return  # each part was stored when it was made
        self.missing[op], at = len(op.inputs), 0
        for value in op.inputs:
            self._store_part(self.producers[value], op, at)
            at += value.type.shape4[op.axis]

    def _store(self, value: Value, reader: Op | None) -> Value:
        if value not in self.stored:
            order = value.type.layout.kind if isinstance(value.type.place, InSram) else LayoutKind.HCHCW
            result = Value(self.names.fresh(f"{value.name}.out"), value.type.at(InDram(order)))
            store = Store(result=result, x=value)
            store.loc = reader.loc if reader is not None else store.loc
            self.ops.append(store)
            self.stored[value] = result
        return self.stored[value]

    def _packed(self, op: Op) -> None:
        """Replace weight and table constants by one packed constant and its load."""
        if isinstance(op, LowLevelConv2d):
            assert op.w is not None and op.bias is not None and op.multiplier is not None
            w, bias, multiplier = (self.graph.constants[v] for v in (op.w, op.bias, op.multiplier))
            shape = op.result.type.shape4
            box = Box(0, shape.n, 0, shape.c, 0, shape.h)
            data = pack(w, bias, multiplier, op.result.type.layout, shape.c, box, self.npu, op.loc)
            if op.table is not None:
                data = np.concatenate([data, self.graph.constants[op.table]])
            op.w = op.bias = op.multiplier = op.table = None
        elif isinstance(op, LowLevelTable):
            assert op.table is not None
            data, op.table = self.graph.constants[op.table], None
        else:
            return
        type = TensorType(data.shape, DType.I8, None, InDram(LayoutKind.HCHCW))
        packed = constant(self.graph, self.names, f"{op.result.name}.packed", data, type)
        loaded = Value(self.names.fresh(f"{op.result.name}.weights"), type.at(Striped()))
        self.ops.append(LoadWeights(result=loaded, loc=op.loc, x=packed))
        op.packed = loaded


def _part(result: Value, concat: LowLevelConcat, x: Value, into: Value, corner: tuple[int, ...]) -> Op:
    """The command that writes one part: a store to DRAM, or a move in SRAM."""
    if isinstance(concat.result.type.place, InDram):
        return Store(result=result, loc=concat.loc, x=x, into=into, at=corner)
    shape = x.type.shape4
    return LowLevelMove(
        result=result, loc=concat.loc, x=x, kind="Concat", sizes=(shape.elements,), steps=(1,), shape=tuple(shape),
        into=into, at=corner,
    )  # fmt: skip
