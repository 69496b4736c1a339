"""A table on a terminal that is too narrow still shows what it is about."""

from __future__ import annotations

import pytest
from rich.console import Console

from furc.cli import display
from furc.report.profile_table import operator_table
from furc.report.tables import Column, Table
from furc.report.terminal import drawn, fitted, folded

TABLE = Table(
    columns=(Column("operator"), Column("nodes", long=True), Column("shape", spare=2),
             Column("a long heading", right=True), Column("use", right=True, spare=1), Column("why", long=True)),
    rows=(("LowLevelConv2d", "/a/b/" * 20, "1x64x80x80", "12 345", "10%", "short"),
          ("x", "y", "", "1", "", "word " * 9)),
    footer=(("all", "", "", "12 346", "", ""),),
)  # fmt: skip


def shown(table: Table, width: int) -> list[str]:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(drawn(table, width))
    return capture.get().splitlines()


def test_on_a_wide_one_nothing_changes() -> None:
    assert fitted(TABLE, 300) == {0: 14, 1: 100, 2: 10, 3: 14, 4: 3, 5: 45}
    assert shown(TABLE, 300) and not any("wider" in line for line in shown(TABLE, 300))


def test_headings_fold_before_texts_and_texts_before_columns_go() -> None:
    assert fitted(TABLE, 198)[3] == 14 and fitted(TABLE, 192) == {0: 14, 1: 100, 2: 10, 3: 8, 4: 3, 5: 45}
    assert fitted(TABLE, 120) == {0: 14, 1: 36, 2: 10, 3: 8, 4: 3, 5: 37}
    assert list(fitted(TABLE, 90)) == [0, 1, 3, 4, 5]
    assert list(fitted(TABLE, 80)) == list(fitted(TABLE, 40)) == [0, 1, 3, 5]


@pytest.mark.parametrize("width", range(60, 200, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = shown(TABLE, width)
    assert max(map(len, lines)) <= width
    together = "".join(line.replace(" ", "") for line in lines)
    assert "LowLevelConv2d" in together and "12346" in together


def test_at_80_columns_a_profile_names_the_nodes(made: tuple[object, object, object]) -> None:
    table = operator_table(made[2])  # type: ignore[arg-type]
    told = shown(table, 80)
    assert any("/conv1/Conv" in line for line in told) and any(line.startswith(" LowLevelConv2d ") for line in told)
    assert max(map(len, told)) <= 80


def test_cells_fold_between_words_and_long_words_behind_a_seam() -> None:
    assert folded("/model.15/cv1/conv/Conv, /model.15/cv1/act/Sigmoid, +1", 12) == [
        "/model.15/", "cv1/conv/", "Conv,", "/model.15/", "cv1/act/", "Sigmoid, +1",
    ]  # fmt: skip
    assert folded("conv/Conv, /aaaaaaaaaa", 10) == ["conv/Conv,", "/aaaaaaaaa", "a"]  # no empty line between
    assert folded("dram:0x1d40..0x27bf", 12) == ["dram:", "0x1d40..", "0x27bf"]  # not between the dots
    assert folded("loads 3 212 976 B", 10) == ["loads", "3 212 976", "B"]
    assert folded("  LowLevelTable /a, /b", 17) == ["  LowLevelTable", "  /a, /b"]
    assert (
        folded("", 4) == [""]
        and folded("  ", 4) == ["  "]
        and folded("", 0) == [""]
        and folded("short", 5) == ["short"]
    )


def test_headings_of_one_word_stay_whole_where_columns_fold() -> None:
    table = Table(columns=(Column("instruction"), Column("reads", long=True)), rows=(("conv", "dram:0x1d40..0x27bf"),))
    assert any("instruction" in line for line in shown(table, 30))


@pytest.mark.parametrize("width", [30, 40])
def test_where_nothing_else_helps_the_widest_columns_are_cut_and_no_line_is_too_long(width: int) -> None:
    lines = shown(TABLE, width)
    assert max(map(len, lines)) <= width and sum(fitted(TABLE, width).values()) + 2 * 4 <= width
    assert "12345" in "".join(line.replace(" ", "") for line in lines)


def test_a_table_without_headings_has_no_line_for_them() -> None:
    table = Table(columns=(Column(""), Column("")), rows=(("latency", "1 ms"),))
    assert [line.split() for line in shown(table, 80) if line.strip()] == [["latency", "1", "ms"]]


def test_an_empty_line_follows_what_a_wider_terminal_would_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(display, "on_terminal", lambda *, err: True)
    display.show(TABLE)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == ["on a wider terminal also shape, use", ""]


def test_headings_fold_behind_a_seam_as_cells_do() -> None:
    table = Table(
        columns=(Column("target"), Column("dram_bytes_per_second", right=True)), rows=(("warboy-2pe", "66e9"),)
    )
    lines = [line.split() for line in shown(table, 24)]
    assert ["dram_"] in lines and ["bytes_"] in lines and ["warboy-2pe", "66e9"] in lines
