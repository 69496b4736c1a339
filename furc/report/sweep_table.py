"""Points of a sweep as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from furc.report.tables import Column, Table, count, percent
from furc.sweep.rows import Row, Sweep, front
from isa.errors import counted


def points_table(sweep: Sweep, top: int) -> Table:
    """All points, or, of more than `top`, those on the fronts of latency and throughput."""
    rows, title = sweep.rows, counted(len(sweep.rows), "point")
    if len(rows) > top:
        best = front(rows)
        rows = tuple(best[:top])
        title = f"Of {counted(len(sweep.rows), 'point')} those that no other of the model beats in latency and images/s"
        title += f": the first {top} of {len(best)}" if len(best) > top else ""
    columns = _columns(sweep, ("latency, ms", "NPU, ms", "images/s"))
    if all(row.ok for row in rows):
        return Table(title=title, columns=columns, rows=tuple(_short(sweep, row) for row in rows))
    told = tuple((*_short(sweep, row), "" if row.ok else row.status) for row in rows)
    return Table(title=title, columns=(*columns, Column("error", long=True)), rows=told)


def all_table(sweep: Sweep, best: Sequence[Row]) -> Table:
    """Every point that has figures, for a page. best: those that are marked."""
    marked = {id(row) for row in best}
    headings = ("latency, ms", "low", "high", "NPU, ms", "first", "host, ms", "images/s", "cycles", "MAC use",
                "DRAM, B", "SRAM peak, B", "instructions, B", "loads", "front")  # fmt: skip
    rows = ((*_place(sweep, row), *_figures(row), "*" if id(row) in marked else "") for row in sweep.rows if row.ok)
    return Table(columns=_columns(sweep, headings), rows=tuple(rows))


def errors_table(sweep: Sweep) -> Table:
    """The points that have none, with why."""
    columns = (*_columns(sweep, ()), Column("error"), Column("message", long=True))
    rows = tuple((*_place(sweep, row), row.status, row.message) for row in sweep.rows if not row.ok)
    return Table(columns=columns, rows=rows)


def verdict(sweep: Sweep) -> str:
    """1200 points: 1180 ok, 20 ProgramTooLong"""
    found = Counter(row.status for row in sweep.rows)
    parts = ", ".join(f"{number} {status}" for status, number in sorted(found.items(), key=lambda item: -item[1]))
    return f"{len(sweep.rows)} {'points' if len(sweep.rows) != 1 else 'point'}: {parts}"


def short(value: float) -> str:
    """A constant, as short as it can be said: 66e9."""
    for exponent in (9, 6):
        if value >= 10**exponent and value % 10 ** (exponent - 2) == 0:
            return f"{value / 10**exponent:g}e{exponent}"
    return f"{value:g}" if float(f"{value:g}") == value else str(value)


def _columns(sweep: Sweep, figures: tuple[str, ...]) -> tuple[Column, ...]:
    configured = (Column("configuration", long=True),) if _configured(sweep) else ()
    varied = (Column(name, right=True) for name in sweep.constants)
    first = (Column("model", long=True), Column("target"), Column("batch", right=True))
    return (*first, *configured, *varied, *(Column(name, right=True) for name in figures))


def _configured(sweep: Sweep) -> bool:
    return any(row.configuration for row in sweep.rows)


def _place(sweep: Sweep, row: Row) -> tuple[str, ...]:
    configured = (row.configuration,) if _configured(sweep) else ()
    return (row.model, row.target, str(row.batch), *configured, *(short(row.constants[n]) for n in sweep.constants))


def _short(sweep: Sweep, row: Row) -> tuple[str, ...]:
    f = row.figures
    shown = (f"{f['latency_ms']:.3f}", f"{f['npu_ms']:.3f}", f"{f['images_per_second']:.1f}") if row.ok else ("",) * 3
    return (*_place(sweep, row), *shown)


def _figures(row: Row) -> tuple[str, ...]:
    f = row.figures
    times = ("latency_ms", "latency_low_ms", "latency_high_ms", "npu_ms", "first_npu_ms", "host_ms")
    counts = ("dram_bytes", "sram_peak_bytes", "instruction_bytes", "program_loads")
    rate, use = f"{f['images_per_second']:.1f}", percent(f["mac_utilization"])
    return (*(f"{f[name]:.3f}" for name in times), rate, count(f["cycles"]), use, *(count(f[name]) for name in counts))
