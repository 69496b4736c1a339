"""What a split adds to the latency of the model on the NPU: the chain compiled and timed with and without it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple

import onnx

from furc.machine import DEFAULT_TARGET
from furc.onnx.graph import Graph
from furc.quantizer.qdq import write_qdq
from furc.quantizer.scheme import any_ranges, choose_grids
from furc.quantizer.split_channels import Chain, divide
from isa.errors import FurcError
from isa.npu import NS_PER_MS, target
from passes.ir.lir import Program
from passes.pipeline import lower
from passes.plan import program_cycles

CONFIG = {"use_program_loading": True}


class Cost(NamedTuple):
    """added_ms: by a split. least_ms: what the model needs at least, before it."""

    added_ms: float
    least_ms: float


class LatencyPrice:
    """Prices splits of one model. What the compiler refuses has no price that is known: 0.

    The whole model is compiled once, and only when somebody asks for its latency: that costs more than all chains.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph, self._known = graph.copied(), dict[Hashable, float]()

    def __call__(self, graph: Graph, chain: Chain, ends: Sequence[int]) -> Cost:
        """Of a chain, split into groups that end before these channels."""
        try:
            before = self._chain_ms(graph, chain, ())
            after = self._chain_ms(graph, chain, tuple(ends))
            return Cost(max(0.0, after - before), max(before, _edge_ms(self._graph)))
        except FurcError:
            return Cost(0.0, 0.0)

    def _chain_ms(self, graph: Graph, chain: Chain, ends: tuple[int, ...]) -> float:
        """A network has few forms of chains and many of each."""
        form = (_form(graph, chain), ends)
        if form not in self._known:
            self._known[form] = npu_ms(_alone(graph, chain, ends))
        return self._known[form]

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

    return float(profile(compile(_quantized(graph), compiler_config=CONFIG)).latency_ms)


def npu_ms(graph: Graph) -> float:
    """As `latency_ms`, without the host, by the first of the compiler's plans and short of a binary: in half the time.
    A difference of two is what it is good for."""
    from furc.compiler import compile_options  # here: see above
    from furc.frontend.onnx.importer import import_model
    from furc.frontend.onnx.model import own_model
    from furc.frontend.onnx.placing import Placing

    options = compile_options(DEFAULT_TARGET, 1, CONFIG)
    program = lower(import_model(own_model(_quantized(graph)), Placing(options.npu, 1)), options)
    assert isinstance(program, Program)
    return options.npu.milliseconds(program_cycles(program, options))


def _edge_ms(graph: Graph) -> float:
    """What the host needs to quantize the model's inputs and to turn its outputs into floats: a part of its latency."""
    npu = target(DEFAULT_TARGET)
    read, made = (
        sum(math.prod(graph.shape(name) or (0,)) for name in names if graph.is_float(name))
        for names in (graph.inputs, graph.outputs)
    )
    return (read * npu.host_quantize_ns_per_element + made * npu.host_dequantize_ns_per_element) / NS_PER_MS


def _quantized(graph: Graph) -> onnx.ModelProto:
    return write_qdq(graph, choose_grids(graph, any_ranges(graph)))


def _form(graph: Graph, chain: Chain) -> Hashable:
    """All of a chain that its time depends on, whatever its tensors are called."""
    number = dict[str, int]()
    return tuple(
        (
            node.op, tuple(sorted((name, value.SerializeToString()) for name, value in node.attributes.items())),
            tuple((number.setdefault(name, len(number)), graph.shape(name)) for name in (*node.inputs, *node.outputs)),
            node.output in chain.ends,
        )
        for node in chain.nodes
    )  # fmt: skip


def _alone(graph: Graph, chain: Chain, ends: Sequence[int] = ()) -> Graph:
    """The chain as a model of its own, split where there are ends."""
    part = graph.part(chain.nodes, chain.head.inputs[:1], chain.ends)
    if ends:
        divide(part, Chain(tuple(part.nodes), chain.ends), ends)
    return Graph(onnx.shape_inference.infer_shapes(part.model()))
