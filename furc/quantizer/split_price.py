"""What a split adds to the latency of the model on the NPU: the chain compiled and timed with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import onnx

from furc.onnx.graph import Graph
from furc.quantizer.qdq import write_qdq
from furc.quantizer.scheme import choose_grids
from furc.quantizer.split_channels import Chain, divide
from isa.errors import FurcError

ANY_RANGE = (-1.0, 1.0)  # timing does not depend on ranges


class Cost(NamedTuple):
    """added_ms: by a split. chain_ms: what the chain needs without it, a part of the model's latency."""

    added_ms: float
    chain_ms: float


class LatencyPrice:
    """Prices splits of one model. What the compiler refuses has no price that is known: 0.

    The whole model is compiled once, and only when somebody asks for its latency: that costs more than all chains.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = Graph(graph.model())

    def __call__(self, graph: Graph, chain: Chain, ends: Sequence[int]) -> Cost:
        """Of a chain, split into groups that end before these channels."""
        try:
            before = latency_ms(_alone(graph, chain))
            return Cost(max(0.0, latency_ms(_alone(graph, chain, ends)) - before), before)
        except FurcError:
            return Cost(0.0, 0.0)

    @cached_property
    def model_ms(self) -> float:
        """Of the model before any split; 0 where it does not compile."""
        try:
            return latency_ms(self._graph)
        except FurcError:
            return 0.0


def latency_ms(graph: Graph) -> float:
    """Modelled latency of a float graph once it is quantized. Raises FurcError where it does not compile."""
    from furc.compiler import compile  # here: the compiler's frontend writes QDQ models with this package
    from furc.profiling.profile import profile

    names = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    quantized = write_qdq(graph, choose_grids(graph, dict.fromkeys(names, ANY_RANGE)))
    enf = compile(quantized, compiler_config={"use_program_loading": True})
    return float(profile(enf).latency_ms)


def _alone(graph: Graph, chain: Chain, ends: Sequence[int] = ()) -> Graph:
    """The chain as a model of its own, split where there are ends."""
    part = Graph(graph.model())
    inside = {node.output for node in chain.nodes}
    part.nodes = [node for node in part.nodes if node.output in inside]
    part.inputs, part.outputs = [chain.head.inputs[0]], list(chain.ends)
    part.changed()
    part.remove_dead()
    if ends:
        divide(part, Chain(tuple(part.nodes), chain.ends), ends)
    return Graph(onnx.shape_inference.infer_shapes(part.model()))
