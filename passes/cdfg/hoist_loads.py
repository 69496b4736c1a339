"""Load what is in DRAM already before the operators that come first, not behind them.

before:
    %b = LowLevelMaxPool(x=%a) ...
    %c = LowLevelMaxPool(x=%b) ...
    %t = load(x=%q) ...
after:
    %t = load(x=%q) ...
    %b = LowLevelMaxPool(x=%a) ...
    %c = LowLevelMaxPool(x=%b) ...

cdfg -> cdfg. Placement then gives it room of its own, and the DMA engine brings it while the tensor unit works.
Keeps: every value, and the order of loads. Raises: nothing. Leaves alone: loads of weights, which `place-tensors` puts
where there is room; every graph, unless asked to hoist."""

from __future__ import annotations

from passes.ir.graph import Graph
from passes.ir.op import Op, Runs
from passes.ops.commands import Load
from passes.options import CompileOptions

AHEAD = 4  # operators; further ahead, room is taken that others need


def hoist_loads(graph: Graph, options: CompileOptions) -> Graph:
    """Move each load ahead of operators that do not make what it loads."""
    ops: list[Op] = []
    for op in graph.ops:
        ops.insert(_place(op, ops) if isinstance(op, Load) else len(ops), op)
    graph.ops = ops
    return graph


def _place(load: Load, ops: list[Op]) -> int:
    """Where a load goes among the ops before it."""
    passed = 0
    for at in range(len(ops), 0, -1):
        before = ops[at - 1]
        passed += before.runs is Runs.NPU
        if passed > AHEAD or load.x in before.results or isinstance(before, Load) or before.runs is Runs.HOST:
            return at
    return 0
