"""Warnings by consequence: which tensors bring most noise into the outputs, through which channels, and what helps."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.quantizer.channels.split_plan import LEAST_GAIN_DB, SplitChoice, all_choices, priced, whole
from furc.quantizer.channels.split_price import LatencyPrice
from furc.quantizer.grids.operators import LINEAR
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.noise.keep_float import Island, island
from furc.quantizer.noise.warning import LintWarning
from furc.quantizer.sensitivity.gains import Channels
from furc.quantizer.sensitivity.noise_model import Spread, activation_noise, decibel
from isa.errors import NOWHERE, Loc

CONSEQUENTIAL_DB = -25.0  # of the outputs' power: a layer that costs less is not worth a warning
MOST_LINES = 10
MOST_CHANNELS = 8
SUFFERING = 0.9  # of a tensor's noise, which the channels that are named bear
AUTO_MAY = "auto tries other ranges"
WIDE = 0.5  # of the tensor's range, which a channel must fill to be what makes the steps large


@dataclass(frozen=True, slots=True)
class Costly:
    """A layer whose grids cost much. layer: its name. tensor: its worst. share: of the predicted output noise. db: in
    parts of the outputs' power. channels: which suffer beside which. remedies: what options would bring."""

    layer: str
    tensor: str
    step: float
    share: float
    db: float
    channels: str
    remedies: tuple[str, ...]
    at: Loc

    def finding(self, otherwise: str) -> LintWarning:
        """As a warning. otherwise: the advice where no option is known to help."""
        share = f"{100 * self.share:.0f}%" if self.share >= 0.01 else "less than 1%"
        message = (
            f"{self.layer}: rounding '{self.tensor}' to steps of {self.step:.2g} costs {share} of the "
            f"predicted output noise ({self.db:.1f} dB): {self.channels}"
        )
        return LintWarning("OutputNoise", self.tensor, message, "; ".join(self.remedies) or otherwise, self.at)


def noise_findings(
    graph: Graph,
    tensors: Mapping[str, Channels],
    price: LatencyPrice | None = None,
    otherwise: str = AUTO_MAY,
    splits: Sequence[SplitChoice] | None = None,
) -> list[LintWarning]:
    """Warnings of the layers whose grids cost most, the worst first. tensors: see `survey`. splits: those that were
    made; None where nobody asked for any, so that they may help."""
    return [layer.finding(otherwise) for layer in costly_layers(graph, tensors, price, splits=splits)]


def costly_layers(
    graph: Graph,
    tensors: Mapping[str, Channels],
    price: LatencyPrice | None = None,
    least_db: float = CONSEQUENTIAL_DB,
    splits: Sequence[SplitChoice] | None = None,
) -> list[Costly]:
    """The layers whose grids cost most, the worst first. tensors: see `survey`. least_db: what costs less is left out,
    by default what deserves no warning. splits: see `noise_findings`."""
    rounded = rounded_tensors(graph)
    spreads = activation_noise(graph, {name: c for name, c in tensors.items() if name in rounded})
    parts, costly = whole(splits or ()), dict[Hashable, list[str]]()
    for name in sorted(spreads, key=lambda name: -spreads[name].noise()):
        if decibel(spreads[name].noise()) > least_db:
            layer = parts.get(label_of(graph, name), id(_layer_of(graph, name)))
            costly.setdefault(layer, []).append(name)
    if not costly:
        return []
    choices = all_choices(graph, tensors) if splits is None else []
    remedies = _Remedies(graph, spreads, choices, price, parts)
    return [_costly(graph, names, spreads, remedies) for names in list(costly.values())[:MOST_LINES]]


def label_of(graph: Graph, name: str) -> str:
    """The name of the layer that a tensor belongs to."""
    layer = _layer_of(graph, name)
    return (layer.name or layer.output) if layer is not None else name


