"""The part of the calibration report that says where noise comes from: a figure by tensor and group, two tables."""

from __future__ import annotations

from collections.abc import Sequence

from furc.quantizer.noise.findings import Costly
from furc.quantizer.reports.noise_report import ChannelGroup, NoiseReport, TensorNoise
from furc.quantizer.sensitivity.noise_model import decibel
from furc.report.page import LEGEND_ABOVE, Figure, Section, text
from furc.report.tables import Column, Table

SHOWN_TENSORS = 20
SHOWN_CHANNELS = 8
SHADES = ("#b3372c", "#e08a3c", "#e8c66a", "#b8c2cc")  # from narrow groups, which suffer, to the widest
WHOLE_COLOR = "#1c2733"
GROUP_NAMES = ("narrowest channels", "second group", "third group", "widest channels")
ROW_HEIGHT, EDGES_HEIGHT = 24, 140
LONGEST_LABEL = 46
BARS_LEFT = 330  # pixels for the names of tensors
LAYER_COLUMNS = (
    Column("layer", long=True), Column("worst tensor", long=True), Column("share %", right=True),
    Column("noise dB", right=True), Column("channels", long=True), Column("what would help", long=True),
)  # fmt: skip
GROUP_COLUMNS = (
    Column("tensor", long=True), Column("layer", long=True), Column("channels", long=True), Column("range", right=True),
    Column("steps it has", right=True), Column("share %", right=True), Column("noise dB", right=True),
    Column("alone dB", right=True),
)  # fmt: skip
NOTE = (
    "Predicted from a survey of the float model, before any split: rounding a tensor to its grid makes noise of "
    "step²/12 in every value, and a backward probe tells what that does to the outputs. Channels of a tensor are "
    "sorted by the range they need and cut into at most four groups, as a split would cut them. What is "
    "predicted above -20 dB is rounded in the float model and measured. The order is what the rest tells well; "
    "absolute figures are 3 to 7 dB too good at the top of the list (docs/experiments.md). Alone: on a grid of its own."
)


def noise_sections(noise: NoiseReport) -> list[Section]:
    """As sections of the page."""
    heading = "Where the noise comes from"
    if not noise.tensors:
        return [Section(heading=heading, note=f"Not known for this model: {noise.unknown}")]
    shown = noise.tensors[:SHOWN_TENSORS]
    all_shown = len(shown) == len(noise.tensors)
    rest = "" if all_shown else f" The {len(shown)} costliest of {len(noise.tensors)} tensors are shown."
    return [
        Section(heading=heading, note=NOTE + rest, figure=_figure(shown)),
        Section(heading="The layers that cost most, and what would help", tables=[_layers(noise.layers)]),
        Section(heading="Noise by tensor and group of channels", tables=[_groups(shown, noise.total)]),
    ]


def _figure(tensors: Sequence[TensorNoise]) -> Figure:
    """Decibels, not shares: where one tensor is all of the noise, the next ones must still be seen apart."""
    places = list(range(len(tensors)))
    data: list[dict[str, object]] = [
        {
            "type": "scatter", "y": places, "x": [decibel(tensor.noise) for tensor in tensors], "name": "the tensor",
            "mode": "markers", "hoverinfo": "text",
            "marker": {"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": WHOLE_COLOR}},
            "hovertext": [f"{text(tensor.tensor)}<br>{decibel(tensor.noise):.1f} dB" for tensor in tensors],
        }
    ]  # fmt: skip
    for place, (name, shade) in enumerate(zip(GROUP_NAMES, SHADES, strict=True)):
        shown = [(i, t, g) for i, t in enumerate(tensors) if (g := _group_at(t, place)) is not None and g.noise]
        data.append({
            "type": "scatter", "y": [i for i, _, _ in shown], "x": [decibel(group.noise) for _, _, group in shown],
            "name": name, "mode": "markers", "marker": {"color": shade, "size": 10}, "hoverinfo": "text",
            "hovertext": [_hover(t, g) for _, t, g in shown],
        })  # fmt: skip
    layout: dict[str, object] = {
        "margin": {"t": 70, "b": 50, "l": BARS_LEFT},
        "xaxis": {"title": {"text": "noise at the outputs, dB of their power"}},
        "yaxis": {"tickvals": places, "ticktext": [shortened(t.tensor) for t in tensors], "autorange": "reversed"},
        "legend": LEGEND_ABOVE,
    }  # fmt: skip
    return Figure(data=data, layout=layout, height=EDGES_HEIGHT + ROW_HEIGHT * len(tensors))


def shortened(name: str) -> str:
    """For an axis: the end of a long name tells more than its beginning."""
    return text(name if len(name) <= LONGEST_LABEL else f"...{name[-LONGEST_LABEL:]}")


def _group_at(tensor: TensorNoise, place: int) -> ChannelGroup | None:
    """The widest group is the last in every tensor, however many it has."""
    if place == len(GROUP_NAMES) - 1:
        return tensor.groups[-1]
    return tensor.groups[place] if place < len(tensor.groups) - 1 else None


def _hover(tensor: TensorNoise, group: ChannelGroup) -> str:
    return (
        f"{text(tensor.tensor)}<br>channels {_channels(group.channels)}<br>range {group.width:.3g}, "
        f"step {tensor.step:.2g}<br>{decibel(group.noise):.1f} dB, alone {decibel(group.alone):.1f} dB"
    )


def _layers(layers: Sequence[Costly]) -> Table:
    rows = tuple(
        (layer.layer, layer.tensor, f"{100 * layer.share:.1f}", f"{layer.db:.1f}", layer.channels,
         "; ".join(layer.remedies) or "no option is known to help")
        for layer in layers
    )  # fmt: skip
    return Table(columns=LAYER_COLUMNS, rows=rows)


def _groups(tensors: Sequence[TensorNoise], total: float) -> Table:
    rows = tuple(_row(tensor, group, total) for tensor in tensors for group in tensor.groups)
    return Table(columns=GROUP_COLUMNS, rows=rows)


def _row(tensor: TensorNoise, group: ChannelGroup, total: float) -> tuple[str, ...]:
    steps = group.width / tensor.step if tensor.step else 0.0  # of nothing but zeros
    share = 100 * group.noise / total if total else 0.0
    numbers = (f"{group.width:.3g}", f"{steps:.0f}", f"{share:.1f}")
    noises = (f"{decibel(group.noise):.1f}", f"{decibel(group.alone):.1f}")
    return (tensor.tensor, tensor.layer, _channels(group.channels), *numbers, *noises)


def _channels(channels: Sequence[int]) -> str:
    shown = ", ".join(str(channel) for channel in channels[:SHOWN_CHANNELS])
    return f"{shown}, ... ({len(channels)})" if len(channels) > SHOWN_CHANNELS else shown
