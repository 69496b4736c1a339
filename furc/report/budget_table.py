"""The budget of a compilation as tables."""

from __future__ import annotations

from collections.abc import Iterable

from furc.profiling.budget import Budget, Use
from furc.report.profile_table import HOST_COLUMNS, host_row
from furc.report.tables import Column, Table, count, nodes, percent


def budget_tables(budget: Budget) -> tuple[Table, Table]:
    """Resources with their consumers, then what is left on the host."""
    rows = [
        row
        for name, use in (
            ("instruction memory", budget.instruction_memory),
            ("SRAM peak", budget.sram),
            ("DRAM", budget.dram),
        )
        for row in _rows(name, use)
    ]
    numbers = (Column(word, right=True) for word in ("used", "limit", ""))
    total = ("", "", "", f"{sum(o.ms for o in budget.host):.3f}", "in all")
    return (
        Table(columns=(Column("budget", long=True), *numbers), rows=tuple(rows)),
        Table(columns=(Column("on the host"), *HOST_COLUMNS), rows=tuple(map(host_row, budget.host)), footer=(total,)),
    )


def _rows(name: str, use: Use) -> Iterable[tuple[str, ...]]:
    share = percent(use.used / use.limit)
    yield (name + (f" ({use.note})" if use.note else ""), f"{count(use.used)} B", f"{count(use.limit)} B", share)
    for consumer in use.top:
        words = (consumer.name, nodes(consumer.nodes))
        yield (f"  {' '.join(word for word in words if word)}", f"{count(consumer.bytes)} B", "", "")
