"""The calibration report as one HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence

from furc.quantizer.reports.noise_html import BARS_LEFT, noise_sections, shortened
from furc.quantizer.reports.noise_report import NoiseReport
from furc.quantizer.reports.report import LayerSqnr, MethodRow, TensorRanges
from furc.report.page import LOGARITHMIC, Figure, Section, page, text
from furc.report.tables import Column, Table

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
    sections = [_methods(rows, best, measured_on)]
    if best is not None and best.layers:
        heading = f"SQNR by layer, worst first ({best.method})"
        sections.append(Section(heading=heading, figure=_layers(best.layers[:SHOWN_TENSORS])))
    if noise is not None:
        sections += noise_sections(noise)
    for index, tensor in enumerate(ordered):
        heading = "" if index else "Histograms and ranges"
        sections.append(Section(heading=heading, figure=_histogram(tensor, worst.get(tensor.tensor))))
    return page(f"Calibration of {title}", sections)


def _merit(row: MethodRow) -> tuple[float, float]:
    return (row.accuracy if row.accuracy is not None else 0.0, row.output_db)


def _methods(rows: Sequence[MethodRow], best: MethodRow | None, measured_on: str) -> Section:
    note = (
        f"Output SQNR, agreement and accuracy: the INT8 model on {measured_on}, against the float model on ONNX "
        "Runtime. SQNR by layer: ONNX Runtime."
    )
    if best is not None and len(rows) > 1:
        note += f" Best: {best.method}."
    return Section(note=note, tables=[_table(rows)])


def _table(rows: Sequence[MethodRow]) -> Table:
    labels = any(row.accuracy is not None for row in rows)
    measured = ("accuracy %", "output SQNR dB", "agreement %") if labels else ("output SQNR dB", "agreement %")
    body = []
    for row in rows:
        accuracy = "" if row.accuracy is None else f"{row.accuracy:.2f}"
        worst = f"{min(layer.db for layer in row.layers):.1f}" if row.layers else ""
        agreement = "" if row.agreement is None else f"{row.agreement:.1f}"
        cells = [row.method, *([accuracy] if labels else []), f"{row.output_db:.2f}", agreement, worst]
        body.append((*cells, f"{row.bytes / 1024:.0f}", f"{row.seconds:.1f}"))
    numbers = (*measured, "worst layer dB", "size KiB", "seconds")
    columns = (Column("method"), *(Column(name, right=True) for name in numbers))
    return Table(columns=columns, rows=tuple(body))


def _layers(layers: Sequence[LayerSqnr]) -> Figure:
    places = list(range(len(layers)))
    hover = [f"{text(layer.tensor)}<br>{layer.db:.1f} dB" for layer in layers]
    names = [shortened(layer.tensor) for layer in layers]
    bars: dict[str, object] = {
        "type": "bar", "orientation": "h", "x": [layer.db for layer in layers], "y": places, "hovertext": hover,
        "hoverinfo": "text",
    }  # fmt: skip
    layout: dict[str, object] = {
        "margin": {"t": 40, "b": 50, "l": BARS_LEFT}, "xaxis": {"title": {"text": "SQNR, dB"}},
        "yaxis": {"tickvals": places, "ticktext": names, "autorange": "reversed"},
    }  # fmt: skip
    return Figure(data=[bars], layout=layout, height=EDGES_HEIGHT + LAYER_HEIGHT * len(layers))


def _histogram(tensor: TensorRanges, db: float | None) -> Figure:
    middle = (tensor.edges[:-1] + tensor.edges[1:]) / 2
    data: list[dict[str, object]] = [
        {
            "type": "bar", "name": "values", "x": middle.tolist(), "y": tensor.counts.tolist(),
            "marker": {"color": VALUES_COLOR},
        }
    ]  # fmt: skip
    top = float(tensor.counts.max(initial=1.0))
    for index, (method, (low, high)) in enumerate(tensor.ranges.items()):
        y = top ** (1 - index / (len(tensor.ranges) + 1))  # one height a method, on the logarithmic axis
        data.append({"type": "scatter", "name": method, "mode": "lines+markers", "x": [low, high], "y": [y, y]})
    note = "" if db is None else f" - {db:.1f} dB"
    layout: dict[str, object] = {
        "title": {"text": f"{text(tensor.tensor)}{note}"}, "bargap": 0, "margin": {"t": 60, "b": 40},
        "xaxis": {"title": {"text": "value"}}, "yaxis": {"title": {"text": "values in the bin"}, **LOGARITHMIC},
        "legend": {"font": {"size": 11}},  # so that no method is scrolled away
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=HISTOGRAM_HEIGHT)
