"""An evaluation as one HTML file: the figures with their intervals, classes that changed, images that changed."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from furc.evaluate.result import ClassRow, Evaluation, Task
from furc.report.eval_table import by_loss, changes_table, classes_table, models_table
from furc.report.page import BARE, Figure, Section, page, text

SHOWN_CLASSES, SHOWN_CHANGES = 60, 500
COLORS = ("#566573", "#2f9e8f", "#c9513f", "#4f6fc4", "#d9a441", "#8a5bb0")


def evaluation_html(found: Evaluation, beside: Path = Path()) -> str:
    """The text of the file. beside: the folder that it goes to, from which images are linked."""
    sections = [Section(tables=(models_table(found),))]
    if found.metrics:
        sections.append(_figures(found))
    if by_loss(found):
        sections.append(_classes(found))
    if found.changes:
        what = {
            Task.CLASSIFICATION: "Images with another top-1 than the reference's",
            Task.DETECTION: "Images in which other objects are found; detections from a score of 0.25 on, at IoU 0.5",
            Task.NONE: "Samples by the SQNR of their outputs",
        }[found.task]
        links = {change.image: _link(change.path, beside) for change in found.changes[:SHOWN_CHANGES]}
        note = f"{what}, the worst first: {len(found.changes)}, shown are at most {SHOWN_CHANGES}."
        sections.append(Section(heading="Images that changed", note=note, tables=(changes_table(found, SHOWN_CHANGES),),
                                links=links))  # fmt: skip
    return page(f"Accuracy of {', '.join(model.name for model in found.models)}", sections)


def _link(path: Path, beside: Path) -> str:
    return quote(os.path.relpath(path, beside))


def _figures(found: Evaluation) -> Section:
    data: list[dict[str, object]] = []
    for number, model in enumerate(found.models):
        values = list(model.figures.values())
        data.append({
            "type": "bar", "name": text(f"{model.name}, {model.where}"), "x": list(found.metrics),
            "y": [round(v.value, 4) for v in values], "marker": {"color": COLORS[number % len(COLORS)]},
            "error_y": {"type": "data", "symmetric": False, "array": [round(v.high - v.value, 4) for v in values],
                        "arrayminus": [round(v.value - v.low, 4) for v in values]},
        })  # fmt: skip
    layout: dict[str, object] = {"barmode": "group", "yaxis": {"title": {"text": "%"}, "rangemode": "tozero"},
                                 "margin": {"t": BARE}}  # fmt: skip
    note = ("Bars have the interval in which the figure lies for 95 of 100 draws of as many images. Models see the "
            "same images, so the interval of the difference, in the table, is the one to compare them by.")  # fmt: skip
    return Section(heading="Accuracy", note=note, figure=Figure(data=data, layout=layout, height=360))


def _classes(found: Evaluation) -> Section:
    rows = by_loss(found)
    half = SHOWN_CLASSES // 2
    shown = rows if len(rows) <= SHOWN_CLASSES else [*rows[:half], *rows[-half:]]
    data: list[dict[str, object]] = []
    for number, model in list(enumerate(found.models))[1:]:
        data.append({
            "type": "bar", "orientation": "h", "name": text(model.name),
            "x": [round(row.values[number] - row.values[0], 4) for row in shown],
            "y": [f"{text(row.name)} ({row.count})" for row in shown],
            "marker": {"color": COLORS[number % len(COLORS)]},
            "hovertext": [_hover(row, number) for row in shown], "hoverinfo": "text",
        })  # fmt: skip
    metric = "AP" if found.task is Task.DETECTION else found.metrics[0]
    layout: dict[str, object] = {
        "xaxis": {"title": {"text": f"{metric}, points more than {text(found.models[0].name)}"},
                  "exponentformat": "none"},  # plotly would have 700µ for 0.0007
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 11}}, "margin": {"l": 240, "t": BARE},
        "showlegend": True,
    }  # fmt: skip
    what = "images" if found.task is Task.CLASSIFICATION else "objects"
    note = f"{len(rows)} of {len(found.classes)} classes changed; in brackets how many {what} each has. Few: noise."
    height = 140 + 20 * max(len(shown), len(data))  # the legend has a line a model
    return Section(heading="Classes that changed", note=note, figure=Figure(data=data, layout=layout, height=height),
                   tables=(classes_table(found),))  # fmt: skip


def _hover(row: ClassRow, number: int) -> str:
    return f"<b>{text(row.name)}</b><br>{row.values[0]:.1f} -> {row.values[number]:.1f} %"
