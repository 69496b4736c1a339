"""Two profiles compared, as one HTML file."""

from __future__ import annotations

from dataclasses import replace

from furc.profiling.diff import Diff, Layer
from furc.report.diff_table import host_table, layer_table, plus, title, totals_table, why
from furc.report.page import BARE, Figure, Section, page, text
from furc.report.tables import count, nodes

SHOWN_LAYERS = 30
FASTER, SLOWER = "#2f9e8f", "#c9513f"


def diff_html(diff: Diff) -> str:
    """The text of the file."""
    before, after = (run.totals["latency_ms"] for run in (diff.before, diff.after))
    return page(
        f"{title(diff)}: {before:.3f} -> {after:.3f} ms",
        (
            Section(tables=(replace(totals_table(diff), title=""),)),
            Section(
                heading="Layers by change",
                note=f"The {SHOWN_LAYERS} largest, in cycles of the run: each cycle is counted once, for the operator "
                f"that the run waits for. Of no operator, while no engine works: {plus(diff.rest.change.run_cycles)}.",
                figure=_changes(diff),
            ),
            Section(
                heading="Layers on the NPU",
                note="A layer is all operators of either run that share nodes of the model. Why: what of its work "
                "changed, which other engines may hide; what bounds it.",
                tables=(layer_table(diff),),
            ),
            Section(heading="Operators on the host", tables=(host_table(diff),)),
        ),
    )


def _changes(diff: Diff) -> Figure:
    layers = [layer for layer in diff.layers if round(layer.change.run_cycles)][:SHOWN_LAYERS]
    changes = [layer.change.run_cycles for layer in layers]
    data: list[dict[str, object]] = [
        {
            "type": "bar", "orientation": "h", "x": [round(change, 1) for change in changes],
            "y": [_label(index, layer) for index, layer in enumerate(layers)], "hoverinfo": "text",
            "hovertext": [_hover(layer) for layer in layers],
            "marker": {"color": [FASTER if change < 0 else SLOWER for change in changes]},
        }
    ]  # fmt: skip
    layout: dict[str, object] = {
        "xaxis": {"title": {"text": "cycles, after less before"}, "zeroline": True}, "margin": {"l": 420, "t": BARE},
        "yaxis": {"autorange": "reversed", "tickfont": {"size": 11}},
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=140 + 20 * len(layers))


def _label(index: int, layer: Layer) -> str:
    """Unique, for it names a bar; the end of long node names is what tells them apart."""
    name = nodes(layer.name[:1])
    return f"{text(name if len(name) <= 56 else '…' + name[-55:])} #{index + 1}"


def _hover(layer: Layer) -> str:
    before, after = layer.before.amounts.run_cycles, layer.after.amounts.run_cycles
    return f"<b>{text(nodes(layer.name))}</b><br>{count(before)} -> {count(after)} cycles<br>{text(why(layer))}"
