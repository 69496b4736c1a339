"""Which channels of a model can be scaled by a factor of their own, and which only by one that they share.

    y = Relu(Conv(x, w));   z = Concat(y, q);   u = shuffled(z) + r;   v = MaxPool(u);   Conv(v, ...)

Where a row of w is divided by s > 0, so is a channel of y and z, and one of u and v if r is divided too; the columns of
the last convolution take it back. So every row of a convolution begins a class of channels with one scale, which goes
on through whatever commutes with positive factors: Relu, pools, resizing, data movement whatever way channels take
through it, and additions, which unite the classes of their operands. What does not commute keeps its classes at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.onnx.model_proto import captured
from furc.quantizer.channels.channel_order import POOLS, is_depthwise, works_by_channel
from furc.quantizer.grids.operators import clip_bounds

Labels = NDArray[np.intp]
FIXED = 0  # the class of what cannot be scaled
BY_CHANNEL = POOLS | {"Relu", "LeakyRelu", "Identity", "Dropout"}
UNITES = {"Add", "Sub", "Max", "Min"}


class Layer(NamedTuple):
    """A convolution. reads, makes: the classes of its input's and its output's channels, [channels]."""

    node: Node
    reads: Labels
    makes: Labels


@dataclass(frozen=True, slots=True)
class Tied:
    """classes: of the channels (axis 1) of each tensor whose channels have one each, [channels]. Some are FIXED.

    mixed: tensors with several classes in one entry of axis 1, which data movement makes between others.
    clips: those that must become a Relu if a class in them is scaled. count: of classes, with FIXED.
    """

    classes: dict[str, Labels]
    mixed: frozenset[str]
    layers: tuple[Layer, ...]
    clips: tuple[Node, ...]
    count: int


def find_tied(graph: Graph, is_open: Callable[[Node], bool]) -> Tied:
    """The classes of all channels. is_open: whether nothing reaches the upper bound of a Clip from 0."""
    walk = _Walk(graph, is_open)
    for node in graph.nodes:
        walk.step(node)
    for name in graph.outputs:
        walk.fix(name)
    return walk.tied()


class _Walk:
    """Labels of all tensors, each in a shape that broadcasts to the tensor's. What has none is FIXED."""

    def __init__(self, graph: Graph, is_open: Callable[[Node], bool]) -> None:
        self._graph, self._is_open = graph, is_open
        self._labels: dict[str, Labels] = {}
        self._above = [FIXED]  # of each class the one that it was united with
        self._layers: list[Layer] = []
        self._clips: list[Node] = []

    def step(self, node: Node) -> None:
        made = self._made(node)
        if not made:
            for name in (*node.inputs, *captured(node.proto())):
                self.fix(name)
        self._labels.update(zip(node.outputs, made, strict=False))

    def fix(self, name: str) -> None:
        if name in self._labels:
            self._unite(np.unique(self._labels[name]), np.array([FIXED]))

    def tied(self) -> Tied:
        roots = np.array([self._root(label) for label in range(len(self._above))])
        numbers = np.unique(roots, return_inverse=True)[1].reshape(-1)  # FIXED is the least and stays 0
        channels = {name: self._channels(name) for name in self._labels}
        classes = {name: numbers[labels] for name, labels in channels.items() if labels is not None}
        layers = [Layer(of.node, numbers[of.reads], numbers[of.makes]) for of in self._layers]
        mixed = [n for n, of in self._labels.items() if n not in classes and numbers[of].any()]
        return Tied(classes, frozenset(mixed), tuple(layers), tuple(self._clips), int(numbers.max()) + 1)

    def _made(self, node: Node) -> Sequence[Labels]:
        """The labels of a node's results; none where it does not commute with scales."""
        if node.domain not in ("", "ai.onnx"):
            return ()
        if node.op in ("Conv", "ConvTranspose"):
            return self._convolved(node)
        if node.op in UNITES:
            return self._united(node)
        if node.op == "Concat":
            return self._joined(node)
        if node.input(0) not in self._labels or any(n and n not in self._graph.constants for n in node.inputs[1:]):
            return ()
        if node.op == "Clip":
            return self._clipped(node)
        if node.op in BY_CHANNEL or (node.op in ("Resize", "Pad") and works_by_channel(self._graph, node)):
            plain = self._channels(node.inputs[0]) is not None and _fills_with_zeros(self._graph, node)
            return (self._labels[node.inputs[0]],) if plain else ()
        return self._moved(node)

    def _convolved(self, node: Node) -> Sequence[Labels]:
        weight, bias = self._graph.constants.get(node.input(1)), node.input(2)
        reads = self._channels(node.inputs[0])
        if weight is None or weight.dtype != np.float32 or (bias and bias not in self._graph.constants):
            return ()
        if int(node.get("group", 1)) != 1 and not is_depthwise(self._graph, node):
            return ()
        if reads is None:  # of what cannot be scaled, as a graph input; but it makes what can
            self.fix(node.inputs[0])
            reads = np.full(_inputs(node, weight), FIXED)
        makes = self._fresh(weight.shape[0 if node.op == "Conv" else 1])
        self._layers.append(Layer(node, reads, makes))
        return (makes.reshape(1, -1, *[1] * (weight.ndim - 2)),)

    def _united(self, node: Node) -> Sequence[Labels]:
        found = [labels for name in node.inputs if (labels := self._channels(name)) is not None]
        extents = {self._graph.extents(name) for name in node.inputs}
        if len(found) != len(node.inputs) or len(extents) != 1:
            return ()
        for other in found[1:]:
            self._unite(found[0], other)
        return (self._labels[node.inputs[0]],)

    def _joined(self, node: Node) -> Sequence[Labels]:
        parts = [self._channels(name, fixed=True) for name in node.inputs]
        known = [part for part in parts if part is not None]
        rank = self._graph.rank(node.output)
        if node.get("axis") != 1 or rank is None or len(known) != len(parts):
            return ()
        return (np.concatenate(known).reshape(1, -1, *[1] * (rank - 2)),)

    def _clipped(self, node: Node) -> Sequence[Labels]:
        bounds = clip_bounds(self._graph, node)
        if bounds is None or bounds[0] != 0 or not self._is_open(node):
            return ()
        self._clips.append(node)
        return (self._labels[node.inputs[0]],)

    def _moved(self, node: Node) -> Sequence[Labels]:
        """What data movement makes of labels, it makes of an array of them."""
        labels, before, after = self._labels[node.inputs[0]], *map(self._graph.shape, (node.inputs[0], node.output))
        if node.op not in MOVES or before is None or after is None:
            return ()
        full = np.broadcast_to(labels, before)
        constants = [self._graph.constants[name] for name in node.inputs[1:] if name]
        return [_narrowed(part) for part in MOVES[node.op](node, full, constants, after)]

    def _channels(self, name: str, *, fixed: bool = False) -> Labels | None:
        """Of a tensor's channels; None where they have not one label each. fixed: they may be known to have none."""
        labels, extents = self._labels.get(name), self._graph.extents(name)
        if extents is None or len(extents) < 2 or extents[1] is None:
            return None
        if labels is None:
            return np.full(extents[1], FIXED) if fixed else None
        padded = labels.reshape([1] * (len(extents) - labels.ndim) + list(labels.shape))
        if any(size > 1 for axis, size in enumerate(padded.shape) if axis != 1):
            return None
        return np.broadcast_to(padded.reshape(-1), (extents[1],))

    def _fresh(self, count: int) -> Labels:
        start = len(self._above)
        self._above += range(start, start + count)
        return np.arange(start, start + count)

    def _root(self, label: int) -> int:
        above = self._above
        while above[label] != label:
            above[label] = label = above[above[label]]
        return label

    def _unite(self, first: Labels, second: Labels) -> None:
        for a, b in zip(*np.broadcast_arrays(first, second), strict=True):
            low, high = sorted((self._root(int(a)), self._root(int(b))))
            self._above[high] = low


