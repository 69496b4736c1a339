"""An evaluation as tables."""

from __future__ import annotations

from furc.evaluate.result import Change, ClassRow, Estimate, Evaluation, Scored, Task
from furc.report.tables import Column, Table
from isa.errors import counted

WORDS = {-1: "worse", 0: "other", 1: "better"}


def models_table(found: Evaluation) -> Table:
    """A row a model and metric."""
    columns = (
        Column("model", long=True), Column("on"), Column("metric"), Column("%", right=True),
        Column("95% interval", right=True), Column("change", right=True),
        Column("its interval", right=True, spare=1), Column("kept", right=True), Column("SQNR, dB", right=True),
        Column("cosine", right=True, spare=3), Column("same top-1", right=True), Column("seconds", right=True, spare=2),
    )  # fmt: skip
    rows = [row for model in found.models for row in _rows(model, found)]
    kept = [i for i in range(len(columns)) if any(row[i] for row in rows)]  # what nobody has is no column
    reference = found.models[found.reference].name
    title = counted(found.images, "image" if found.task is not Task.NONE else "sample")
    left = f", {found.left_out} left out" if found.left_out else ""
    compared = f"; compared with {reference}" if len(found.models) > 1 else ""
    return Table(
        columns=tuple(columns[i] for i in kept), rows=tuple(tuple(row[i] for i in kept) for row in rows),
        title=f"{title}{left}{compared}",
    )  # fmt: skip


def classes_table(found: Evaluation, top: int | None = None) -> Table:
    """Classes by what the last model loses, the most first."""
    what = "images" if found.task is Task.CLASSIFICATION else "objects"
    metric = "AP" if found.task is Task.DETECTION else found.metrics[0]
    names = tuple(Column(f"{model.name}, {metric} %", right=True) for model in found.models)
    rows = ((row.name, str(row.count), *(f"{v:.1f}" for v in row.values)) for row in by_loss(found)[:top])
    return Table(columns=(Column("class", long=True), Column(what, right=True), *names), rows=tuple(rows))


def changes_table(found: Evaluation, top: int | None = None) -> Table:
    """Images about which a model says something else than the reference."""
    shown = found.changes[:top]
    columns = (
        Column("image", long=True), Column("model", spare=2), Column("is", long=True),
        Column("reference says", long=True), Column("model says", long=True), Column(""),
        Column("SQNR, dB", right=True, spare=1),
    )  # fmt: skip
    keep = [i for i in range(len(columns)) if i != 2 or any(change.truth for change in shown)]
    rows = (_change(change) for change in shown)
    return Table(columns=tuple(columns[i] for i in keep), rows=tuple(tuple(row[i] for i in keep) for row in rows))


def by_loss(found: Evaluation) -> list[ClassRow]:
    """Classes whose figures differ between models, the largest loss of the last model first."""
    rows = [row for row in found.classes if len({round(value, 6) for value in row.values}) > 1]
    return sorted(rows, key=lambda row: (row.values[-1] - row.values[0], row.name))


def _rows(model: Scored, found: Evaluation) -> list[tuple[str, ...]]:
    close = (
        _number(model.sqnr_db, 1),
        _number(model.cosine, 4),
        _number(model.agreement, 1, "%"),
        f"{model.seconds:.1f}",
    )
    if not found.metrics:
        return [(model.name, model.where, "", "", "", "", "", "", *close)]
    rows = []
    for number, metric in enumerate(found.metrics):
        first = number == 0
        figure, difference = model.figures[metric], model.differences.get(metric)
        reference = found.models[found.reference].figures[metric].value
        kept = f"{100 * figure.value / reference:.1f}%" if difference is not None and reference else ""
        words = (f"{difference.value:+.2f}", _interval(difference, "+")) if difference is not None else ("", "")
        own = (model.name, model.where) if first else ("", "")
        rows.append(
            (*own, metric, f"{figure.value:.2f}", _interval(figure), *words, kept, *(close if first else [""] * 4))
        )
    return rows


def _change(change: Change) -> tuple[str, ...]:
    word = WORDS[change.gain] if change.before else ""
    return change.image, change.model, change.truth, change.before, change.after, word, _number(change.sqnr_db, 1)


def _interval(found: Estimate, sign: str = "") -> str:
    return f"{found.low:{sign}.2f} .. {found.high:{sign}.2f}"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "" if value is None else f"{value:.{digits}f}{unit}"
