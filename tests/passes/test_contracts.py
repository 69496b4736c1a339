"""Malformed graphs: a valid text with one thing changed is refused by name, or is a graph that compiles and runs.

Text is a public input, and what verifies must go all the way: no assertion, no index error, no wrong result in between.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from graph_builder import Builder, random_inputs
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from furc.runtime.session import Session
from isa.errors import FurcError, Loc, SourceError, VerifyError
from isa.layout import LayoutKind
from isa.npu import target
from passes.ir.graph import Graph
from passes.ir.levels import verify
from passes.ir.lir import Program
from passes.ir.lir_text import parse_program_text
from passes.ir.op import REGISTRY, Array, Level
from passes.ir.text import parse, parse_type, show
from passes.ir.types import InDram
from passes.ops.elementwise import Table
from passes.options import CompileOptions
from passes.pipeline import link, lower

NPU = target("warboy")
NUMBER = re.compile(r"(?<=[\[=,(x+])-?\d+(?:\.\d+)?")
NUMBERS = ("0", "1", "-1", "2", "3", "7", "64", "128", "255", "1000", "70000", "3.5", "-129", "99999999999999999999")
WORDS = {
    r"\b(i8|u8|i32|f32|i64|bool)\[": ("i8[", "u8[", "i32[", "f32[", "i64[", "bool["),
    r"HCHC?WC?(?:\(\d+x\d+\))?": ("HCHCW", "HCHWC", "HCHCW(1x1)", "HCHWC(4x2)", "HCHCW(64x64)", "HCHCW(0x1)"),
    r"@\S+": (
        "@dram:HCHCW",
        "@sram:HCHCW(1x1)",
        "@stripes:",
        "@dram:HCHCW+0x0",
        "@sram:HCHCW(1x1)+0x8",
        "@stripes:+0x0",
    ),
    r" q\([^)]*\)": (" q(0.1,0)", " q(0.1,300)", " q(0.0,0)", " q([0.1,0.2],0,axis=0)", ""),
    r"%[\w.]+": (),
    r"true|false": ("true", "false"),
}


def mutated(text: str, draw: Callable[..., int]) -> str:
    """One change: a number, a word, a value, an op, or a line."""
    lines = text.splitlines()
    at = draw(0, len(lines) - 1)
    kind = draw(0, 5)
    if kind == 0:
        return "\n".join(lines[:at] + lines[at + 1 :]) + "\n"
    if kind == 1:
        return "\n".join([*lines[:at], lines[at], *lines[at:]]) + "\n"
    if kind == 2:
        level = text.split(" ", 1)[0]
        names = [name for known, name in REGISTRY if known == level]
        lines[at] = re.sub(r"= (\w+)\(", f"= {names[draw(0, len(names) - 1)]}(", lines[at])
    elif kind == 3:
        lines[at] = _replaced(lines[at], NUMBER, NUMBERS, draw)
    else:
        patterns = list(WORDS)
        pattern = patterns[draw(0, len(patterns) - 1)]
        choices = WORDS[pattern] or tuple(re.findall(pattern, text))
        lines[at] = _replaced(lines[at], re.compile(pattern), choices, draw)
    return "\n".join(lines) + "\n"


def _replaced(line: str, pattern: re.Pattern[str], choices: tuple[str, ...], draw: Callable[..., int]) -> str:
    found = list(pattern.finditer(line))
    if not found or not choices:
        return line
    match = found[draw(0, len(found) - 1)]
    return line[: match.start()] + choices[draw(0, len(choices) - 1)] + line[match.end() :]


class Fitting(dict[str, Array]):
    """Constants of the valid graph; what a changed text calls otherwise has none."""


def goes_all_the_way_or_is_refused(text: str, constants: dict[str, Array]) -> str:
    """What became of it."""
    try:
        graph = parse(text, Fitting(constants), "malformed")
        verify(graph)
    except FurcError as error:
        return error.name
    if sum(value.type.elements for value in graph.inputs) > 1 << 22:
        return "too large to run"
    try:
        options = CompileOptions(npu=NPU, batch=graph.batch)
        inputs = random_inputs(graph)
        program = lower(graph, options)
        assert isinstance(program, Program)
        enf = link(program, options, "test")
        results = [Session(enf, accelerate=accelerate).run(inputs) for accelerate in (False, True)]
    except FurcError as error:
        return f"later: {error.name}"
    for name in results[0]:
        assert np.array_equal(results[0][name], results[1][name], equal_nan=True), name
    return "ran"


def check_mutation(graph: Graph, level: Level, draw: Callable[..., int]) -> None:
    made = lower(graph, CompileOptions(npu=NPU, batch=graph.batch), level)
    assert isinstance(made, Graph)
    constants = {value.name: array for value, array in made.constants.items()}
    event(goes_all_the_way_or_is_refused(mutated(show(made), draw), constants))


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(graphs(max_ops=3, extent=6, elements=600), st.sampled_from(Level), st.data())
def test_one_change_to_a_valid_graph_is_refused_by_name_or_runs(
    graph: Graph, level: Level, data: st.DataObject
) -> None:
    check_mutation(graph, level, lambda low, high: data.draw(st.integers(low, high)))


CONTRACTIONS = {
    "conv2d": ("i8[1,3,4,4]", "i8[2,3,1,1]", "i8[1,2,4,4]", "[0.1,0.2,0.3],0,axis=1", 0),
    "conv_transpose2d": ("i8[1,3,4,4]", "i8[3,2,1,1]", "i8[1,2,4,4]", "[0.1,0.2,0.3],0,axis=0", 1),
    "gemm": ("i8[1,3]", "i8[2,3]", "i8[1,2]", "[0.1,0.2,0.3],0,axis=1", 0),
}


@pytest.mark.parametrize("op", CONTRACTIONS)
def test_scales_of_weights_follow_the_output_channels(op: str) -> None:
    x, w, y, scales, axis = CONTRACTIONS[op]
    text = (
        f'dfg "g" batch=1 {{\n  in %x : {x} q(0.1,0)\n  const %w : {w} q({scales})\n'
        f"  %y = {op}(x=%x, w=%w) : {y} q(0.1,0)\n  out %y\n}}\n"
    )
    shape = tuple(map(int, w[3:-1].split(",")))
    with pytest.raises(VerifyError) as caught:
        verify(parse(text, {"w": np.zeros(shape, np.int8)}))
    wrong = scales[-1]
    assert caught.value.message == (
        f"%y: {op}: the weights have scales along axis {wrong}, expected output channels, axis {axis}"
    )


@pytest.mark.parametrize("place", ["sram:HCHCW({0}x1)", "sram:HCHCW(1x{0})", "sram:HCHCW(1x1)+0x{0}", "stripes:+0x{0}"])
def test_a_number_of_thousands_of_digits_is_no_place(place: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_type(f"i8[1,1,1,1] @{place.format('9' * 5000)}", Loc("m.gir"))
    assert caught.value.name == "BadIrText" and caught.value.message.startswith("not a place: @")


@pytest.mark.parametrize(
    "type", ["i8[1,{0}]", "i8[1] q(0.1,{0})", "i8[1] q([0.1],{0},axis=0)", "i8[1] q([0.1],0,axis={0})"]
)
def test_a_number_of_thousands_of_digits_is_no_type(type: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_type(type.format("9" * 5000), Loc("m.dfg"))
    assert caught.value.name == "BadIrText" and len(str(caught.value)) < 500


def test_constants_that_lie_far_apart_make_no_image_of_gigabytes() -> None:
    b = Builder()
    x = b.image((1, 2, 4, 4))
    b.output(b.op(Table, x.type.q, x=x, table=b.table()))
    graph = lower(b.done(), CompileOptions(npu=NPU), "gir")
    assert isinstance(graph, Graph)
    [table] = graph.constants
    table.type = table.type.at(InDram(LayoutKind.HCHCW, 8 << 30))
    program = lower(graph, CompileOptions(npu=NPU))
    assert isinstance(program, Program)
    with pytest.raises(VerifyError) as caught:
        link(program, CompileOptions(npu=NPU), "test")
    assert caught.value.message.startswith("constants and programs of 440 bytes lie scattered over 85899")


@pytest.mark.parametrize("text", ["", "\n", " \t\n\n", "\x0b", "\u2028", "// only a comment"])
def test_a_text_of_nothing_is_refused(text: str) -> None:
    for read in (parse, parse_program_text):
        with pytest.raises(SourceError) as caught:
            read(text, {}, "m.dfg")
        assert caught.value.name == "BadIrText" and caught.value.hint


POOL = (
    'dfg "g" batch=1 {{\n  in %x : {type}\n  %y = maxpool({operand}=%x) {{kernel=({kernel})}} : {type}\n'
    "  %z = dequantize(x=%y) : f32[1,1,4,4]\n  out %z\n}}\n"
)
WHOLE = {"type": "i8[1,1,4,4] q(0.1,0)", "operand": "x", "kernel": "size=[1,1]"}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"type": "i8[1,1,4,4] q(0.1,300)"}, "%x: zero point 300 is outside -128..127"),
        ({"type": f"i8[1,1,4,{10**26}] q(0.1,0)"}, "not a shape: [1,1,4,1000"),
        ({"type": f"i8[1,1,4,{10**13}] q(0.1,0)"}, "%x: no tensor has the shape "),
        ({"type": "i8[1,1,4,4] q([0.1,0.2],0,axis=1)"}, "%x: 2 scales along axis 1 of [1, 1, 4, 4]"),
        ({"type": "i8[1,1,4,4] q(0.1,0) @sram:HCHCW(0x8)"}, "%x: dfg knows no places"),
        ({"operand": "q"}, "maxpool has no field q"),
        ({"kernel": "size=[-1,3]"}, "%y: maxpool: kernel: "),
        ({"kernel": "[" * 5000}, "not IR text: "),
        ({"kernel": 'size="\\q"'}, "not a string: "),
    ],
    ids=lambda v: str(v)[:50],
)
def test_specimens_of_damaged_text_are_told(damage: dict[str, str], said: str) -> None:
    verify(parse(POOL.format(**WHOLE), {}))
    with pytest.raises(FurcError) as caught:
        verify(parse(POOL.format(**WHOLE | damage), {}, "m.dfg"))
    assert caught.value.message.startswith(said) and len(str(caught.value)) < 1000


def test_a_layout_over_no_slices_is_told() -> None:
    text = 'ldfg "g" batch=1 {\n  in %x : i8[1,1,4,4] q(0.1,0) @dram:HCHCW\n  %y = LowLevelMaxPool(x=%x) '
    text += "{kernel=(size=[1,1])} : i8[1,1,4,4] q(0.1,0) @sram:HCHCW(0x8)\n  out %y\n}\n"
    with pytest.raises(VerifyError, match=r"%y: no tensor lies over 0x8 slices"):
        verify(parse(text, {}))


def test_a_bad_escape_in_lir_is_told_with_its_line() -> None:
    with pytest.raises(SourceError) as caught:
        parse_program_text('lir boundary=0x0\noperator "a\\q" [1]\n', {}, "m.lir")
    assert caught.value.message.startswith('not a string: "a\\q"') and caught.value.at.source == "m.lir"
