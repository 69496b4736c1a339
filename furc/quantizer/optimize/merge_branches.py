"""Merge convolutions of one tensor whose results are added up into one: branches that were kept apart for training.

before: y = Add(Conv3x3(x, v, b), Conv1x1(x, w, c))      after: y = Conv3x3(x, v + w in its middle, b + c)

One of the two has to hold the other, in its kernel and in which channels read which, so that the result is no more
work than the larger was: a depthwise 1 x 1 Conv, as a BatchNormalization beside the branches becomes, goes into a dense
3 x 3 one. Leaves alone: convolutions of which something else reads the result, other strides, one channel that is added
to many, and 3 x 1 beside 1 x 3.

RepVGG (Ding et al., 2021, arXiv:2101.03697) is of such branches, as are MobileOne, FastViT and the necks of YOLOv6.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node, rewrite

Float64 = NDArray[np.float64]


class _Branch(NamedTuple):
    """weight: [outputs, inputs of one group, *kernel]. before, after: pads of each axis."""

    weight: Float64
    bias: Float64
    groups: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.weight.shape[2:]

    def read_less(self) -> tuple[int, ...]:
        """Places, along each axis, by which there are fewer results than values of the tensor, at stride 1."""
        axes = zip(self.kernel, self.dilations, self.before, self.after, strict=True)
        return tuple((k - 1) * d - before - after for k, d, before, after in axes)


def merge_branches(graph: Graph) -> None:
    rewrite(graph, _merge)
    graph.remove_dead()


def _merge(graph: Graph, node: Node) -> bool:
    convs = [graph.producer(name) for name in dict.fromkeys(node.inputs)]
    if node.op != "Add" or len(convs) != 2:
        return False
    found = [(conv, branch) for conv in convs if conv and (branch := _branch(graph, conv, node))]
    if len(found) != 2 or found[0][0].inputs[0] != found[1][0].inputs[0]:
        return False
    for (outer, wide), (inner, narrow) in (found, found[::-1]):
        merged = _together(wide, narrow)
        if merged is not None:
            _put(graph, outer, merged)
            outer.outputs = [node.output]
            graph.remove([inner, node])
            return True
    return False


def _put(graph: Graph, conv: Node, merged: _Branch) -> None:
    stem = conv.name or conv.output
    weight, bias = (of.astype(np.float32) for of in (merged.weight, merged.bias))
    names = [graph.add_constant(f"{stem}.weight", weight), graph.add_constant(f"{stem}.bias", bias)]
    conv.inputs = [conv.inputs[0], *names]


def _branch(graph: Graph, conv: Node, into: Node) -> _Branch | None:
    """A convolution whose result nothing else reads."""
    if conv.op != "Conv" or graph.only_reader(conv.output) is not into:
        return None
    weight, bias = graph.constants.get(conv.input(1)), graph.constants.get(conv.input(2))
    if weight is None or (conv.input(2) and bias is None) or conv.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    axes = weight.ndim - 2
    ones, pads = (1,) * axes, tuple(conv.get("pads", [0] * 2 * axes))
    return _Branch(
        weight.astype(np.float64),
        np.zeros(len(weight)) if bias is None else bias.astype(np.float64),
        int(conv.get("group", 1)),
        tuple(conv.get("strides", ones)),
        tuple(conv.get("dilations", ones)),
        pads[:axes],
        pads[axes:],
    )


def _together(outer: _Branch, inner: _Branch) -> _Branch | None:
    """Both in the form of the outer one, or None where that cannot hold the inner one."""
    if len(outer.weight) != len(inner.weight):  # an Add repeats the one channel of one of them
        return None
    if outer.strides != inner.strides or outer.read_less() != inner.read_less() or inner.groups % outer.groups:
        return None
    within = list[slice]()
    for axis, taps in enumerate(inner.kernel):
        first, apart = divmod(outer.before[axis] - inner.before[axis], outer.dilations[axis])
        if apart or first < 0 or first + taps > outer.kernel[axis]:
            return None
        if taps > 1 and outer.dilations[axis] != inner.dilations[axis]:
            return None
        within.append(slice(first, first + taps))
    weight = outer.weight.copy()
    outputs, reads = len(weight), inner.weight.shape[1]
    for output in range(outputs):
        first = output // (outputs // inner.groups) * reads % weight.shape[1]
        weight[output, first : first + reads][:, *within] += inner.weight[output]
    return outer._replace(weight=weight, bias=outer.bias + inner.bias)
