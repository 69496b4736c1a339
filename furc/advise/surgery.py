"""Cut a model in two: what is kept, and a float model of the rest, whose inputs are the tensors that were cut."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import onnx

from furc.onnx.graph import Graph, Node
from furc.onnx.model_proto import captured
from furc.output import PRODUCER
from furc.version import __version__

Ids = Collection[int]  # of nodes


class Halves(NamedTuple):
    """The first one's outputs are inputs of the second one; either may take inputs of the model besides."""

    first: onnx.ModelProto
    second: onnx.ModelProto

    @property
    def cut(self) -> list[str]:
        """The tensors that go from one to the other."""
        made = {output.name for output in self.first.graph.output}
        return [i.name for i in self.second.graph.input if i.name in made]


def halves(graph: Graph, second: Ids) -> Halves | None:
    """Cut so that these nodes, which nothing else may follow, are the second half. None where a tensor that would be
    cut is not float or has no known shape, or a half would be empty."""
    fixed = _fixed(graph)  # such as the weights of a quantized model: each half has its own
    above = [node for node in graph.nodes if id(node) not in second and id(node) not in fixed]
    below = [node for node in graph.nodes if id(node) in second and id(node) not in fixed]
    made = [name for node in above for name in node.outputs if name]
    read = _reads(below)
    cut = [name for name in made if name in read]
    if not above or not below or not cut or not all(graph.is_float(n) and graph.shape(n) is not None for n in cut):
        return None
    shown = [name for name in graph.outputs if name in made and name not in cut]
    given = [name for name in graph.inputs if name in read]
    first = _part(graph, [*above, *fixed.values()], graph.inputs, [*cut, *shown])
    behind = [name for name in graph.outputs if name not in made]
    return Halves(first, _part(graph, [*below, *fixed.values()], [*cut, *given], behind))


def _fixed(graph: Graph) -> dict[int, Node]:
    """Nodes that no input of the model reaches, by id."""
    free = followers(graph, (reader for name in graph.inputs for reader in graph.readers(name)))
    return {id(node): node for node in graph.nodes if id(node) not in free}


def followers(graph: Graph, nodes: Iterable[Node]) -> dict[int, Node]:
    """These nodes and all that depend on them, by id."""
    return _closure(nodes, lambda node: (r for name in node.outputs for r in graph.readers(name)))


def ancestors(graph: Graph, nodes: Iterable[Node]) -> dict[int, Node]:
    """These nodes and all that they depend on, by id."""
    return _closure(nodes, lambda node: filter(None, map(graph.producer, reads(node))))


def reads(node: Node) -> list[str]:
    """The tensors that a node reads, the bodies of If and Loop as well."""
    proto = onnx.NodeProto(attribute=node.attributes.values())
    return [name for name in (*node.inputs, *captured(proto)) if name]


def _closure(nodes: Iterable[Node], neighbours: Callable[[Node], Iterable[Node]]) -> dict[int, Node]:
    found: dict[int, Node] = {}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found[id(node)] = node
            waiting += neighbours(node)
    return found


def _reads(nodes: Iterable[Node]) -> set[str]:
    return {name for node in nodes for name in reads(node)}


def _part(graph: Graph, nodes: list[Node], inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """A model of some nodes. Inputs of the model that none of them reads are left out."""
    read = _reads(nodes)
    return signed(graph.part(nodes, [name for name in inputs if name in read], outputs).model())


def signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """As a model that furc made, so that it may be replaced."""
    model.producer_name, model.producer_version = PRODUCER, __version__
    return model
