"""What single output values of a layer are made from: patches of its input, beside rows of its weights.

A value of Conv or Gemm is a row of weights times a patch of the input: of Conv the taps of one kernel in the channels
of one group, of Gemm a row of the input.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph, Node


def has_patches(graph: Graph, node: Node) -> bool:
    """Whether a layer is a Conv of maps or a Gemm whose patches can be cut out here."""
    weight = graph.constants.get(node.input(1))
    if weight is None:
        return False
    if node.op == "Gemm":
        return not node.get("transA", 0) and node.get("alpha", 1.0) == node.get("beta", 1.0) == 1.0
    return node.op == "Conv" and weight.ndim == 4 and node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def weight_rows(node: Node, weight: Array) -> Array:
    """Weights as [outputs, inputs of one output value]."""
    if node.op == "Gemm":
        return weight if node.get("transB", 0) else weight.T
    return weight.reshape(weight.shape[0], -1)


def from_rows(node: Node, rows: Array, shape: Sequence[int]) -> Float32:
    """Weights of this shape again: the inverse of `weight_rows`."""
    turned = rows.reshape(shape) if node.op == "Conv" or node.get("transB", 0) else rows.T
    return np.ascontiguousarray(turned, np.float32)


class Patches:
    """Cuts patches out of what a layer reads. Of a batch, out of its first image.

    taps: how many neighbours in a patch belong to one input channel. groups: of channels, each with rows of its own.
    """

    def __init__(self, node: Node, shape: Sequence[int]) -> None:
        """shape: of the weights."""
        self.taps = math.prod(shape[2:]) if node.op == "Conv" else 1
        self.groups = int(node.get("group", 1)) if node.op == "Conv" else 1
        self._maps, self._kernel = node.op == "Conv", tuple(shape[2:])
        self._pads = node.get("pads", [0, 0, 0, 0]) if node.get("auto_pad", "NOTSET") == "NOTSET" else [0, 0, 0, 0]
        self._strides, self._dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])

    def count(self, x: Array) -> int:
        """How many there are."""
        return math.prod(self._extents(x.shape[2:])) if self._maps else len(x)

    def at(self, x: Array, places: NDArray[np.intp]) -> Float32:
        """Those of some places of the layer's results: [groups, inputs of one value, places]."""
        if not self._maps:
            return np.ascontiguousarray(x[places].T[None], np.float32)
        padded = _padded(x[0], self._pads)
        channels, _, wide = padded.shape
        (kh, kw), (sh, sw), (dh, dw) = self._kernel, self._strides, self._dilations
        _, columns = self._extents(x.shape[2:])
        first = (places // columns) * (sh * wide) + (places % columns) * sw
        within = (np.arange(kh)[:, None] * (dh * wide) + np.arange(kw) * dw).reshape(-1, 1)
        picked = np.take(padded.reshape(channels, -1), within + first, axis=1)  # [channels, taps, places]
        return np.asarray(picked.reshape(self.groups, -1, len(places)), np.float32)

    def _extents(self, extents: Sequence[int]) -> list[int]:
        """Of the result, for those of the input."""
        axes = zip(extents, self._kernel, self._strides, self._dilations, self._pads[:2], self._pads[2:], strict=True)
        return [(low + size + high - (d * (k - 1) + 1)) // s + 1 for size, k, s, d, low, high in axes]


def _padded(maps: Array, pads: Sequence[int]) -> Array:
    """[channels, height, width] between zeros; np.pad takes ten times as long for small maps."""
    top, left, bottom, right = pads
    if not any(pads):
        return maps
    channels, height, width = maps.shape
    padded = np.zeros((channels, top + height + bottom, left + width + right), maps.dtype)
    padded[:, top : top + height, left : left + width] = maps
    return padded
