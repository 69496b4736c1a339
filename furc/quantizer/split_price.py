"""What a split adds to the latency of the model on the NPU: the chain compiled and timed with and without it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import onnx

from furc.quantizer.graph import Graph
from furc.quantizer.qdq import write_qdq
from furc.quantizer.scheme import choose_grids
from furc.quantizer.split_channels import Chain, divide
from isa.errors import FurcError

if TYPE_CHECKING:
    from furc.quantizer.split_plan import SplitChoice

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

    def __call__(self, graph: Graph, choice: SplitChoice) -> Cost:
        try:
            before = latency_ms(_alone(graph, choice))
            return Cost(max(0.0, latency_ms(_alone(graph, choice, divided=True)) - before), before)
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
    import furc

    names = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    quantized = write_qdq(graph, choose_grids(graph, dict.fromkeys(names, ANY_RANGE)))
    enf = furc.compile(quantized, compiler_config={"use_program_loading": True})
    return float(furc.profile(enf).latency_ms)


def _alone(graph: Graph, choice: SplitChoice, *, divided: bool = False) -> Graph:
    """The chain as a model of its own."""
    part = Graph(graph.model())
    inside = {node.output for node in choice.chain.nodes}
    part.nodes = [node for node in part.nodes if node.output in inside]
    part.inputs, part.outputs = [choice.chain.head.inputs[0]], list(choice.chain.ends)
    part.changed()
    part.remove_dead()
    if divided:
        divide(part, Chain(tuple(part.nodes), choice.chain.ends), choice.ends)
    return Graph(onnx.shape_inference.infer_shapes(part.model()))
