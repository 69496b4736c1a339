"""Views and in-place results are followed to the buffer they are part of."""

from __future__ import annotations

from isa.layout import Box
from passes.analysis.aliases import Aliases
from passes.ir.graph import Graph
from passes.ir.text import parse

GIR = """cdfg "windows" batch=1 {
  in %x : i8[2,8,6,4] @dram:HCHCW
  %a = load(x=%x) {box=(n0=0, n=2, c0=0, c=8, h0=0, h=6)} : i8[2,8,6,4] @sram:HCHCW(6x1)
  %v = LowLevelSlice(x=%a) {box=(n0=1, n=1, c0=2, c=4, h0=1, h=5)} : i8[1,4,5,4] @sram:HCHCW(6x1)
  %w = LowLevelSlice(x=%v) {box=(n0=0, n=1, c0=1, c=2, h0=3, h=2)} : i8[1,2,2,4] @sram:HCHCW(6x1)
  %b = alloc() : i8[1,4,4,4] @sram:HCHCW(4x1)
  %p = LowLevelMove(into=%b, x=%w) {at=[0,0,2], view=(start=0, sizes=[16], steps=[1]), shape=[1,2,2,4]} : i8[1,4,4,4] @sram:HCHCW(4x1)
  %q = LowLevelMove(into=%p, x=%w) {at=[0,2,0], view=(start=0, sizes=[16], steps=[1]), shape=[1,2,2,4]} : i8[1,4,4,4] @sram:HCHCW(4x1)
  out %q
}
"""  # noqa: E501


def graph() -> Graph:
    return parse(GIR, {})


def test_views_of_views_add_up() -> None:
    g = graph()
    values = {op.result.name: op.result for op in g.ops}
    aliases = Aliases(g)
    assert aliases.of(values["w"]) == (values["a"], Box(1, 1, 3, 2, 4, 2))
    assert aliases.root(values["v"]) is values["a"]


def test_results_written_into_a_buffer_are_the_buffer() -> None:
    g = graph()
    ops = {op.result.name: op for op in g.ops}
    aliases = Aliases(g)
    assert aliases.root(ops["q"].result) is ops["b"].result
    assert aliases.written(ops["p"]) == (ops["b"].result, Box(0, 1, 0, 2, 2, 2))
    assert aliases.written(ops["q"]) == (ops["b"].result, Box(0, 1, 2, 2, 0, 2))


def test_a_box_of_a_dram_tensor_is_a_tensor_of_its_own() -> None:
    text = GIR.replace("cdfg", "ldfg").split("  %v")[0].replace("load", "LowLevelSlice") + "  out %a\n}\n"
    g = parse(text, {})
    assert Aliases(g).of(g.ops[0].result) == (g.ops[0].result, Box(0, 2, 0, 8, 0, 6))
