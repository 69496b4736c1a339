"""Pieces of operators: what they read, of the whole, of DRAM, or of what is there of it."""

from __future__ import annotations

from isa.layout import Box, LayoutKind
from passes.analysis.pieces import Band, Pieces, needed
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Value
from passes.ir.text import parse
from passes.ir.types import InDram
from passes.ops.move import LowLevelSlice
from passes.ops.pool import MaxPool

TEXT = """ldfg "two" batch=1 {
  in %x : i8[1,8,32,16] q(0.1,-3)
  %y = LowLevelMaxPool(x=%x) {kernel=(size=[3,3], pads=[1,1,1,1])} : i8[1,8,32,16] q(0.1,-3)
  %z = LowLevelMaxPool(x=%y) {kernel=(size=[2,2], stride=[2,2])} : i8[1,8,16,8] q(0.1,-3)
  out %z
}
"""


def two() -> tuple[Graph, Pieces, Value, Op, Op]:
    graph = parse(TEXT, {})
    return graph, Pieces(graph, Names(graph.names())), graph.inputs[0], graph.ops[0], graph.ops[1]


def rows(first: int, count: int) -> Box:
    return Box(0, 1, 0, 8, first, count)


def test_a_piece_needs_the_rows_around_its_own_but_not_those_outside() -> None:
    _, _, x, y, z = two()
    assert list(needed(y, rows(8, 8))) == [(x, rows(7, 10))]
    assert list(needed(y, rows(0, 8))) == [(x, rows(0, 9))]
    assert list(needed(z, rows(4, 4))) == [(y.result, rows(8, 8))]


def test_a_piece_reads_a_slice_and_pads_where_the_whole_does() -> None:
    _, pieces, x, y, _ = two()
    slices, constants, made = pieces.piece(y, rows(0, 8), 0, {})
    (read,) = slices
    assert isinstance(read, LowLevelSlice) and (read.x, read.box) == (x, rows(0, 9)) and not constants
    assert isinstance(made, MaxPool) and made.kernel.pads == (1, 1, 0, 1)
    assert made.activations() == read.results and made.result.type.shape == (1, 8, 8, 16)
    whole = pieces.piece(y, y.result.type.shape4.box, 0, {})
    assert not whole.slices and whole.op.activations() == (x,)


def test_a_piece_of_a_piece_is_loaded_from_the_whole() -> None:
    _, pieces, x, y, _ = two()
    x.type = x.type.at(InDram(LayoutKind.HCHCW))
    half = pieces.piece(y, rows(16, 16), 16, {})
    (read,) = pieces.piece(half.op, rows(8, 8), 8, {}).slices  # rows 24 to 31
    assert isinstance(read, LowLevelSlice) and (read.x, read.box) == (x, rows(23, 9))
    assert pieces.in_dram(read.result) == Band(x, rows(23, 9)) and pieces.in_dram(y.result) is None


def test_a_tensor_that_is_nowhere_whole_is_read_from_its_band() -> None:
    _, pieces, _, y, z = two()
    band = Value("band", y.result.type.shaped((1, 8, 10, 16)))
    bands = {y.result: Band(band, rows(7, 10))}
    (read,) = pieces.piece(z, rows(4, 4), 4, bands).slices
    assert isinstance(read, LowLevelSlice) and (read.x, read.box) == (band, rows(1, 8))
