"""Tables for people: drawn by rich on a terminal (furc/report/terminal.py), plain aligned lines everywhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from isa.errors import shortened

GAP = "  "


class Column(NamedTuple):
    """A heading. right: numbers line up on the right. On a narrow terminal long columns are folded, and then columns
    with a number as spare left out, the largest number first."""

    heading: str
    right: bool = False
    long: bool = False
    spare: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text, a row a tuple. footer: rows under a rule, such as totals."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    footer: tuple[tuple[str, ...], ...] = ()


def plain(table: Table) -> str:
    """Aligned lines, the same at every terminal width; a line without trailing blanks each."""
    headings = tuple(column.heading for column in table.columns)
    body = [one_line(row) for row in (*table.rows, *table.footer)]
    widths = [max(len(row[i]) for row in (headings, *body)) for i in range(len(headings))]
    lines = list(one_line((table.title,))) if table.title else []
    lines.append(_aligned(headings, widths, table.columns))
    lines += [_aligned(row, widths, table.columns) for row in body]
    return "\n".join(lines) + "\n"


def one_line(row: tuple[str, ...]) -> tuple[str, ...]:
    """Cells without line breaks, control characters and the middle of endless names: those come from models."""
    return tuple(shortened("".join(c if c.isprintable() else "?" for c in cell)) for cell in row)


def _aligned(row: tuple[str, ...], widths: list[int], columns: tuple[Column, ...]) -> str:
    cells = [
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, width, column in zip(row, widths, columns, strict=True)
    ]
    return GAP.join(cells).rstrip()


def count(value: float) -> str:
    """A whole number with thousands set apart: 21 028."""
    return f"{round(value):,}".replace(",", " ")


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def shape(extents: tuple[int, ...]) -> str:
    """1x16x8x8; ?x3 where only a run tells the first extent (isa.enf.OPEN, which would load NumPy for a help)."""
    return "x".join("?" if extent < 0 else str(extent) for extent in extents)


def nodes(names: tuple[str, ...]) -> str:
    """ONNX nodes in a cell: the first ones, and how many more."""
    shown = ", ".join(names[:2])
    return f"{shown}, +{len(names) - 2}" if len(names) > 2 else shown
