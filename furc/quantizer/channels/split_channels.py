"""Compute the channels of a chain in groups, so that each group has int8 grids of its own. The float results stay.

    before: u = Conv(x, w);  a = SiLU(u);  d = DepthwiseConv(a);  e = SiLU(d);  y = Conv(e, v)
    after:  u0, u1 = Conv(x, w[g0]), Conv(x, w[g1]);  a0, a1 = SiLU(u0), SiLU(u1);  d0 = ... ;  e = Concat(e0, e1)
            y = Conv(e, v[:, g0 + g1])

A chain begins with a dense Conv and goes on through what works channel by channel and reads nothing else; where
another operator reads a tensor of it, the groups are joined. Channels of a group need not be neighbours: they are
brought together first, as channel_order.py does, and stay in the new order. Where that is not possible groups are
neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node, make
from furc.quantizer.channels.channel_order import JOINS, Order, find_moved, is_depthwise, reorder, works_by_channel

Ends = Sequence[int]


@dataclass(frozen=True, slots=True)
class Chain:
    """nodes: in order, the first a dense Conv. ends: the tensors that others read."""

    nodes: tuple[Node, ...]
    ends: tuple[str, ...]

    @property
    def head(self) -> Node:
        return self.nodes[0]

    def layer_of(self, tensor: str) -> Node:
        """The Conv that a tensor of the chain comes from."""
        made = {node.output: node for node in self.nodes}
        node = made[tensor]
        while node.op != "Conv":
            node = next(made[name] for name in node.inputs if name in made)
        return node

    def inner(self) -> list[str]:
        """The tensors that get grids of their own."""
        return [node.output for node in self.nodes if node.output not in self.ends]


def find_chains(graph: Graph) -> list[Chain]:
    """All chains that can be split; of each that goes on through depthwise convolutions, every beginning."""
    found = []
    for node in graph.nodes:
        if not _is_head(graph, node):
            continue
        nodes = _reach(graph, node)
        cuts = [i for i, inner in enumerate(nodes) if i and inner.op == "Conv"]
        for cut in (*cuts, len(nodes)):
            chain = _chain(graph, nodes[:cut])
            if chain.inner() and not set(chain.ends) & set(graph.outputs):
                found.append(chain)
    return found


def split(graph: Graph, chain: Chain, order: Order, ends: Ends) -> None:
    """Rewrite the graph. order: of the channels, group after group; ends: of the groups in that order."""
    if (order != np.arange(len(order))).any():
        moved = find_moved(graph, chain.head.output)
        assert moved is not None, chain.head
        reorder(graph, moved.edits, order)
    divide(graph, chain, ends)


def part_of(name: str, part: int) -> str:
    """What a group of the channels of a node, or of a tensor, is called."""
    return f"{name}/part{part}"


def join_of(tensor: str) -> str:
    """What the node is called that joins the groups of a tensor."""
    return f"{tensor}/join"


def divide(graph: Graph, chain: Chain, ends: Ends) -> None:
    """Rewrite the chain in groups of channels that are neighbours already."""
    new = list[Node]()
    starts = [0, *ends[:-1]]
    for part, (start, end) in enumerate(zip(starts, ends, strict=True)):
        new += _part(graph, chain, part, start, end)
    for name in chain.ends:
        parts = [part_of(name, part) for part in range(len(ends))]
        new.append(make("Concat", parts, [name], join_of(name), axis=1))
    gone = {id(node) for node in chain.nodes}
    first = next(i for i, node in enumerate(graph.nodes) if id(node) in gone)
    rest = [node for node in graph.nodes if id(node) not in gone]
    graph.nodes = [*rest[:first], *_before_readers(new, rest[first:])]
    graph.changed()
    graph.remove_dead()


def _before_readers(new: list[Node], rest: list[Node]) -> list[Node]:
    """Both lists as one, each node behind what it reads. The head's input is made before both."""
    made_by = {name: node for node in (*new, *rest) for name in node.outputs}
    placed, ordered = set[int](), list[Node]()
    for last in (*rest, *new):
        waiting = [last]
        while waiting:
            node = waiting[-1]
            missing = [made_by[n] for n in node.inputs if n in made_by and id(made_by[n]) not in placed]
            if missing and id(node) not in placed:
                waiting += missing
                continue
            waiting.pop()
            if id(node) not in placed:
                placed.add(id(node))
                ordered.append(node)
    return ordered


