"""Put the channels of a tensor in another order without changing the model's results.

    before: y = Conv(x, w);            z = Conv(Relu(y) + r, v)          r = Conv(q, u)
    after:  y = Conv(x, w[order]);     z = Conv(Relu(y) + r, v[:, order])       r = Conv(q, u[order])

From one tensor the walk goes to every tensor whose channels must move with it: through what works channel by channel
to the convolutions before, whose rows are reordered, and to those behind, whose columns are. Through a Concat it goes
on with the channels' places in the result. It gives up at whatever else reads channels: a graph input or output, a
Reshape, a Split, a grouped convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node

Order = NDArray[np.intp]

ELEMENTWISE = {
    "Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign", "Elu", "Selu",
    "Celu", "Mish", "Gelu", "Erf", "Exp", "Abs", "Neg", "Sqrt", "Log", "Identity", "Dropout",
}  # fmt: skip
POOLS = {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
SPATIAL = ELEMENTWISE | POOLS
JOINS = {"Add", "Sub", "Mul", "Div", "Max", "Min"}


@dataclass(frozen=True, slots=True)
class Edit:
    """One constant of one node has the channels along an axis, from `start` on."""

    node: Node
    index: int
    axis: int
    start: int


@dataclass
class _Walk:
    graph: Graph
    channels: int
    edits: dict[tuple[int, int, int, int], Edit] = field(default_factory=dict)
    starts: dict[str, set[int]] = field(default_factory=dict)  # where the channels begin in each tensor reached
    work: list[tuple[str, int]] = field(default_factory=list)

    def reach(self, name: str, start: int) -> bool:
        if name in self.graph.inputs or name in self.graph.outputs or name in self.graph.constants:
            return False
        known = self.starts.setdefault(name, set())
        if start in known:
            return True
        if any(abs(start - other) < self.channels for other in known):
            return False  # some channels would have to move in two ways
        known.add(start)
        self.work.append((name, start))
        return True

    def edit(self, node: Node, index: int, axis: int, start: int) -> bool:
        """False where it is no constant."""
        if node.input(index):
            self.edits[id(node), index, axis, start] = Edit(node, index, axis, start)
        return not node.input(index) or node.inputs[index] in self.graph.constants


class Moved(NamedTuple):
    """What has to be reordered together. edits: constants; tensors: names and where the channels begin in them."""

    edits: tuple[Edit, ...]
    tensors: tuple[tuple[str, int], ...]


def find_moved(graph: Graph, name: str) -> Moved | None:
    """What moves with the channels (axis 1) of a tensor; None where they cannot be in another order."""
    shape = graph.shape(name)
    if shape is None or len(shape) < 2:
        return None
    walk = _Walk(graph, shape[1])
    if not walk.reach(name, 0):
        return None
    while walk.work:
        tensor, start = walk.work.pop()
        producer = graph.producer(tensor)
        if producer is None or not _backward(walk, producer, start):
            return None
        if not all(_forward(walk, node, tensor, start) for node in graph.readers(tensor)):
            return None
    places = [(tensor, start) for tensor, starts in walk.starts.items() for start in sorted(starts)]
    return Moved(tuple(walk.edits.values()), tuple(places))


def reorder(graph: Graph, edits: Sequence[Edit], order: Order) -> None:
    """Move channel order[i] to place i. edits: see `find_moved`."""
    for edit in edits:
        name = edit.node.inputs[edit.index]
        value = graph.constants[name]
        places = np.arange(value.shape[edit.axis])
        places[edit.start : edit.start + len(order)] = edit.start + order
        target = name
        if len(graph.readers(name)) > 1 or edit.node.inputs.count(name) > 1:
            target = graph.add_constant(f"{name}.reordered", value)
            edit.node.inputs[edit.index] = target
            graph.changed()
        graph.constants[target] = np.ascontiguousarray(np.take(value, places, edit.axis))


def is_depthwise(graph: Graph, node: Node) -> bool:
    """Whether a Conv works on each channel alone."""
    weight = graph.constants.get(node.input(1))
    return node.op == "Conv" and weight is not None and weight.shape[1] == 1 and node.get("group", 1) == len(weight)


def _backward(walk: _Walk, node: Node, start: int) -> bool:
    """From a tensor to what makes it."""
    graph = walk.graph
    if node.op == "Concat":
        return _into_piece(walk, node, start)
    if is_depthwise(graph, node):
        return _depthwise(walk, node, start) and walk.reach(node.inputs[0], start)
    if node.op == "Conv" and node.get("group", 1) == 1:
        return walk.edit(node, 1, 0, start) and walk.edit(node, 2, 0, start)
    if node.op == "ConvTranspose" and node.get("group", 1) == 1:
        return walk.edit(node, 1, 1, start) and walk.edit(node, 2, 0, start)
    if node.op in JOINS:
        return _operands(walk, node, start)
    return works_by_channel(graph, node) and walk.reach(node.inputs[0], start)


def _forward(walk: _Walk, node: Node, tensor: str, start: int) -> bool:
    """From a tensor to what reads it."""
    graph = walk.graph
    if node.op == "Concat":
        return _out_of_concat(walk, node, tensor, start)
    if node.inputs[0] != tensor and node.op not in JOINS:
        return False
    if is_depthwise(graph, node):
        return _depthwise(walk, node, start) and walk.reach(node.output, start)
    if node.op == "Conv" and node.get("group", 1) == 1:
        return walk.edit(node, 1, 1, start)
    if node.op == "ConvTranspose" and node.get("group", 1) == 1:
        return walk.edit(node, 1, 0, start)
    if node.op == "Gemm":
        return not node.get("transA", 0) and walk.edit(node, 1, 1 if node.get("transB", 0) else 0, start)
    if node.op in ("Flatten", "Reshape"):
        return _is_flattened_point(graph, node) and walk.reach(node.output, start)
    if node.op in JOINS:
        return walk.reach(node.output, start) and _operands(walk, node, start)
    return works_by_channel(graph, node) and walk.reach(node.output, start)


def works_by_channel(graph: Graph, node: Node) -> bool:
    """Whether a node of one input handles each channel (axis 1) alone and all alike."""
    if node.domain not in ("", "ai.onnx") or any(n and n not in graph.constants for n in node.inputs[1:]):
        return False
    before, after = graph.shape(node.input(0)), graph.shape(node.output)
    if before is None or after is None or len(before) != len(after) or before[1] != after[1]:
        return False
    if node.op in SPATIAL:
        return all(graph.constants[name].size == 1 for name in node.inputs[1:] if name)
    if node.op == "Pad":
        pads = graph.constants.get(node.input(1))
        return pads is not None and not pads.reshape(2, -1)[:, 1].any()
    return node.op == "Resize"


def _depthwise(walk: _Walk, node: Node, start: int) -> bool:
    return walk.edit(node, 1, 0, start) and walk.edit(node, 2, 0, start)


def _operands(walk: _Walk, node: Node, start: int) -> bool:
    """Both operands of an Add or Mul have the result's channels, or one number for all of them."""
    graph = walk.graph
    shape = graph.shape(node.output)
    for index, name in enumerate(node.inputs):
        have = graph.shape(name)
        if shape is None or have is None or len(have) > len(shape):
            return False
        padded = (1,) * (len(shape) - len(have)) + have
        if padded[1] == 1:
            continue
        if padded[1] != shape[1]:
            return False
        axis = 1 - (len(shape) - len(have))
        if not (walk.edit(node, index, axis, start) if name in graph.constants else walk.reach(name, start)):
            return False
    return True


def _into_piece(walk: _Walk, node: Node, start: int) -> bool:
    """The input of a Concat that holds the channels whole."""
    if node.get("axis") != 1:
        return False
    begin = 0
    for name in node.inputs:
        shape = walk.graph.shape(name)
        if shape is None:
            return False
        if begin <= start and start + walk.channels <= begin + shape[1]:
            return walk.reach(name, start - begin)
        begin += shape[1]
    return False


def _out_of_concat(walk: _Walk, node: Node, tensor: str, start: int) -> bool:
    """A tensor that a Concat reads twice would have its channels at two places."""
    if node.get("axis") != 1 or node.inputs.count(tensor) != 1:
        return False
    sizes = [walk.graph.shape(name) for name in node.inputs[: node.inputs.index(tensor)]]
    known = [shape[1] for shape in sizes if shape is not None]
    return len(known) == len(sizes) and walk.reach(node.output, start + sum(known))


def _is_flattened_point(graph: Graph, node: Node) -> bool:
    before, after = graph.shape(node.input(0)), graph.shape(node.output)
    return (
        before is not None and after is not None and len(after) == 2 and before[:2] == after and set(before[2:]) == {1}
    )
