"""Even out the channels of an activation, by scaling weights before and after it.

    before: y = Relu(Conv(x, w1, b1));         z = Conv(y, w2)
    after:  y = Relu(Conv(x, w1 / s, b1 / s)); z = Conv(y, w2 * s)        s > 0, a number a channel of y

An int8 activation has one scale for all its channels; a channel whose values are a hundredth of another's keeps two or
three levels. Depthwise networks are full of such channels. Weights already have a scale an output channel, so where the
reader is depthwise every channel is brought to the full range at no cost; else to the square root of what is missing,
since the reader's weights take over what the activation loses. Holds for Relu, LeakyRelu and nothing between, and for a
Clip from 0 whose upper bound no sample reached, which becomes Relu. Leaves alone: activations with another reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.quantizer.float_run import Feed, FloatRun
from furc.quantizer.optimize.fold_affine import weight_factor
from furc.quantizer.optimize.plain_ops import clip_bounds

HOMOGENEOUS = {"Relu", "LeakyRelu"}
LARGEST_STEP = 1e4  # a channel that hardly ever is anything but 0 must not be blown up without bound
SWEEPS = 2  # a layer's output channels are the next one's inputs, so one sweep unsettles the sweep before
Float64 = NDArray[np.float64]


class Pair(NamedTuple):
    """first -> (between) -> second, along one activation."""

    first: Node
    between: Node | None
    second: Node

    @property
    def activation(self) -> str:
        return (self.between or self.first).output


def equalize(graph: Graph, samples: Sequence[Feed]) -> int:
    """Scale weights in `graph`, whose results stay the same within rounding. How many activations were evened out."""
    pairs = find_pairs(graph)
    if not pairs or not samples:
        return 0
    return len(equalize_by(graph, _channel_magnitudes(graph, [pair.activation for pair in pairs], samples)))


def equalize_by(graph: Graph, magnitudes: Mapping[str, Float64]) -> list[tuple[Pair, Float64]]:
    """As `equalize`, by magnitudes of channels that are known: [channels] of each activation. What was evened out, and
    what its channels were divided by; what is not among them stays."""
    pairs = [pair for pair in find_pairs(graph) if pair.activation in magnitudes]
    usable = [pair for pair in pairs if _open_clip(graph, pair, magnitudes[pair.activation])]
    magnitude = dict(magnitudes)
    divided = {pair.activation: np.ones(magnitude[pair.activation].shape) for pair in usable}
    for _ in range(SWEEPS):
        for pair in usable:
            scale = _scales(graph, pair, magnitude[pair.activation])
            rescale(graph, pair, scale)
            magnitude[pair.activation] = magnitude[pair.activation] / scale
            divided[pair.activation] = divided[pair.activation] * scale
    graph.remove_dead()
    return [(pair, divided[pair.activation]) for pair in usable]


def find_pairs(graph: Graph) -> list[Pair]:
    """All activations that can be evened out, as far as the graph tells."""
    return [pair for node in graph.nodes if (pair := _pair(graph, node)) is not None]


def _pair(graph: Graph, first: Node) -> Pair | None:
    if first.op != "Conv" or not _has_constants(graph, first):
        return None
    reader, between = graph.only_reader(first.output), None
    if reader is not None and (reader.op in HOMOGENEOUS or reader.op == "Clip"):
        between, reader = reader, graph.only_reader(reader.output)
    if reader is None or reader.op != "Conv" or not _has_constants(graph, reader):
        return None
    source = (between or first).output
    if reader.inputs[0] != source or reader.inputs.count(source) != 1:
        return None
    channels = graph.constants[first.inputs[1]].shape[0]
    group = int(reader.get("group", 1))
    return Pair(first, between, reader) if group in (1, channels) else None


def _has_constants(graph: Graph, node: Node) -> bool:
    weight = graph.constants.get(node.input(1))
    plain = weight is not None and weight.dtype == np.float32
    return plain and (not node.input(2) or node.input(2) in graph.constants)


def _channel_magnitudes(graph: Graph, names: Sequence[str], samples: Sequence[Feed]) -> dict[str, Float64]:
    """The largest magnitude in each channel (axis 1) over the samples."""
    run = FloatRun(graph.model(), names, layouts=True)
    found: dict[str, Float64] = {}
    for feed in samples:
        for name, values in run(feed).items():
            planes = values.reshape(*values.shape[:2], -1)  # NumPy is fast along one axis, the last
            ends = np.maximum(planes.max(2, initial=0.0), -planes.min(2, initial=0.0))
            largest = ends.max(0, initial=0.0).astype(np.float64)
            found[name] = np.maximum(found.get(name, 0.0), largest)
    return found


def _open_clip(graph: Graph, pair: Pair, magnitude: Float64) -> bool:
    """Whether scaling commutes with what stands between. A Clip that never cut is made a Relu."""
    if pair.between is None or pair.between.op != "Clip":
        return True
    bounds = clip_bounds(graph, pair.between)
    if bounds is None or bounds[0] != 0 or magnitude.max(initial=0.0) >= bounds[1]:
        return False
    pair.between.op, pair.between.inputs = "Relu", pair.between.inputs[:1]
    graph.changed()
    return True


def _scales(graph: Graph, pair: Pair, magnitude: Float64) -> Float64:
    """By what each channel of the activation is divided."""
    largest = magnitude.max(initial=0.0)
    if largest == 0:
        return np.ones(magnitude.shape)
    share: Float64 = np.clip(magnitude / largest, 1 / LARGEST_STEP, 1.0)
    if int(pair.second.get("group", 1)) == len(magnitude):
        return share
    weight = graph.constants[pair.second.inputs[1]]
    read = np.abs(weight).max(axis=(0, *range(2, weight.ndim)), initial=0.0).astype(np.float64)
    read = np.clip(read / max(read.max(initial=0.0), 1e-30), 1 / LARGEST_STEP, 1.0)
    scale = np.sqrt(share / read)
    balanced: Float64 = scale * ((magnitude / scale).max() / largest)  # the tensor keeps its range
    return balanced


def rescale(graph: Graph, pair: Pair, scale: Float64) -> None:
    """Divide the channels of a pair's activation by `scale` [channels], and let its reader multiply by it."""
    first, second = pair.first, pair.second
    weight = graph.constants[first.inputs[1]].astype(np.float64)
    _replace(graph, first, 1, weight * weight_factor(first, weight, 1 / scale))
    if first.input(2):
        _replace(graph, first, 2, graph.constants[first.inputs[2]] / scale)
    weight = graph.constants[second.inputs[1]].astype(np.float64)
    depthwise = int(second.get("group", 1)) == len(scale)
    factor = np.repeat(scale, weight.shape[0] // len(scale)) if depthwise else scale
    shape = [-1 if axis == (0 if depthwise else 1) else 1 for axis in range(weight.ndim)]
    _replace(graph, second, 1, weight * factor.reshape(shape))


def _replace(graph: Graph, node: Node, index: int, value: NDArray[np.float64]) -> None:
    """Give a node a constant of its own."""
    name = node.inputs[index]
    shared = len(graph.readers(name)) > 1
    target = graph.fresh(f"{node.name or node.output}.equalized") if shared else name
    graph.constants[target] = value.astype(np.float32)
    node.inputs[index] = target
    if shared:
        graph.changed()


def spread(magnitudes: Mapping[str, Float64]) -> dict[str, float]:
    """Of each activation, how many times the largest channel is the median one. For reports."""
    return {
        name: float(m.max(initial=0.0) / max(float(np.median(m)), 1e-30)) for name, m in magnitudes.items() if m.size
    }
