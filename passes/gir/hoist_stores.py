"""Store what is stored whole as soon as it is made, not when its room or the host needs it.

before:
    %b = LowLevelMaxPool(x=%a) ...
    %a.out = store(x=%a) ...
    %b.out = store(x=%b) ...
after:
    %a.out = store(x=%a) ...
    %b = LowLevelMaxPool(x=%a) ...
    %b.out = store(x=%b) ...

gir -> gir. The DMA engine then works while the tensor unit goes on, and only the last result is waited for. Addresses
were chosen before: nothing is put where a store still reads.
Keeps: every value, and the order of everything else. Raises: nothing. Leaves alone: parts of tensors in DRAM, which
`insert-commands` stores early; every graph, unless asked to hoist."""

from __future__ import annotations

from typing import TypeGuard

from passes.ir.graph import Graph
from passes.ir.op import Op, Value
from passes.ops.commands import Store
from passes.options import CompileOptions


def hoist_stores(graph: Graph, options: CompileOptions) -> Graph:
    """Put each store of a whole tensor right behind what makes the tensor."""
    stores: dict[Value, list[Op]] = {}
    for op in graph.ops:
        if _moves(op):
            stores.setdefault(op.x, []).append(op)
    ops: list[Op] = []
    for op in graph.ops:
        if not _moves(op):
            ops += [op, *(store for value in op.results for store in stores.get(value, ()))]
    graph.ops = ops
    return graph


def _moves(op: Op) -> TypeGuard[Store]:
    return isinstance(op, Store) and op.into is None
