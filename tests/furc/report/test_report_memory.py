"""The memory analysis: which command an instruction is of, and that buffers never overlap."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from furc.compiler import Compiled
from furc.profiling.budget import budget_from_json, budget_of
from furc.profiling.profile import Profile
from furc.profiling.recorded import Recorded
from furc.report.budget_table import budget_tables
from furc.report.dot import dot
from furc.report.lanes import bars
from furc.report.memory_html import memory_html, rectangles
from furc.report.page import Figure, Section, page, text
from furc.report.profile_html import profile_html
from furc.report.tables import Column, Table, count, plain
from furc.report.terminal import drawn
from passes.analysis.occupancy import occupancy
from passes.ir.graph import Graph
from passes.ir.op import Level, name_at

Made = tuple[Compiled, Recorded, Profile]
MNEMONICS = {
    "LowLevelConv2d": {"preload", "conv", "loadt"},
    "LowLevelDepthwiseConv2d": {"preload", "conv", "loadt"},
    "LowLevelTable": {"loadt", "table"},
    "LowLevelMaxPool": {"maxpool"},
    "LowLevelAveragePool": {"avgpool"},
    "LowLevelAdd": {"add"},
    "LowLevelMul": {"mul"},
    "LowLevelMove": {"move"},
    "LowLevelPad": {"pad"},
    "load": {"load"},
    "store": {"store"},
    "load_weights": {"loadw"},
}


def test_every_instruction_is_of_a_command_of_its_kind(made: Made) -> None:
    program = made[0].program
    for step in program.steps():
        if step.instruction.mnemonic not in ("end", "jump", "loadp"):
            command = name_at(type(program.graph.ops[step.command]), Level.GIR)
            assert step.instruction.mnemonic in MNEMONICS[command]


def test_buffers_do_not_overlap(made: Made) -> None:
    found = rectangles(made[0].program, made[1])
    assert {r.kind for r in found} >= {"activation", "weights"}
    for index, a in enumerate(found):
        assert a.start < a.stop <= made[1].timeline.cycles and 0 <= a.low < a.high
        for b in found[:index]:
            in_time = a.start < b.stop and b.start < a.stop
            assert not (in_time and a.low < b.high and b.low < a.high), (a, b)


def test_the_page_is_the_same_every_time_and_needs_no_network(made: Made) -> None:
    html = memory_html(made[0].program, made[1])
    assert html == memory_html(made[0].program, made[1])
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", html)
    calls = re.findall(r'Plotly.newPlot\("figure\d+", (.*)\);</script>', html)
    [figure] = [json.loads(f"[{call}]") for call in calls]
    names = {trace["name"] for trace in figure[0]}
    assert {"activation", "weights", "scratch", "DMA in", "tensor unit main"} <= names


def test_the_profile_page(made: Made) -> None:
    html = profile_html(made[2])
    figures = [json.loads(f"[{call}]") for call in re.findall(r'newPlot\("figure\d+", (.*)\);</script>', html)]
    assert len(figures) == 4 and all(figure[0] for figure in figures)
    assert "/conv1/Conv" in html and "Operators on the host" in html
    assert f"{made[2].model} on {made[2].target}, modelled" not in html  # its heading says that


def test_names_from_models_cannot_leave_their_place() -> None:
    evil = "</script><script>alert(1)</script>"
    table = Table(columns=(Column("x"),), rows=((evil,),))
    html = page(evil, (Section(heading=evil, note=evil, tables=(table,)),))
    assert "<script>alert" not in html
    assert text("<b>\n") == "&lt;b&gt;?"


def test_figures_scroll_and_only_long_texts_break_on_narrow_windows() -> None:
    columns = (Column("target"), Column("ms", right=True), Column("why", long=True))
    table = Table(title="Host", columns=columns, rows=(("warboy-2pe", "66.401", "a long text"),))
    html = page("x", (Section(heading="Host", tables=(table,), figure=Figure(data=[], layout={})),))
    body = html.rpartition("</head>")[2]
    assert '<div class="wide"><div id="figure0"></div></div>' in body and "td { white-space: nowrap; }" in html
    assert '<td>warboy-2pe</td><td class="right">66.401</td><td class="long">a long text</td>' in body
    assert "thead, tfoot { position: sticky" in html  # a long table scrolls: headings and sums stay in sight
    assert body.count("Host") == 1  # a title that the heading has said is not said again


def test_legends_above_a_drawing_grow_away_from_it(made: Made) -> None:
    for html in (profile_html(made[2]), memory_html(made[0].program, made[1])):
        layouts = [json.loads(f"[{call}]")[1] for call in re.findall(r'newPlot\("figure\d+", (.*)\);</script>', html)]
        above = [layout["legend"] for layout in layouts if layout.get("legend", {}).get("orientation") == "h"]
        assert above and all((legend["y"], legend["yanchor"]) == (1.0, "bottom") for legend in above)


def test_operators_without_dram_traffic_are_at_the_right_end_of_the_roofs(made: Made) -> None:
    calls = re.findall(r'newPlot\("figure\d+", (.*)\);</script>', profile_html(made[2]))
    *points, peak = next(data for data, layout, _ in (json.loads(f"[{c}]") for c in calls) if "hovermode" in layout)
    drawn_at = [x for trace in points for x in trace["x"]]
    operators = [o for o in made[2].operators if o.macs]
    assert len(drawn_at) == len(operators)
    assert drawn_at.count(peak["x"][-1]) == sum(not o.dram_bytes for o in operators) > 0


def test_ticks_of_a_logarithmic_axis_are_the_numbers_themselves(made: Made) -> None:
    calls = re.findall(r'newPlot\("figure\d+", (.*)\);</script>', profile_html(made[2]))
    parts = [part for call in calls for part in json.loads(f"[{call}]")[1].values()]
    axes = [part for part in parts if isinstance(part, dict) and part.get("type") == "log"]
    assert len(axes) == 2 and all(axis["tickformat"] == "~g" for axis in axes)  # without: 2 for 0.2 and for 20


def test_bars_are_joined_only_within_an_operator(made: Made) -> None:
    assert sum(bar.instructions for bar in bars(made[1])) == sum(piece.event.works for piece in made[1].slices)


def test_weights_that_stay_are_there_all_the_time(made: Made) -> None:
    found = [r for r in rectangles(made[0].program, made[1]) if r.kind == "weights"]
    assert made[1].weights.reloaded == 0 and found
    assert {(r.start, r.stop) for r in found} == {(0, made[1].timeline.cycles)}
    graph = made[0].program.graph
    spans = {(each.first, each.last) for each in occupancy(graph, made[1].npu) if each.kind == "weights"}
    assert spans == {(0, len(graph.ops) - 1)}
    assert all(bar.stop > bar.start for bar in bars(made[1]))  # none of a load that the run does not do


def test_the_budget_survives_the_cache(made: Made) -> None:
    budget = budget_of(made[0].enf, made[0].program, made[1].npu)
    assert budget_from_json(budget.to_json()) == budget
    assert budget.instruction_memory.used == sum(s.bytes for s in made[0].enf.segments)
    assert budget.sram.used == made[0].enf.sram_peak_bytes <= budget.sram.limit
    for bad in ("{}", "[]", "7", '{"instruction_memory": 1}', "not json"):
        with pytest.raises((ValueError, KeyError, TypeError)):
            budget_from_json(bad)
    resources, host = (plain(table) for table in budget_tables(budget))
    assert "instruction memory" in resources and "Dequantize" in host
    assert re.search(r"\(\d{1,3}( \d{3})+ B of weights stay", resources)


def test_dot_is_what_graphviz_reads(made: Made) -> None:
    text = dot(made[0].program.graph)
    assert text.count("{") == text.count("}") == 1
    empty = Graph(name='a "quoted"\\ name', level=Level.DFG)
    assert 'digraph "a \\"quoted\\"\\\\ name" {' in dot(empty)


class TestTables:
    def test_plain_columns_line_up(self) -> None:
        table = Table(
            title="title",
            columns=(Column("name"), Column("n", right=True)),
            rows=(("a", "1"), ("long\nname", "1000")),
            footer=(("", "1001"),),
        )
        assert plain(table) == "title\nname          n\na             1\nlong?name  1000\n           1001\n"

    def test_a_terminal_gets_the_same_words(self) -> None:
        console = Console(width=60, record=True, file=io.StringIO())
        console.print(drawn(Table(columns=(Column("[bold]x"),), rows=(("[red]y",),), footer=(("z",),))))
        assert "[red]y" in console.export_text()

    def test_count(self) -> None:
        assert [count(n) for n in (0, 999, 1000, 1234567.4)] == ["0", "999", "1 000", "1 234 567"]
