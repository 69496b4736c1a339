"""The calibration report as one HTML file that opens offline: plotly.js is inside."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from furc.quantizer.reports.noise_html import noise_section, shortened, wide
from furc.quantizer.reports.noise_report import NoiseReport
from furc.quantizer.reports.report import LayerSqnr, MethodRow, TensorRanges
from furc.report.page import LOGARITHMIC

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; color: #1c2733; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #dde3ea; }
th:first-child, td:first-child { text-align: left; } .best { font-weight: 600; } .note { color: #566573; }
.dense { font-size: 13px; table-layout: fixed; width: 100%; }
.dense td { vertical-align: top; overflow-wrap: anywhere; }
.dense .left { text-align: left; } .dense .right { width: 3.6rem; }
.scroll { max-height: 34rem; overflow: auto; } .wide { overflow-x: auto; } .wide > div, .dense { min-width: 50rem; }
"""
EDGES_HEIGHT, LAYER_HEIGHT, HISTOGRAM_HEIGHT = 120, 22, 360
VALUES_COLOR = "#b8c2cc"  # unlike any method's
SHOWN_TENSORS = 40


def report_html(
    title: str,
    rows: Sequence[MethodRow],
    tensors: Sequence[TensorRanges] = (),
    *,
    measured_on: str = "ONNX Runtime",
    noise: NoiseReport | None = None,
) -> str:
    """The page. rows: one a method; tensors: shown worst SQNR first. measured_on: what ran the INT8 model. noise: where
    it comes from, see `noise_report`."""
    best = max(rows, key=_merit) if rows else None
    worst = {layer.tensor: layer.db for layer in (best.layers if best else ())}
    ordered = sorted(tensors, key=lambda t: worst.get(t.tensor, float("inf")))[:SHOWN_TENSORS]
    parts = [
        f"<h1>Calibration of {html.escape(title)}</h1>",
        f'<p class="note">Output SQNR, agreement and accuracy: the INT8 model on {html.escape(measured_on)}, '
        "against the float model on ONNX Runtime. SQNR by layer: ONNX Runtime.</p>",
        _table(rows, best),
        f"<h2>SQNR by layer, worst first ({html.escape(best.method)})</h2>" if best else "",
        _layer_plot(best.layers[:SHOWN_TENSORS]) if best and best.layers else "",
        noise_section(noise) if noise is not None else "",
        "<h2>Histograms and ranges</h2>" if ordered else "",
        *(_histogram_plot(t, worst.get(t.tensor)) for t in ordered),
    ]
    script = f"<script>{get_plotlyjs()}</script>"
    head = '<meta charset="utf-8"><meta name="generator" content="furc">'
    head += f"<title>{html.escape(title)}</title><style>{STYLE}</style>{script}"
    return f"<!doctype html><html><head>{head}</head><body>{''.join(parts)}</body></html>"


def _merit(row: MethodRow) -> tuple[float, float]:
    return (row.accuracy if row.accuracy is not None else 0.0, row.output_db)


def _table(rows: Sequence[MethodRow], best: MethodRow | None) -> str:
    labels = any(row.accuracy is not None for row in rows)
    measured = ("accuracy %", "output SQNR dB", "agreement %") if labels else ("output SQNR dB", "agreement %")
    names = ("method", *measured, "worst layer dB", "size KiB", "seconds")
    body = ""
    for row in rows:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2f}"
        worst = f"{min(layer.db for layer in row.layers):.1f}" if row.layers else ""
        agreement = "" if row.agreement is None else f"{row.agreement:.1f}"
        cells = [row.method, *([accuracy] if labels else []), f"{row.output_db:.2f}", agreement, worst]
        cells += [f"{row.bytes / 1024:.0f}", f"{row.seconds:.1f}"]
        mark = ' class="best"' if row is best else ""
        body += f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _layer_plot(layers: Sequence[LayerSqnr]) -> str:
    places = list(range(len(layers)))
    hover = [f"{html.escape(layer.tensor)}<br>{layer.db:.1f} dB" for layer in layers]
    bars = go.Bar(x=[layer.db for layer in layers], y=places, orientation="h", hovertext=hover, hoverinfo="text")
    figure = go.Figure(bars)
    figure.update_layout(
        height=EDGES_HEIGHT + LAYER_HEIGHT * len(layers), margin={"t": 40, "b": 50, "l": 330}, xaxis_title="SQNR, dB",
        yaxis={"tickvals": places, "ticktext": [shortened(layer.tensor) for layer in layers], "autorange": "reversed"},
    )  # fmt: skip
    return wide(figure)


def _histogram_plot(tensor: TensorRanges, db: float | None) -> str:
    middle = (tensor.edges[:-1] + tensor.edges[1:]) / 2
    figure = go.Figure(go.Bar(x=middle.tolist(), y=tensor.counts.tolist(), name="values", marker_color=VALUES_COLOR))
    top = float(tensor.counts.max(initial=1.0))
    for index, (method, (low, high)) in enumerate(tensor.ranges.items()):
        y = top ** (1 - index / (len(tensor.ranges) + 1))  # one height a method, on the logarithmic axis
        figure.add_scatter(x=[low, high], y=[y, y], name=method, mode="lines+markers")
    note = "" if db is None else f" - {db:.1f} dB"
    figure.update_layout(height=HISTOGRAM_HEIGHT, title=f"{html.escape(tensor.tensor)}{note}", bargap=0)
    figure.update_layout(xaxis_title="value", yaxis={"title": "values in the bin", **LOGARITHMIC})
    figure.update_layout(margin={"t": 60, "b": 40}, legend={"font": {"size": 11}})  # so that no method is scrolled away
    return wide(figure)
