"""The part of the calibration report that says where noise comes from: a figure by tensor and group, two tables."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go

from furc.quantizer.noise.noise_lint import Costly
from furc.quantizer.reports.noise_report import ChannelGroup, NoiseReport, TensorNoise
from furc.quantizer.sensitivity.noise_model import decibel

SHOWN_TENSORS = 20
SHOWN_CHANNELS = 8
SHADES = ("#b3372c", "#e08a3c", "#e8c66a", "#b8c2cc")  # from narrow groups, which suffer, to the widest
WHOLE_COLOR = "#1c2733"
GROUP_NAMES = ("narrowest channels", "second group", "third group", "widest channels")
ROW_HEIGHT, EDGES_HEIGHT = 24, 140
LONGEST_LABEL = 46
CONFIG = {"displaylogo": False, "responsive": True}
NOTE = (
    "Predicted from a survey of the float model, before any split: rounding a tensor to its grid makes noise of "
    "step&sup2;/12 in every value, and a backward probe tells what that does to the outputs. Channels of a tensor are "
    "sorted by the range they need and cut into at most four groups, as a split would cut them. What is "
    "predicted above -20 dB is rounded in the float model and measured. The order is what the rest tells well; "
    "absolute figures are 3 to 7 dB too good at the top of the list (docs/accuracy.md). Alone: on a grid of its own."
)


def noise_section(noise: NoiseReport) -> str:
    """As HTML."""
    head = "<h2>Where the noise comes from</h2>"
    if not noise.tensors:
        return f'{head}<p class="note">Not known for this model: {html.escape(noise.unknown)}</p>'
    shown = noise.tensors[:SHOWN_TENSORS]
    rest = (
        f" The {len(shown)} costliest of {len(noise.tensors)} tensors are shown."
        if len(shown) < len(noise.tensors)
        else ""
    )
    return "".join((
        head, f'<p class="note">{NOTE}{rest}</p>', _figure(shown),
        "<h2>The layers that cost most, and what would help</h2>", f'<div class="wide">{_layers(noise.layers)}</div>',
        "<h2>Noise by tensor and group of channels</h2>", _groups(shown, noise.total),
    ))  # fmt: skip


def _figure(tensors: Sequence[TensorNoise]) -> str:
    """Decibels, not shares: where one tensor is all of the noise, the next ones must still be seen apart."""
    figure, places = go.Figure(), list(range(len(tensors)))
    figure.add_scatter(
        y=places, x=[decibel(tensor.noise) for tensor in tensors], name="the tensor", mode="markers",
        marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": WHOLE_COLOR}},
        hovertext=[f"{html.escape(t.tensor)}<br>{decibel(t.noise):.1f} dB" for t in tensors], hoverinfo="text",
    )  # fmt: skip
    for place, (name, shade) in enumerate(zip(GROUP_NAMES, SHADES, strict=True)):
        shown = [(i, t, g) for i, t in enumerate(tensors) if (g := _group_at(t, place)) is not None and g.noise]
        figure.add_scatter(
            y=[i for i, _, _ in shown], x=[decibel(group.noise) for _, _, group in shown], name=name, mode="markers",
            marker={"color": shade, "size": 10}, hovertext=[_hover(t, g) for _, t, g in shown], hoverinfo="text",
        )  # fmt: skip
    figure.update_layout(
        height=EDGES_HEIGHT + ROW_HEIGHT * len(tensors), margin={"t": 70, "b": 50, "l": 330},
        xaxis_title="noise at the outputs, dB of their power",
        yaxis={"tickvals": places, "ticktext": [shortened(t.tensor) for t in tensors], "autorange": "reversed"},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    )  # fmt: skip
    return wide(figure)


def wide(figure: go.Figure) -> str:
    """As HTML that scrolls on a narrow window; names of layers would leave no room for what is drawn."""
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)
    return f'<div class="wide">{drawn}</div>'


def shortened(name: str) -> str:
    """The end of a long name tells more than its beginning."""
    return html.escape(name if len(name) <= LONGEST_LABEL else f"...{name[-LONGEST_LABEL:]}")


def _group_at(tensor: TensorNoise, place: int) -> ChannelGroup | None:
    """The widest group is the last in every tensor, however many it has."""
    if place == len(GROUP_NAMES) - 1:
        return tensor.groups[-1]
    return tensor.groups[place] if place < len(tensor.groups) - 1 else None


def _hover(tensor: TensorNoise, group: ChannelGroup) -> str:
    return (
        f"{html.escape(tensor.tensor)}<br>channels {_channels(group.channels)}<br>range {group.width:.3g}, "
        f"step {tensor.step:.2g}<br>{decibel(group.noise):.1f} dB, alone {decibel(group.alone):.1f} dB"
    )


def _layers(layers: Sequence[Costly]) -> str:
    head = ("layer", "worst tensor", "share %", "noise dB", "channels", "what would help")
    rows = (
        (layer.layer, layer.tensor, f"{100 * layer.share:.1f}", f"{layer.db:.1f}", layer.channels,
         "\n".join(layer.remedies) or "no option is known to help")
        for layer in layers
    )  # fmt: skip
    return _table(head, rows, words=(0, 1, 4, 5))


def _groups(tensors: Sequence[TensorNoise], total: float) -> str:
    head = ("tensor", "layer", "channels", "range", "steps it has", "share %", "noise dB", "alone dB")
    rows = [_row(tensor, group, total) for tensor in tensors for group in tensor.groups]
    return f'<div class="scroll">{_table(head, rows, words=(0, 1, 2))}</div>'


def _row(tensor: TensorNoise, group: ChannelGroup, total: float) -> tuple[str, ...]:
    steps, share = group.width / tensor.step, 100 * group.noise / total
    numbers = (f"{group.width:.3g}", f"{steps:.0f}", f"{share:.1f}")
    noises = (f"{decibel(group.noise):.1f}", f"{decibel(group.alone):.1f}")
    return (tensor.tensor, tensor.layer, _channels(group.channels), *numbers, *noises)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[int]) -> str:
    """words: the columns that hold text, which is set to the left."""
    kinds = ["left" if place in words else "right" for place in range(len(head))]
    top = "".join(f'<th class="{kind}">{name}</th>' for kind, name in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>"
        + "".join(f'<td class="{kind}">{_cell(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    return f'<table class="dense"><tr>{top}</tr>{body}</table>'


def _cell(text: str) -> str:
    return html.escape(text).replace("\n", "<br>")


def _channels(channels: Sequence[int]) -> str:
    shown = ", ".join(str(channel) for channel in channels[:SHOWN_CHANNELS])
    return f"{shown}, ... ({len(channels)})" if len(channels) > SHOWN_CHANNELS else shown
