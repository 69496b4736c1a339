"""The budget of a compilation as tables."""

from __future__ import annotations

from collections.abc import Iterable

from furc.profiling.budget import Budget, Use
from furc.profiling.host import HostWork
from furc.report.placement_table import placement_table
from furc.report.profile_table import HOST_COLUMNS, host_row
from furc.report.tables import Column, Table, count, nodes, percent, shape
from isa.errors import counted

ROUNDINGS = ("QuantizeLinear", "DequantizeLinear")


def budget_tables(budget: Budget) -> tuple[Table, ...]:
    """Resources with their consumers; what of the model is left on the host, why and what to do about it, and how else
    it could have been placed, where something is; what the host does between the model and the NPU."""
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
    resources = Table(columns=(Column("budget", long=True), *numbers), rows=tuple(rows))
    left = [work for work in budget.host if work.is_of_the_model]
    placements = placement_table(budget.placements)
    found = (resources, *([_left(left)] if left else []), *([placements] if placements else []))
    return (*found, _conversions([work for work in budget.host if not work.is_of_the_model], len(left) > 0))


def _left(host: list[HostWork]) -> Table:
    """Operators of the model: the reason says which limit they break."""
    columns = (
        Column("on the host"), Column("node", long=True), Column("shape"), Column("ms", right=True),
        Column("why", long=True), Column("what to change", long=True),
    )  # fmt: skip
    rows = [(w.name, nodes(w.nodes), shape(w.shape), f"{w.ms:.3f}", w.reason, w.remedy) for w in host]
    return Table(columns=columns, rows=tuple(rows), footer=(("", "", "", _sum(host), "in all", ""),))


def _conversions(host: list[HostWork], beside_operators: bool) -> Table:
    """What brings tensors to the NPU and back. Roundings between operators of the host, which may be many, are a
    row."""
    rows = [host_row(work) for work in host if work.name not in ROUNDINGS]
    for name in ROUNDINGS:
        works = [work for work in host if work.name == name]
        why = "between operators on the host, as the model has it"
        rows += [(name, counted(len(works), "tensor"), "", _sum(works), why)] if works else []
    heading = "also on the host" if beside_operators else "on the host"
    footer = (("", "", "", _sum(host), "in all"),)
    return Table(columns=(Column(heading), *HOST_COLUMNS), rows=tuple(rows), footer=footer)


def _sum(host: list[HostWork]) -> str:
    return f"{sum(work.ms for work in host):.3f}"


def _rows(name: str, use: Use) -> Iterable[tuple[str, ...]]:
    share = percent(use.used / use.limit)
    yield (name + (f" ({use.note})" if use.note else ""), f"{count(use.used)} B", f"{count(use.limit)} B", share)
    for consumer in use.top:
        words = (consumer.name, nodes(consumer.nodes))
        yield (f"  {' '.join(word for word in words if word)}", f"{count(consumer.bytes)} B", "", "")
