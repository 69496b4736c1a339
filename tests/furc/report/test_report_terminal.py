"""A table on a terminal that is too narrow still shows what it is about."""

from __future__ import annotations

import pytest
from rich.console import Console

from furc.report.profile_table import operator_table
from furc.report.tables import Column, Table
from furc.report.terminal import drawn, fitted

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
