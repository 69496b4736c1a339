"""The table of a sweep: a row a point, the same whoever measured it and in whatever order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from furc.sweep.grid import Number, Point
from furc.sweep.measure import FIGURES, OK, Result

THROUGHPUT = "images_per_second"
Cell = int | float | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """figures: by name, as in FIGURES; none where status is no "ok". message: of the error."""

    model: str
    target: str
    batch: int
    configuration: str
    constants: Mapping[str, Number]
    status: str
    message: str
    figures: Mapping[str, Number]

    @property
    def ok(self) -> bool:
        return self.status == OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """rows: in the order of the grid. constants: those that vary. reused: how many an earlier sweep had measured."""

    rows: tuple[Row, ...]
    constants: tuple[str, ...]
    reused: int = 0

    @property
    def columns(self) -> dict[str, type]:
        """Names and types of columns; constants of the machine begin with "npu.", for some are called like a result."""
        first: dict[str, type] = {"model": str, "target": str, "batch": int, "configuration": str}
        varied = {f"npu.{name}": self._kind(name) for name in self.constants}
        return {**first, **varied, "status": str, "message": str, **FIGURES}

    def cells(self, row: Row) -> list[Cell]:
        """In the order of columns; None where a point has no figures."""
        varied = (row.constants[name] for name in self.constants)
        first = (row.model, row.target, row.batch, row.configuration, *varied, row.status, row.message)
        return [*first, *(row.figures.get(name) for name in FIGURES)]

    def _kind(self, constant: str) -> type:
        return float if any(isinstance(row.constants[constant], float) for row in self.rows) else int


def row_of(point: Point, result: Result) -> Row:
    """A point with what came of it. result: as `measure` gives it."""
    figures = {name: result[name] for name in FIGURES} if result["status"] == OK else {}
    return Row(
        model=point.model.label,
        target=point.target,
        batch=point.batch,
        configuration=point.configuration,
        constants=point.constants,
        status=str(result["status"]),
        message=str(result.get("message", "")),
        figures=figures,  # type: ignore[arg-type]  # is_result, or measure, has seen that they are numbers
    )


def front(rows: Sequence[Row], cost: str = THROUGHPUT) -> list[Row]:
    """The points that no other beats in both, less latency and less of a constant, or more images per second.

    Points of different models do not compete, nor those of different batches over a constant. In the order of rows.
    """
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        if row.ok:
            groups.setdefault((row.model, 0 if cost == THROUGHPUT else row.batch), []).append(row)
    best = {id(row) for group in groups.values() for row in _unbeaten(group, cost)}
    return [row for row in rows if id(row) in best]


def _unbeaten(rows: Sequence[Row], cost: str) -> Iterator[Row]:
    """By rising latency, those that cost less than all before them; of equal ones every one."""
    least, at = math.inf, math.inf
    for latency, price, row in sorted(((*_axes(row, cost), row) for row in rows), key=lambda point: point[:2]):
        if price < least or (price == least and latency == at):
            least, at = price, latency
            yield row


def _axes(row: Row, cost: str) -> tuple[float, float]:
    latency = row.figures["latency_ms"]
    return (latency, -row.figures[THROUGHPUT]) if cost == THROUGHPUT else (latency, row.constants[cost])
