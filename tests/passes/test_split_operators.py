"""What is cut into how many pieces where SRAM is short, and what goes through DRAM for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from compile_checks import check_compile
from graph_builder import Builder

from isa.layout import Shape4
from isa.npu import target
from passes.analysis.footprint import Room
from passes.dfg.fuse_tables import fuse_tables
from passes.ir.graph import Graph
from passes.ir.op import Value
from passes.ir.types import InDram
from passes.ldfg.insert_pads import insert_pads
from passes.ldfg.split_operators import split_operators
from passes.ldfg.to_lowlevel import to_lowlevel
from passes.ops.commands import Load
from passes.ops.concat import LowLevelConcat
from passes.ops.elementwise import Add
from passes.ops.move import LowLevelSlice, Pad, Slice
from passes.options import CompileOptions
from passes.pipeline import lower

NPU = replace(target("warboy"), num_slices=4, sram_bytes_per_slice=4096)
OPTIONS = CompileOptions(npu=NPU)
ROOM = Room(NPU, NPU.num_slices)


def share(*shape: int) -> float:
    """Of SRAM that a tensor takes."""
    return ROOM.of(Shape4(*shape)) / NPU.sram_bytes_per_slice


def split(graph: Graph) -> Graph:
    for step in (fuse_tables, to_lowlevel, split_operators):
        graph = step(graph, OPTIONS)
    return graph


def joins(graph: Graph) -> list[LowLevelConcat]:
    return [op for op in graph.ops if isinstance(op, LowLevelConcat)]


def thumbnail(b: Builder) -> Value:
    """A small tensor, of which larger ones are made that nobody had to load."""
    return b.image((1, 1, 32, 30))


def test_a_convolution_of_what_takes_just_under_half_of_sram_is_cut_into_few_tiles() -> None:
    b = Builder(5)
    x = b.conv(thumbnail(b), 8)
    b.output(b.conv(x, 32, 3, stride=(2, 2), pads=(1, 1, 1, 1)))
    assert 0.4 < share(1, 8, 32, 30) < 0.5
    [join] = joins(split(b.done()))
    assert (join.axis, len(join.inputs)) == (2, 2)


def two_that_fill_sram(b: Builder) -> Value:
    small = thumbnail(b)
    assert share(1, 8, 32, 32) == 0.5
    one, other = (b.conv(small, 8, 1, pads=(0, 0, 0, 2)) for _ in range(2))
    return b.op(Add, one.type.q, a=one, b=other)


def test_of_operands_that_leave_no_room_one_goes_through_dram() -> None:
    b = Builder(6)
    b.output(two_that_fill_sram(b))
    spilled, result = joins(split(b.done()))
    assert len(spilled.inputs) == 1 and isinstance(spilled.result.type.place, InDram)
    assert len(result.inputs) > 1


def channels(b: Builder, x: Value, first: int, count: int) -> Value:
    n, _, h, w = x.type.shape
    return b.op(Slice, x.type.q, x=x, start=(0, first, 0, 0), size=(n, count, h, w), step=(1, 1, 1, 1))


def halves(b: Builder) -> Value:
    """Of what is too large for SRAM, each of which is not."""
    x = b.conv(thumbnail(b), 14)
    assert share(1, 14, 32, 30) > 3 / 4 and share(1, 7, 32, 30) < 1 / 2
    return b.op(Add, x.type.q, a=channels(b, x, 0, 7), b=b.conv(channels(b, x, 7, 7), 7, 3, pads=(1, 1, 1, 1)))


def test_a_slice_of_what_lies_in_dram_takes_no_more_than_itself() -> None:
    b = Builder(7)
    b.output(halves(b))
    assert any(isinstance(op, LowLevelSlice) for op in split(b.done()).ops)


@pytest.mark.parametrize("made", [two_that_fill_sram, halves])
def test_results_stay_the_same(made: Callable[[Builder], Value]) -> None:
    b = Builder(8)
    b.output(made(b))
    check_compile(b.done(), OPTIONS)


def test_tiles_of_what_fills_sram_pad_as_they_read() -> None:
    b = Builder(9)
    x = b.conv(thumbnail(b), 10)
    b.output(b.conv(x, 10, 3, group=10, stride=(1, 2), pads=(1, 1, 1, 1)))
    assert 0.6 < share(1, 10, 32, 30) < 0.65
    graph = b.done()
    padded = insert_pads(split(graph.copied()), OPTIONS)
    assert not any(isinstance(op, Pad) for op in padded.ops)
    placed = lower(graph, OPTIONS, "gir")
    assert isinstance(placed, Graph)
    assert not any(isinstance(op, Load) and op.result.name.endswith(".reloaded") for op in placed.ops)
