"""Leave reshapes beside the host to it: it re-lays what it hands over anyway.

before:
    %q = quantize(x=%image) : i8[1,8,8,1] q(0.1,-3)
    %r = reshape(x=%q) {to=[1,1,8,8]} : i8[1,1,8,8] q(0.1,-3)
    %y = maxpool(x=%r) {kernel=(size=[8,8])} : i8[1,1,1,1] q(0.1,-3)
    %s = reshape(x=%y) {to=[1,1]} : i8[1,1] q(0.1,-3)
    %f = dequantize(x=%s) : f32[1,1]
after:
    %r = quantize(x=%image) : i8[1,1,8,8] q(0.1,-3)
    %y = maxpool(x=%r) {kernel=(size=[8,8])} : i8[1,1,1,1] q(0.1,-3)
    %f = dequantize(x=%y) : f32[1,1]

dfg -> dfg. Needs: the batch. Keeps: every output value, bit for bit. Raises: nothing.
Leaves alone: a reshape of what the NPU or an output reads too, and one that is part of a longer movement."""

from __future__ import annotations

from passes.ir.graph import Graph
from passes.ir.op import Op
from passes.ops.host import Converts
from passes.ops.move import Movement, Reshape
from passes.options import CompileOptions


def fold_reshapes(graph: Graph, options: CompileOptions) -> Graph:
    """Give conversions on the host the shape that the NPU's side has."""
    makers, users = graph.producers(), graph.users()
    folded: set[Op] = set()
    for op in graph.ops:
        if not isinstance(op, Reshape):
            continue
        maker, alone = makers.get(op.x), users[op.x] == [op] and op.x not in graph.outputs
        moved = any(isinstance(reader, Movement) for reader in users.get(op.result, ()))
        if isinstance(maker, Converts) and maker.feeds_npu and alone and not moved:
            maker.results = (op.result,)  # what the reshape made, it makes now
            makers[op.result] = maker
            folded.add(op)
            continue
        for reader in users.get(op.result, ()) if not isinstance(maker, Movement) else ():
            if isinstance(reader, Converts) and not reader.feeds_npu:
                reader.substitute({op.result: op.x})
    graph.ops = [op for op in graph.ops if op not in folded]
    graph.remove_dead()
    return graph
