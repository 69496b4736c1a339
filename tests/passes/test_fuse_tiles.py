"""Operators computed together in bands of rows, on machines so small that they would meet in DRAM."""

from __future__ import annotations

from dataclasses import replace

from compile_checks import check_compile
from graph_builder import Builder
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from random_graphs import QUANTS, Draw, average_pool, binary, concat, conv, max_pool, slice_, table

from isa.errors import LowerError
from isa.layout import align
from isa.npu import target
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level, Value
from passes.ops.commands import Load, Store
from passes.ops.elementwise import Add
from passes.ops.pool import MaxPool
from passes.options import BEST, CompileOptions
from passes.pipeline import lower
from passes.plan import compile_best

WARBOY = target("warboy")


def residual(d: Draw, x: Value) -> Value:
    """x and a branch beside it: of few channels, over rows, and of as many channels as x again."""
    narrow = d.builder.conv(x, d.int(1, 3))
    inner = d.builder.conv(narrow, narrow.type.shape[1], 3, pads=(1, 1, 1, 1))
    return d.builder.op(Add, d.quant(), a=x, b=d.builder.conv(inner, x.type.shape[1]))


STEPS = (conv, conv, max_pool, max_pool, average_pool, table, binary, concat, slice_, residual, residual)


@st.composite
def deep(draw: st.DrawFn) -> Graph:
    """A graph of two to six operators, each on the one before it, on images of many rows."""
    builder = Builder(draw(st.integers(0, 2**16)))
    d = Draw(draw, builder, 60_000)
    shape = (draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([4, 8])), d.int(16, 40), d.int(8, 20))
    d.values.append(builder.image(shape, draw(QUANTS)))
    for _ in range(d.int(2, 6)):
        made = draw(st.sampled_from(STEPS))(d, d.values[-1])
        if made.type.elements <= d.elements:
            d.values.append(made)
    more = d.values if d.int(0, 5) == 0 else []
    for value in dict.fromkeys([d.values[-1], *more[-2:]]):
        builder.output(value, dequantize=draw(st.booleans()))
    return builder.done()


@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(deep(), st.sampled_from([1.5, 1.9, 2.5]))
def test_any_deep_graph_in_bands(graph: Graph, room: float) -> None:
    """room: SRAM for so many tensors of the size of the largest."""
    largest = max(value.type.elements for op in graph.ops for value in op.results)
    size = align(int(room * largest / 4), 64)
    npu = replace(WARBOY, num_slices=4, sram_bytes_per_slice=size)
    options = CompileOptions(npu=npu, batch=graph.batch, schedule=BEST).with_liberties()
    try:
        fused = lower(graph.copied(), options, Level.LDFG)
        check_compile(graph, options)
    except LowerError as error:
        assert error.name == "OutOfSram"
        event("out of SRAM")
        return
    assert isinstance(fused, Graph)
    apart = lower(graph.copied(), replace(options, fuse=False), Level.LDFG)
    assert isinstance(apart, Graph)
    event(f"fused: {len(fused.ops) != len(apart.ops)}")


def pyramid() -> Graph:
    """What the first two operators make takes eight times the room of what they read."""
    b = Builder()
    y = b.conv(b.image((1, 8, 64, 64)), 64, 3, pads=(1, 1, 1, 1))
    z = b.op(MaxPool, y.type.q, x=y, kernel=Kernel((3, 3), (1, 1), (1, 1, 1, 1)))
    b.output(b.conv(z, 16, 3, pads=(1, 1, 1, 1), stride=(2, 2)))
    return b.done()


def test_the_best_schedule_computes_in_bands_where_that_is_faster() -> None:
    slow = WARBOY.dram_bytes_per_second // 4  # so that going through DRAM costs more than computing the halo twice
    npu = replace(WARBOY, num_slices=16, sram_bytes_per_slice=26 * 1024, dram_bytes_per_second=slow)
    best = compile_best(pyramid(), CompileOptions(npu=npu, schedule=BEST))
    assert best.options.fuse
    assert isinstance(best.ir, Program)
    ops = best.ir.graph.ops
    assert not {op.x for op in ops if isinstance(op, Load)} & {op.result for op in ops if isinstance(op, Store)}


def bottlenecks() -> Graph:
    """Residuals that do not fit, and branches beside them that do."""
    b = Builder()
    x = b.conv(b.image((1, 8, 64, 64)), 64, 3, pads=(1, 1, 1, 1))
    for _ in range(2):
        branch = b.conv(b.conv(b.conv(x, 8), 8, 3, pads=(1, 1, 1, 1)), 64)
        x = b.op(Add, x.type.q, a=x, b=branch)
    b.output(b.conv(x, 16, 3, pads=(1, 1, 1, 1), stride=(2, 2)))
    return b.done()


def test_branches_beside_a_residual_are_computed_in_its_bands() -> None:
    slow = WARBOY.dram_bytes_per_second // 4
    npu = replace(WARBOY, num_slices=16, sram_bytes_per_slice=20 * 1024, dram_bytes_per_second=slow)
    options = CompileOptions(npu=npu, schedule=BEST)
    check_compile(bottlenecks(), options.with_liberties())
    best = compile_best(bottlenecks(), options)
    assert best.options.fuse
    assert isinstance(best.ir, Program)
    ops = best.ir.graph.ops
    assert not {op.x for op in ops if isinstance(op, Load)} & {op.result for op in ops if isinstance(op, Store)}