def _layer_of(graph: Graph, name: str) -> Node | None:
    """The layer that a tensor belongs to: its own node, or that before an activation function."""
    node = graph.producer(name)
    while node is not None and node.op not in LINEAR:
        before = {id(p): p for n in node.inputs if (p := graph.producer(n)) is not None}
        if len(before) == 2 and node.op == "Mul":  # x * f(x)
            first, second = before.values()
            source = first if first.output in second.inputs else second if second.output in first.inputs else None
            before = {id(source): source} if source is not None else before
        if len(before) != 1 or node.op in ("Concat", "Add", "MaxPool"):
            return node
        node = next(iter(before.values()))
    return node


def _costly(
    graph: Graph,
    names: list[str],
    spreads: Mapping[str, Spread],
    remedies: _Remedies,
) -> Costly:
    spread, layer = spreads[names[0]], _layer_of(graph, names[0])
    total = sum(s.noise() for s in spreads.values())
    mine = sum(spreads[name].noise() for name in names)
    share = mine / total if total else 0.0
    return Costly(
        remedies.label(names[0]), names[0], spread.step(), share, decibel(mine), _channels(spread),
        tuple(remedies.of(layer, names)), layer.loc if layer is not None else NOWHERE,
    )  # fmt: skip


def _channels(spread: Spread) -> str:
    """Which channels make the steps large, and which bear the noise."""
    width = np.maximum(spread.high, 0) - np.minimum(spread.low, 0)
    wide = np.flatnonzero(width >= WIDE * width.max(initial=0.0))
    order = np.argsort(-spread.by_channel(), kind="stable")
    share = np.cumsum(spread.by_channel()[order])
    bearing = order[: int(np.searchsorted(share, SUFFERING * share[-1])) + 1]
    narrow = float(np.median(width[bearing])) if bearing.size else 0.0
    return f"channels {_list(bearing)} span {narrow:.2g} beside {_list(wide)} with {width.max(initial=0.0):.3g}"


def _list(channels: NDArray[np.intp]) -> str:
    shown = ", ".join(str(c) for c in sorted(channels.tolist())[:MOST_CHANNELS])
    return f"{shown}, ... ({channels.size})" if channels.size > MOST_CHANNELS else shown


@dataclass(frozen=True, slots=True)
class _Remedies:
    """What the options would bring. choices: splits that may still be made, what gains most first. whole: the names
    that layers had before they were split, by those of their parts."""

    graph: Graph
    spreads: Mapping[str, Spread]
    choices: Sequence[SplitChoice]
    price: LatencyPrice | None
    whole: Mapping[str, str]

    def of(self, layer: Node | None, names: Sequence[str]) -> list[str]:
        """For a layer and its costly tensors; nothing where no option is known to help."""
        found = []
        for choice in self.choices:
            if choice.chain.head is layer and set(names) & set(choice.chain.inner()):
                price = self.price
                found.append(f"--split: {choice if price is None else priced(self.graph, choice, price)}")
                break
        readers = [r for name in names for r in self.graph.readers(name) if r.op in ("Conv", "ConvTranspose", "Gemm")]
        if layer is not None and readers:
            kept = list(dict.fromkeys(self._name(node) for node in (layer, *readers)))
            parts = [node for node in self.graph.nodes if self._name(node) in kept]
            found += self._in_float(island(self.graph, parts, self.spreads, kept))
        return found

    def label(self, tensor: str) -> str:
        """The layer that a tensor belongs to, as the user calls it."""
        name = label_of(self.graph, tensor)
        return self.whole.get(name, name)

    def _in_float(self, promised: Island) -> list[str]:
        """Nothing where it would bring nothing, or the layers are to read an input of integers."""
        integers = self.price is not None and self.price.input_dtype != "float32"
        refused = promised.at_input and integers
        return [] if refused or promised.gain_db < LEAST_GAIN_DB else [str(promised)]

    def _name(self, node: Node) -> str:
        name = node.name or node.output
        return self.whole.get(name, name)
