"""The judgement on a model as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from furc.check import CheckReport, Judgement, Where
from furc.report.tables import Column, Table
from isa.errors import counted

SHOWN = 8  # rows of a warning
COLUMNS = (
    Column("operator"), Column("node", long=True), Column("runs on"), Column("ms", right=True),
    Column("why", long=True), Column("what to change", long=True),
)  # fmt: skip


def check_table(report: CheckReport, *, everything: bool = False) -> Table:
    """What does not run on the NPU as it is; everything: all operators."""
    shown = report.judgements if everything else report.of(Where.REFUSED, Where.HOST, Where.REWRITTEN)
    return Table(title="Operators and where they run", columns=COLUMNS, rows=tuple(map(_row, shown)))


def warning_table(judgements: Iterable[Judgement]) -> Table | None:
    """What leaves the NPU, in a few rows, what it cannot take first; None where nothing does."""
    left = sorted((j for j in judgements if j.where in (Where.REFUSED, Where.HOST)), key=lambda j: j.possible)
    if not left:
        return None
    rest = len(left) - SHOWN
    footer = (("", f"and {rest} more: furc check lists them", "", "", "", ""),) if rest > 0 else ()
    rows = tuple(map(_row, left[:SHOWN]))
    return Table(title="These operators will not run on the NPU", columns=COLUMNS, rows=rows, footer=footer)


def summary(report: CheckReport) -> str:
    """How many operators run where, in a line."""
    counts = Counter(j.where for j in report.judgements)
    ms = {where: sum(j.ms for j in report.of(where)) for where in Where}
    parts = [f"{counts[where]} {_words(where)}" for where in Where if counts[where]]
    times = f"each alone, {ms[Where.NPU]:.3f} ms on the NPU and {ms[Where.HOST]:.3f} ms on the host in all"
    operators = counted(len(report.judgements), "operator")
    return f"{operators}: {', '.join(parts)}; estimated {times} (furc profile times the program)"


def _words(where: Where) -> str:
    return f"on the {where}" if where in (Where.NPU, Where.HOST) else str(where)


def _row(judgement: Judgement) -> tuple[str, ...]:
    ms = f"{judgement.ms:.3f}" if judgement.ms else ""
    return (judgement.operator, judgement.node, str(judgement.where), ms, judgement.reason, judgement.remedy)