def _is_head(graph: Graph, node: Node) -> bool:
    weight = graph.constants.get(node.input(1))
    if node.op != "Conv" or weight is None or weight.ndim != 4 or node.get("group", 1) != 1 or len(weight) < 2:
        return False
    if graph.stays_float(node):
        return False
    return not node.input(2) or node.input(2) in graph.constants


def _reach(graph: Graph, head: Node) -> list[Node]:
    """The head and all that follows from it alone, channel by channel, in the graph's order."""
    inside, nodes = {head.output}, [head]
    for node in graph.nodes[graph.nodes.index(head) + 1 :]:
        if inside.isdisjoint(node.inputs):
            continue
        read = [name for name in node.inputs if name and name not in graph.constants]
        if not inside.issuperset(read) or len(node.outputs) != 1 or graph.stays_float(node):
            continue
        if is_depthwise(graph, node) or (node.op in JOINS and _is_join(graph, node)) or works_by_channel(graph, node):
            inside.add(node.output)
            nodes.append(node)
    return nodes


def _is_join(graph: Graph, node: Node) -> bool:
    """Whether every operand has the result's shape or is one number: no other constant needs to be cut."""
    shape = graph.shape(node.output)
    operands = [(name, graph.shape(name)) for name in node.inputs]
    return shape is not None and all(
        have == shape or (name in graph.constants and graph.constants[name].size == 1) for name, have in operands
    )


def _chain(graph: Graph, nodes: Sequence[Node]) -> Chain:
    inside = {id(node) for node in nodes}
    ends = [
        node.output
        for node in nodes
        if node.output in graph.outputs or any(id(reader) not in inside for reader in graph.readers(node.output))
    ]
    return Chain(tuple(nodes), tuple(ends))


def _part(graph: Graph, chain: Chain, part: int, start: int, end: int) -> list[Node]:
    """The chain for the channels from start to end."""
    made = {node.output: part_of(node.output, part) for node in chain.nodes}
    nodes = []
    for node in chain.nodes:
        copy = Node(node.op, [made.get(name, name) for name in node.inputs], [made[node.output]],
                    part_of(node.name or node.output, part), node.domain, dict(node.attributes))  # fmt: skip
        if node.op == "Conv":
            for index in (1, 2):
                if node.input(index):
                    rows = np.ascontiguousarray(graph.constants[node.inputs[index]][start:end])
                    copy.inputs[index] = graph.add_constant(part_of(node.inputs[index], part), rows)
            if node is not chain.head:
                copy.set(group=end - start)
        if node.op == "Resize" and node.input(3):
            copy.inputs[3] = _sizes(graph, node, end - start, part_of(node.inputs[3], part))
        nodes.append(copy)
        _set_shape(graph, node.output, copy.output, end - start)
    return nodes


def _sizes(graph: Graph, node: Node, channels: int, name: str) -> str:
    """What a Resize of so many channels makes, where the node states extents and not scales."""
    sizes = graph.constants[node.inputs[3]].copy()
    rank = len(graph.shape(node.output) or ())
    axes = [axis % rank for axis in node.get("axes", range(rank))]
    if 1 in axes:
        sizes[axes.index(1)] = channels
    return graph.add_constant(name, sizes)


def _set_shape(graph: Graph, whole: str, part: str, channels: int) -> None:
    shape = graph.shape(whole)
    assert shape is not None, whole
    graph.set_float(part, [shape[0], channels, *shape[2:]])


def sorted_by(magnitude: NDArray[np.float64], reorderable: bool) -> Order:
    """The channels from small to large; as they are where they cannot be moved."""
    return np.argsort(magnitude, kind="stable") if reorderable else np.arange(len(magnitude))
