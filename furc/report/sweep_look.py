"""How points of a sweep are drawn and called in figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from furc.report.page import text
from furc.report.sweep_table import short
from furc.sweep.rows import THROUGHPUT, Row, Sweep

COLORS = ("#2b6cb0", "#d9822b", "#2f9e8f", "#c9513f", "#7b61c4", "#8a97a6", "#b5338a", "#5b8c2a", "#1c2733", "#c2a100")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x")
Value = Callable[[Row], float]


def latency(row: Row) -> float:
    """The usual ordinate, in ms."""
    return row.figures["latency_ms"]


def npu_time(row: Row) -> float:
    """The NPU's part of the latency, in ms."""
    return row.figures["npu_ms"]


class Look:
    """A color a model, a dash a target and configuration, a symbol a batch."""

    def __init__(self, sweep: Sweep) -> None:
        rows = sweep.rows
        self.constants = sweep.constants
        self.models = list(dict.fromkeys(row.model for row in rows))
        self.kinds = list(dict.fromkeys(map(_kind, rows)))
        self.batches = list(dict.fromkeys(row.batch for row in rows))

    def line(self, rows: Sequence[Row], x: Value, y: Value, *, batches: bool) -> dict[str, object]:
        return {
            "type": "scatter", "mode": "lines+markers", "name": text(self._name(rows[0], batches=batches)),
            "x": [x(row) for row in rows], "y": [y(row) if row.ok else None for row in rows],
            "line": {"color": self._color(rows[0]), "dash": self._pick(DASHES, self.kinds, _kind(rows[0]))},
            "marker": {"symbol": self._pick(SYMBOLS, self.batches, rows[0].batch) if batches else SYMBOLS[0]},
            "hovertext": [self._hover(row) for row in rows], "hoverinfo": "text",
        }  # fmt: skip

    def points(self, rows: Sequence[Row], x: Value, name: str) -> dict[str, object]:
        return {
            "type": "scatter", "mode": "markers", "name": text(name), "legendgroup": text(name), "showlegend": False,
            "x": [x(row) for row in rows], "y": [latency(row) for row in rows],
            "marker": {"color": self._color(rows[0]), "opacity": 0.35, "size": 6,
                       "symbol": [self._pick(SYMBOLS, self.batches, row.batch) for row in rows]},
            "hovertext": [self._hover(row) for row in rows], "hoverinfo": "text",
        }  # fmt: skip

    def front(self, rows: Sequence[Row], x: Value, name: str) -> dict[str, object]:
        return {
            "type": "scatter", "mode": "lines+markers", "name": text(name), "legendgroup": text(name),
            "x": [x(row) for row in rows], "y": [latency(row) for row in rows],
            "line": {"color": self._color(rows[0])},
            "marker": {"size": 9, "symbol": [self._pick(SYMBOLS, self.batches, row.batch) for row in rows]},
            "hovertext": [self._hover(row) for row in rows], "hoverinfo": "text",
        }  # fmt: skip

    def _name(self, row: Row, *, batches: bool) -> str:
        """What tells lines apart, and no more."""
        parts = [row.model]
        if len({target for target, _ in self.kinds}) > 1:
            parts.append(row.target)
        if batches and len(self.batches) > 1:
            parts.append(f"batch {row.batch}")
        if len({configuration for _, configuration in self.kinds}) > 1:
            parts.append(row.configuration)
        return ", ".join(part for part in parts if part)

    def _hover(self, row: Row) -> str:
        values = "".join(f"<br>{text(name)} {short(row.constants[name])}" for name in self.constants)
        place = ", ".join(part for part in (row.target, f"batch {row.batch}", row.configuration) if part)
        told = ""
        if row.ok:
            npu = f"NPU {row.figures['npu_ms']:.3f}"
            told = f"<br>{latency(row):.3f} ms, of which {npu}<br>{row.figures[THROUGHPUT]:.1f} images/s"
        return f"<b>{text(row.model)}</b><br>{text(place)}{values}{told}"

    def _color(self, row: Row) -> str:
        return self._pick(COLORS, self.models, row.model)

    @staticmethod
    def _pick(looks: Sequence[str], values: Sequence[object], value: object) -> str:
        return looks[values.index(value) % len(looks)]


def _kind(row: Row) -> tuple[str, str]:
    return row.target, row.configuration
