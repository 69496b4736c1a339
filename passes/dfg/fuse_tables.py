"""Fuse what maps one int8 tensor element by element into one table, and a table into the convolution before it.

before:
    %s = table(x=%x, table=%sigmoid) : i8[1,8,4,4] q(0.00390625,-128)
    %y = mul(a=%x, b=%s) : i8[1,8,4,4] q(0.1,-126)
after:
    %y = table(x=%x, table=%y.table) : i8[1,8,4,4] q(0.1,-126)

and conv2d with table as its only reader becomes conv2d with that table. SiLU (Sigmoid x Mul) is the usual case.

dfg -> dfg. Keeps: every remaining value, bit for bit: the table is computed with the arithmetic it replaces.
Leaves alone: a table whose operand comes from something else than a table or a convolution."""

from __future__ import annotations

import numpy as np

from isa.errors import Loc
from isa.execute import numerics
from passes.ir.graph import Graph, Names, constant
from passes.ir.op import Array, Op, Value
from passes.ops.conv import Conv2d
from passes.ops.elementwise import TABLE_TYPE, Binary, Table
from passes.options import CompileOptions

_ALL_INT8 = np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 1, 256)


def fuse_tables(graph: Graph, options: CompileOptions) -> Graph:
    """Run the fusions until none applies."""
    names = Names(graph.names())
    while _fuse_binary(graph, names) or _fuse_table_pairs(graph, names) or _fuse_into_conv(graph):
        graph.remove_dead()
    return graph


def _fuse_binary(graph: Graph, names: Names) -> bool:
    """op(x, table(x)) and op(x, x) -> table'(x)."""
    producers, changed = graph.producers(), False
    for index, op in enumerate(graph.ops):
        if not isinstance(op, Binary):
            continue
        root, tables = _one_source(op, producers)
        if root is None:
            continue
        a, b = (_ALL_INT8 if t is None else numerics.lookup(_ALL_INT8, _table(graph, t)) for t in tables)
        table = op.of(a, b).reshape(256)
        value = constant(graph, names, f"{op.result.name}.table", table, TABLE_TYPE)
        fused = Table(results=op.results, loc=_merged(op, tables), x=root, table=value)
        graph.ops[index] = producers[op.result] = fused
        changed = True
    return changed


def _one_source(op: Binary, producers: dict[Value, Op]) -> tuple[Value | None, tuple[Table | None, Table | None]]:
    """The tensor both operands are functions of, and the tables on the way; None where there is none."""
    tables: list[Table | None] = []
    roots: list[Value] = []
    for operand in (op.a, op.b):
        producer = producers.get(operand)
        table = producer if isinstance(producer, Table) else None
        tables.append(table)
        roots.append(table.x if table is not None else operand)
    if roots[0] is roots[1]:
        return roots[0], (tables[0], tables[1])
    if tables[1] is not None and tables[1].x is op.a:
        return op.a, (None, tables[1])
    if tables[0] is not None and tables[0].x is op.b:
        return op.b, (tables[0], None)
    return None, (None, None)


def _fuse_table_pairs(graph: Graph, names: Names) -> bool:
    """table2(table1(x)) -> table(x), where nothing else reads table1."""
    producers, users, changed = graph.producers(), graph.users(), False
    for op in graph.ops:
        first = producers.get(op.x) if isinstance(op, Table) else None
        if not isinstance(op, Table) or not isinstance(first, Table) or not _only_reader(graph, users, first.result):
            continue
        table = numerics.lookup(_table(graph, first), _table(graph, op))
        op.x, op.loc = first.x, first.loc.merged(op.loc)
        op.table = constant(graph, names, f"{op.result.name}.table", table, TABLE_TYPE)
        changed = True
    return changed


def _fuse_into_conv(graph: Graph) -> bool:
    """table(conv2d(x)) -> conv2d with a table, where nothing else reads the convolution."""
    producers, users = graph.producers(), graph.users()
    gone: set[Op] = set()
    for op in graph.ops:
        conv = producers.get(op.x) if isinstance(op, Table) else None
        if not isinstance(op, Table) or not isinstance(conv, Conv2d) or conv.table is not None:
            continue
        if not _only_reader(graph, users, conv.result):
            continue
        quant = conv.result.type.q
        conv.mid_scale, conv.mid_zero, conv.table = quant.s, quant.z, op.table
        conv.loc = conv.loc.merged(op.loc)
        conv.results = op.results
        gone.add(op)
    graph.ops = [op for op in graph.ops if op not in gone]
    return bool(gone)


def _only_reader(graph: Graph, users: dict[Value, list[Op]], value: Value) -> bool:
    return len(users.get(value, ())) == 1 and value not in graph.outputs


def _table(graph: Graph, op: Table) -> Array:
    return graph.constants[op.table]


def _merged(op: Op, tables: tuple[Table | None, Table | None]) -> Loc:
    loc = op.loc
    for table in tables:
        loc = table.loc.merged(loc) if table is not None else loc
    return loc
