"""Mixed precision: layers that stay in float, on the host, between DequantizeLinear and QuantizeLinear.

The choice is a note in the model's metadata, so that every pass and copy of the graph sees it. A layer is a node by
name, or all whose names a pattern like `/head/*` fits; the activation function behind it stays in float with it. What
is between two such layers alone is not rounded at all.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from furc.onnx.graph import KEEP_FLOAT, Graph, Node
from furc.quantizer.noise_model import Spread, decibel
from furc.quantizer.pointwise import behind
from isa.errors import QuantizeError

HOST_MACS_A_SECOND = 5e10  # assumed: a float32 convolution on a few host cores
LINK_BYTES_A_SECOND = 2.0e9  # assumed, and no more than a PCIe card of this kind reaches with small transfers
CROSSING_SECONDS = 1e-4  # assumed: of every change from the NPU to the host and back


class Island(NamedTuple):
    """What keeping layers in float would bring. gain_db: off the predicted noise; host_ms: what the host needs."""

    layers: tuple[str, ...]
    gain_db: float
    host_ms: float

    def __str__(self) -> str:
        return f"--keep-float {','.join(self.layers)}: +{self.gain_db:.1f} dB, about {self.host_ms:.1f} ms on the host"


def keep_float(graph: Graph, layers: Sequence[str]) -> list[Node]:
    """Note that these layers stay in float. The nodes they are. Raises QuantizeError[UnknownLayer]."""
    named = {node.name or node.output: node for node in graph.nodes}
    chosen = dict[int, Node]()
    for layer in layers:
        fitting = [node for name, node in named.items() if name == layer or fnmatch.fnmatchcase(name, layer)]
        if not fitting:
            near = difflib.get_close_matches(layer, named, n=1, cutoff=0.5)
            raise QuantizeError(
                "UnknownLayer", f"the model has no layer '{layer}'",
                hint=f"did you mean '{near[0]}'?" if near else "layers are names of nodes, or patterns of them",
            )  # fmt: skip
        for node in fitting:
            for kept in _with_function(graph, node):
                chosen[id(kept)] = kept
    for node in chosen.values():
        node.name = node.name or node.output
    if chosen:
        graph.set_metadata(KEEP_FLOAT, "\n".join(node.name for node in chosen.values()))
    return list(chosen.values())


def island(graph: Graph, layers: Collection[Node], spreads: Mapping[str, Spread]) -> Island:
    """The prediction: tensors that only these layers make and read bring no noise."""
    inside = {id(kept) for node in layers for kept in _with_function(graph, node)}
    total = sum(spread.noise() for spread in spreads.values())
    gone = sum(
        spread.noise()
        for name, spread in spreads.items()
        if (maker := graph.producer(name)) is not None
        and id(maker) in inside
        and name not in graph.outputs
        and all(id(reader) in inside for reader in graph.readers(name))
    )
    names = tuple(node.name or node.output for node in layers)
    return Island(names, decibel(total / max(total - gone, 1e-30)), 1e3 * _host_seconds(graph, inside))


def _with_function(graph: Graph, node: Node) -> list[Node]:
    function = behind(graph, node.output)
    return [node, *function.nodes] if function is not None else [node]


def _host_seconds(graph: Graph, inside: set[int]) -> float:
    seconds = CROSSING_SECONDS
    for node in graph.nodes:
        if id(node) not in inside:
            continue
        weight = graph.constants.get(node.input(1))
        out = math.prod(graph.shape(node.output) or (0,))
        if node.op in ("Conv", "Gemm") and weight is not None:
            seconds += out * weight.size / max(weight.shape[0], 1) / HOST_MACS_A_SECOND
        crossing = [n for n in node.inputs if (made := graph.producer(n)) is not None and id(made) not in inside]
        crossing += [n for n in node.outputs if any(id(reader) not in inside for reader in graph.readers(n))]
        seconds += sum(math.prod(graph.shape(n) or (0,)) for n in crossing) / LINK_BYTES_A_SECOND
    return seconds
