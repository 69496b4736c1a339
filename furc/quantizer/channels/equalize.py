"""Even out the channels of activations, by scaling weights before and after them.

    before: y = Relu(Conv(x, w1, b1));         z = Conv(y, w2)
    after:  y = Relu(Conv(x, w1 / s, b1 / s)); z = Conv(y, w2 * s)        s > 0, a number a channel of y

An int8 activation has one scale for all its channels; a channel whose values are a hundredth of another's keeps two or
three levels. Depthwise networks are full of such channels, and so are residual streams and what Concats gather. Weights
have a scale an output channel already, so that a depthwise reader takes any factor at no cost, while in a dense one the
weights of a channel that was wide become coarse for others. tied_channels.py finds what can be scaled, even_scales.py
by how much. A Clip from 0 whose upper bound no sample reached becomes a Relu where a channel in it is scaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.quantizer.channels.channel_order import is_depthwise
from furc.quantizer.channels.even_scales import even_scales
from furc.quantizer.channels.tied_channels import Layer, Tied, find_tied
from furc.quantizer.grids.operators import clip_bounds
from furc.quantizer.observe.one_pass import Seen
from furc.quantizer.optimize.fold_affine import weight_factor

Float64 = NDArray[np.float64]


def equalize(graph: Graph, seen: Mapping[str, Seen], gains: Mapping[str, Float64]) -> dict[str, Float64 | None]:
    """Scale weights in `graph`, whose results stay the same within rounding. By what the channels of each tensor are
    divided then, [channels]; None where that is not one number a channel; what is not among them stays.

    gains: what an error in the channels of each tensor does to the outputs, see sensitivity.py. Where nobody knows, an
    error counts by the channel's width.
    """
    known = gains if any(gain.any() for gain in gains.values()) else _alike(seen)
    tied = find_tied(graph, lambda clip: _is_open(graph, clip, seen))
    scale = even_scales(graph, tied, seen, known)
    rescale(graph, tied, scale)
    divided: dict[str, Float64 | None] = {name: scale[classes] for name, classes in tied.classes.items()}
    mixed = dict.fromkeys(tied.mixed)
    return {name: of for name, of in (divided | mixed).items() if of is None or (of != 1).any()}


def rescale(graph: Graph, tied: Tied, scale: Float64) -> None:
    """Divide the channels of each class by a number > 0, [classes]; that of FIXED is 1."""
    for clip in tied.clips:
        if (scale[tied.classes[clip.output]] != 1).any():
            clip.op, clip.inputs = "Relu", clip.inputs[:1]
    for layer in tied.layers:
        _rescale(graph, layer, scale[layer.reads], scale[layer.makes])
    graph.changed()
    graph.remove_dead()


def _alike(seen: Mapping[str, Seen]) -> dict[str, Float64]:
    widths = {name: np.maximum(of.high, -of.low) for name, of in seen.items()}
    return {name: np.where(width > 0, width, np.inf) ** -2.0 for name, width in widths.items()}


def _is_open(graph: Graph, clip: Node, seen: Mapping[str, Seen]) -> bool:
    bounds, of = clip_bounds(graph, clip), seen.get(clip.output)
    return bounds is not None and of is not None and float(of.high.max()) < bounds[1]


def _rescale(graph: Graph, layer: Layer, reads: Float64, makes: Float64) -> None:
    """Let a layer read what was divided by `reads`, and divide what it makes by `makes`."""
    if (reads == 1).all() and (makes == 1).all():
        return
    node, weight = layer.node, graph.constants[layer.node.inputs[1]].astype(np.float64)
    depthwise = is_depthwise(graph, node)
    factor = np.repeat(reads, weight.shape[0] // len(reads)) if depthwise else reads
    axis = 1 if node.op == "Conv" and not depthwise else 0
    read = weight * factor.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
    _replace(graph, node, 1, read * weight_factor(node, weight, 1 / makes))
    if node.input(2):
        _replace(graph, node, 2, graph.constants[node.inputs[2]] / makes)


def _replace(graph: Graph, node: Node, index: int, value: Float64) -> None:
    """Give a node a constant of its own."""
    name = node.inputs[index]
    shared = len(graph.readers(name)) > 1
    target = graph.fresh(f"{node.name or node.output}.equalized") if shared else name
    graph.constants[target] = value.astype(np.float32)
    node.inputs[index] = target
    if shared:
        graph.changed()
