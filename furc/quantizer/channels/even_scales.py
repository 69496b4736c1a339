"""By what each class of channels is divided so that the noise of all grids together becomes least, as predicted.

A tensor's grid has the step of its widest channels and costs step^2 / 12 times the gains of its channels
(noise_model.py); divided by s, a channel is narrower by s and its gain s^2 as large. A layer's weights have a step an
output channel, that of the largest product of a weight and its column's scale; their noise counts by the variance of
what they multiply, since its mean goes into the bias. A class that is too narrow for all of its tensors gets a smaller
scale until what it would cost to be wider, in weights and in the steps of its tensors, is what it would save. A class
that begins in a tensor of which a few values were seen, or has most of its noise in such, keeps its scale: what was
narrow in a few images may be wide in the next, and be cut off by a grid that it was made to fill.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Float32, Graph, Node
from furc.quantizer.channels.channel_order import is_depthwise
from furc.quantizer.channels.tied_channels import FIXED, Labels, Layer, Tied
from furc.quantizer.grids.affine import STEPS, WEIGHT_HIGH
from furc.quantizer.grids.operators import fused_clamp
from furc.quantizer.observe.one_pass import Seen
from furc.quantizer.ranges.weighted_calibration import free_tensors

Float64 = NDArray[np.float64]
Floats = TypeVar("Floats", Float32, Float64)
ROUNDS = 8
SQUARINGS = 3
SHARPNESS = (
    2**SQUARINGS
)  # the widest channel is found by a mean of this power: all that are nearly as wide must shrink with it
PACE = 1 / (SHARPNESS + 2)  # of a class's logarithm: one round undoes an imbalance where one tensor decides
NARROWEST = 1e-3  # of a tensor's width: a channel that hardly ever is anything but 0 must not be blown up without bound
LARGEST = 1e4  # scale, either way
MEANS = 2048  # values of a channel from which its variance is told


class _Tensor(NamedTuple):
    """One grid. low, high: how far each channel reaches to either side of 0. classes, low, high, gain: [channels]."""

    classes: Labels
    low: Float64
    high: Float64
    gain: Float64

    def costs(self, scale: Float64) -> tuple[Float64, Float64]:
        """By channel: the noise that it has, and the noise of the tensor that it is to blame for by its width."""
        mine = scale[self.classes]
        low, high = self.low / mine, self.high / mine
        width = max(low.max() + high.max(), 1e-30)
        noise = (width / STEPS) ** 2 / 12 * self.gain * mine**2
        blame = (low.max() * _shares(low) + high.max() * _shares(high)) / width
        return noise, noise.sum() * blame


class _Weights(NamedTuple):
    """largest: of each output's weights by input channel, [outputs, channels]. gain: of outputs.

    power: of what rounding errors in the weights of a channel are multiplied by, over all taps.
    """

    classes: Labels
    largest: Float32
    gain: Float64
    power: Float64

    def costs(self, scale: Float64) -> tuple[Float64, Float64]:
        """By channel: the noise of its weights, and that of all weights that it is to blame for by its own."""
        mine = scale[self.classes]
        widths = self.largest * mine.astype(np.float32)
        counted = self.gain * (widths.max(1).astype(np.float64) / WEIGHT_HIGH) ** 2 / 12
        power = self.power / mine**2
        return power * counted.sum(), power.sum() * (counted.astype(np.float32) @ _shares(widths))


def even_scales(graph: Graph, tied: Tied, seen: Mapping[str, Seen], gains: Mapping[str, Float64]) -> Float64:
    """The divisor of each class, [classes]; that of FIXED is 1. gains: of channels, see sensitivity.py."""
    free = free_tensors(graph)
    found = {n: _tensor(tied.classes[n], seen[n], gains[n]) for n in tied.classes if n in free and n in gains}
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    parts: list[_Tensor | _Weights] = list(tensors.values())
    parts += [weights for layer in tied.layers if (weights := _weights(graph, layer, seen, gains)) is not None]
    rare = {name for name, of in seen.items() if of.is_rare}
    kept = [FIXED, *_begun_in(graph, tied, rare), *_mostly_in(tensors, rare, tied.count)]
    logarithm, scale = np.zeros(tied.count), np.ones(tied.count)
    best, least = scale, np.inf
    for _ in range(ROUNDS if parts else 0):
        wider, narrower, total = np.full(tied.count, 1e-30), np.full(tied.count, 1e-30), 0.0
        for part in parts:
            noise, blame = part.costs(scale)
            total += float(noise.sum())
            np.add.at(narrower, part.classes, noise if isinstance(part, _Tensor) else blame)
            np.add.at(wider, part.classes, blame if isinstance(part, _Tensor) else noise)
        if total < least:
            best, least = scale, total
        logarithm += PACE * np.log(wider / narrower)
        logarithm[kept] = 0
        scale = np.clip(np.exp(logarithm), 1 / LARGEST, LARGEST)
    return best


def _begun_in(graph: Graph, tied: Tied, rare: Collection[str]) -> list[int]:
    """Classes that begin in a layer which makes one of these tensors."""
    layers = [layer for layer in tied.layers if _stored(graph, layer.node) in rare]
    return [number for layer in layers for number in layer.makes.tolist()]


def _mostly_in(tensors: Mapping[str, _Tensor], rare: Collection[str], count: int) -> list[int]:
    """Classes most of whose noise is that of these tensors, as of a last map that only a global pool reads."""
    of_all, of_rare = np.zeros(count), np.zeros(count)
    for name, tensor in tensors.items():
        noise, _ = tensor.costs(np.ones(count))
        for total in (of_all, of_rare) if name in rare else (of_all,):
            np.add.at(total, tensor.classes, noise)
    return list(np.flatnonzero(of_rare > of_all / 2))


def _stored(graph: Graph, node: Node) -> str:
    """What is stored of a layer's result: the result, or that of the clamp which alone reads it."""
    clamp = fused_clamp(graph, node)
    return node.output if clamp is None else clamp.output


def _tensor(classes: Labels, seen: Seen, gain: Float64) -> _Tensor | None:
    if not classes.any() or not len(classes) == len(seen.low) == len(gain):
        return None
    low, high = np.maximum(-seen.low, 0.0), np.maximum(seen.high, 0.0)
    least = NARROWEST * max(low.max(), high.max())
    return _Tensor(classes, low, np.where(np.maximum(low, high) < least, least, high), gain)


def _weights(graph: Graph, layer: Layer, seen: Mapping[str, Seen], gains: Mapping[str, Float64]) -> _Weights | None:
    """Of a layer whose columns share a step. Those of a depthwise convolution do not."""
    node, weight = layer.node, graph.constants[layer.node.inputs[1]]
    gain, of = gains.get(_stored(graph, node)), seen.get(node.inputs[0])
    if gain is None or of is None or not layer.reads.any() or is_depthwise(graph, node):
        return None
    if len(of.low) != len(layer.reads) or len(gain) != len(layer.makes):
        return None
    largest = np.abs(weight).max(axis=tuple(range(2, weight.ndim)))
    power = of.joined(MEANS).var(1, dtype=np.float64) * weight[0, 0].size
    by_output = largest if node.op == "Conv" else largest.T
    return _Weights(layer.reads, by_output, gain, power)


def _shares(widths: Floats) -> Floats:
    """How much each entry along the last axis decides about the largest; they add to 1, or 0 where all are 0."""
    shares: Floats = widths / np.maximum(widths.max(-1, keepdims=True), 1e-30)
    for _ in range(SQUARINGS):
        shares *= shares
    shares /= np.maximum(shares.sum(-1, keepdims=True), 1e-30)
    return shares
