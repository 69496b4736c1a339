"""The fidelity tables as a page: modelled against published, what is left by row, and single operators."""

from __future__ import annotations

from benchmarks.fidelity.fit import Fidelity, family
from furc.report.page import LOGARITHMIC, Figure, Section, page
from furc.report.tables import Column, Table

COLORS = ("#2b6cb0", "#d9822b", "#2f9e8f", "#b0558f", "#c9a227", "#c9513f", "#5c6bc0", "#6d8b3c", "#8d6e63")


def fidelity_page(results: dict[str, Fidelity], operators: list[Table]) -> str:
    """results: by what a set of modelled latencies is called; the first is drawn in full. Either may be empty."""
    sections = _latencies(results) if results else []
    if operators:
        sections.append(Section(heading="Single operators", tables=operators))
    return page("Modelled against published latencies", sections)


def _latencies(results: dict[str, Fidelity]) -> list[Section]:
    return [
        Section(note=_summary(results), tables=(_table(results),)),
        Section(heading="Modelled over published", figure=_scatter(next(iter(results.values())))),
        Section(heading="What is left, by row", figure=_residuals(results)),
    ]


def _summary(results: dict[str, Fidelity]) -> str:
    return "; ".join(
        f"{name}: mean absolute error {r.mape:.1%}, worst {r.worst:+.1%}, bias {r.bias:+.1%}"
        for name, r in results.items()
    )


def _table(results: dict[str, Fidelity]) -> Table:
    columns = [Column("model"), Column("target"), Column("published ms", right=True)]
    for name in results:
        columns += [Column(f"{name}, ms", right=True), Column("error", right=True)]
    rows = []
    for index, (row, _) in enumerate(next(iter(results.values())).rows):
        cells = [row.model, row.target, f"{row.ms:.3f}"]
        for result in results.values():
            cells += [f"{result.rows[index][1]:.3f}", f"{result.errors[index]:+.1%}"]
        rows.append(tuple(cells))
    return Table(columns=tuple(columns), rows=tuple(rows))


def _scatter(result: Fidelity) -> Figure:
    families = dict.fromkeys(family(row.model) for row, _ in result.rows)
    data: list[dict[str, object]] = []
    for color, name in zip(COLORS, families, strict=False):
        mine = [(row, ms) for row, ms in result.rows if family(row.model) == name]
        data.append({
            "type": "scatter", "mode": "markers", "name": name, "marker": {"color": color, "size": 9},
            "x": [row.ms for row, _ in mine], "y": [ms for _, ms in mine],
            "text": [f"{row.model} {row.target}" for row, _ in mine],
        })  # fmt: skip
    ends = [min(row.ms for row, _ in result.rows) / 1.2, max(row.ms for row, _ in result.rows) * 1.2]
    data.append({
        "type": "scatter", "mode": "lines", "name": "equal", "x": ends, "y": ends, "line": {"color": "#9aa5b1"},
    })  # fmt: skip
    axis = {**LOGARITHMIC, "title": {"text": "published, ms"}}
    return Figure(data=data, layout={"xaxis": axis, "yaxis": {**axis, "title": {"text": "modelled, ms"}}}, height=560)


def _residuals(results: dict[str, Fidelity]) -> Figure:
    data: list[dict[str, object]] = [
        {
            "type": "bar", "name": name, "marker": {"color": color},
            "x": [f"{row.model} {row.target}" for row, _ in result.rows], "y": [100 * e for e in result.errors],
        }
        for color, (name, result) in zip(COLORS, results.items(), strict=False)
    ]  # fmt: skip
    return Figure(data=data, layout={"yaxis": {"title": {"text": "error, %"}}, "margin": {"b": 160}}, height=480)