def _inputs(node: Node, weight: NDArray[np.float32]) -> int:
    if node.op == "ConvTranspose":
        return int(weight.shape[0])
    return int(weight.shape[1]) * int(node.get("group", 1))


def _fills_with_zeros(graph: Graph, node: Node) -> bool:
    """Of a Pad that fills at all, which others do not."""
    fill = graph.constants.get(node.input(2)) if node.op == "Pad" else None
    return fill is None or not fill.any() or node.get("mode", "constant") != "constant"


Move = Callable[[Node, Labels, list[NDArray[np.int64]], tuple[int, ...]], Sequence[Labels]]


def _reshaped(node: Node, full: Labels, constants: object, after: tuple[int, ...]) -> Sequence[Labels]:
    return (full.reshape(after),)


def _transposed(node: Node, full: Labels, constants: object, after: object) -> Sequence[Labels]:
    return (full.transpose(node.get("perm")),)


def _gathered(node: Node, full: Labels, constants: list[NDArray[np.int64]], after: object) -> Sequence[Labels]:
    return (np.take(full, constants[0], axis=int(node.get("axis", 0))),) if constants else ()


def _split(node: Node, full: Labels, constants: list[NDArray[np.int64]], after: tuple[int, ...]) -> Sequence[Labels]:
    axis = int(node.get("axis", 0))
    sizes = constants[0] if constants else np.full(len(node.outputs), after[axis])
    return np.split(full, np.cumsum(sizes)[:-1], axis=axis)


def _sliced(node: Node, full: Labels, constants: list[NDArray[np.int64]], after: object) -> Sequence[Labels]:
    if len(constants) != len(node.inputs) - 1 or len(constants) < len(("starts", "ends")):
        return ()
    starts, ends, *rest = (constant.tolist() for constant in constants)
    axes = rest[0] if rest else range(len(starts))
    steps = rest[1] if len(rest) > 1 else [1] * len(starts)
    if min(steps) < 0:  # its end has another meaning than Python's
        return ()
    cut = [slice(None)] * full.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(start, end, step)
    return (full[tuple(cut)],)


MOVES: dict[str, Move] = {
    "Reshape": _reshaped, "Flatten": _reshaped, "Squeeze": _reshaped, "Unsqueeze": _reshaped, "Transpose": _transposed,
    "Gather": _gathered, "Split": _split, "Slice": _sliced,
}  # fmt: skip


def _narrowed(labels: Labels) -> Labels:
    """With one entry along each axis along which nothing changes."""
    for axis in range(labels.ndim):
        if labels.shape[axis] > 1 and (labels == labels.take([0], axis)).all():
            labels = labels.take([0], axis)
    return np.ascontiguousarray(labels)
