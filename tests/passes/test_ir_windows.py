"""Views and in-place results are followed to the buffer they are part of."""

from __future__ import annotations

from isa.layout import Box
from passes.ir.graph import Graph
from passes.ir.text import parse
from passes.ir.windows import Windows

GIR = """cdfg "windows" batch=1 {
  in %x : i8[2,8,6,4] @dram:HCHCW
  %a = load(x=%x) {box=[0,2,0,8,0,6]} : i8[2,8,6,4] @sram:HCHCW(6x1)
  %v = LowLevelSlice(x=%a) {box=[1,1,2,4,1,5]} : i8[1,4,5,4] @sram:HCHCW(6x1)
  %w = LowLevelSlice(x=%v) {box=[0,1,1,2,3,2]} : i8[1,2,2,4] @sram:HCHCW(6x1)
  %b = alloc() : i8[1,4,4,4] @sram:HCHCW(4x1)
  %p = LowLevelMaxPool(into=%b, x=%w) {at=[0,0,2], out=[2,4]} : i8[1,4,4,4] @sram:HCHCW(4x1)
  %q = LowLevelMaxPool(into=%p, x=%w) {at=[0,2,0], out=[2,4]} : i8[1,4,4,4] @sram:HCHCW(4x1)
  out %q
}
"""


def graph() -> Graph:
    return parse(GIR, {})


def test_views_of_views_add_up() -> None:
    g = graph()
    values = {op.result.name: op.result for op in g.ops}
    windows = Windows(g)
    assert windows.of(values["w"]) == (values["a"], Box(1, 1, 3, 2, 4, 2))
    assert windows.root(values["v"]) is values["a"]


def test_results_written_into_a_buffer_are_the_buffer() -> None:
    g = graph()
    ops = {op.result.name: op for op in g.ops}
    windows = Windows(g)
    assert windows.root(ops["q"].result) is ops["b"].result
    assert windows.written(ops["p"]) == (ops["b"].result, Box(0, 1, 0, 2, 2, 2))
    assert windows.written(ops["q"]) == (ops["b"].result, Box(0, 1, 2, 2, 0, 2))


def test_a_box_of_a_dram_tensor_is_a_tensor_of_its_own() -> None:
    text = GIR.replace("cdfg", "ldfg").split("  %v")[0].replace("load", "LowLevelSlice") + "  out %a\n}\n"
    g = parse(text, {})
    assert Windows(g).of(g.ops[0].result) == (g.ops[0].result, Box(0, 2, 0, 8, 0, 6))
