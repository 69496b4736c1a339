"""The executors below dfg refuse what would read or write outside a tensor."""

from __future__ import annotations

import numpy as np
import pytest

from isa.errors import RunError
from isa.npu import target
from passes.execute import outputs
from passes.ir.text import parse

X = np.arange(24, dtype=np.int8).reshape(1, 2, 3, 4)


def moved(sizes: str, steps: str, start: int, shape: str) -> np.ndarray:
    text = f"""ldfg "t" batch=1 {{
      in %x : i8[1,2,3,4]
      %y = LowLevelMove(x=%x) {{view=(start={start}, sizes={sizes}, steps={steps}), shape={shape}}} : i8{shape}
      out %y
    }}"""
    graph = parse(text, {})
    return outputs(graph, {"x": X}, target("warboy"))[0]


def test_a_move_reads_through_its_loops() -> None:
    assert np.array_equal(moved("[4,6]", "[1,4]", 0, "[1,4,2,3]"), X.reshape(6, 4).T.reshape(1, 4, 2, 3))
    assert moved("[3]", "[-5]", 20, "[1,1,1,3]").tolist() == [[[[20, 15, 10]]]]


@pytest.mark.parametrize(("sizes", "steps", "start"), [("[5]", "[6]", 0), ("[3]", "[-1]", 1), ("[1]", "[1]", 24)])
def test_a_move_outside_its_source_is_refused(sizes: str, steps: str, start: int) -> None:
    with pytest.raises(RunError, match=r"elements -?\d+\.\.\d+ of 24") as caught:
        moved(sizes, steps, start, f"[1,1,1,{sizes.strip('[]')}]")
    assert caught.value.name == "MoveOutsideSource"


def written(at: str) -> np.ndarray:
    text = f"""cdfg "t" batch=1 {{
      in %x : i8[1,2,3,4] @dram:HCHCW
      %t = load(x=%x) {{box=(n0=0, n=1, c0=0, c=2, h0=0, h=3)}} : i8[1,2,3,4] @sram:HCHCW(1x1)
      %b = alloc() : i8[1,3,3,4] @dram:HCHCW
      %y = store(into=%b, x=%t) {{at={at}}} : i8[1,3,3,4] @dram:HCHCW
      out %y
    }}"""
    graph = parse(text, {})
    return outputs(graph, {"x": X}, target("warboy"))[0]


def test_a_part_replaces_a_box_of_a_buffer_of_poison() -> None:
    got = written("[0,1,0]")
    assert np.array_equal(got[:, 1:], X) and set(got[:, 0].reshape(-1)) == {0x5A}
