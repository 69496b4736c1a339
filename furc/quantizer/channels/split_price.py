"""What a split adds to the latency of the model on the NPU: the chain compiled and timed with and without it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import NamedTuple

import onnx

from furc.machine import DEFAULT_TARGET
from furc.onnx.graph import KEEP_FLOAT, Graph
from furc.quantizer.channels.split_channels import Chain, divide
from furc.quantizer.grids.qdq import write_qdq
from furc.quantizer.grids.scheme import any_ranges, choose_grids
from furc.quantizer.write.with_ranges import written
from isa.errors import FurcError
from isa.npu import NS_PER_MS, target
from passes.ir.lir import Program
from passes.pipeline import lower
from passes.plan import program_cycles

IN_SEGMENTS: dict[str, object] = {"use_program_loading": True}
IN_PARTS: dict[str, object] = {"max_npu_segments": "auto"}  # as users are told to compile, see keep_float.py


class Cost(NamedTuple):
    """added_ms: by a split. least_ms: what the model needs at least, before it."""

    added_ms: float
    least_ms: float


class Latency(NamedTuple):
    """Of a model as `furc profile` tells it, with the host's part, and that of the NPU alone. 0 where nobody knows."""

    ms: float = 0.0
    npu_ms: float = 0.0


class LatencyPrice:
    """Prices splits of one model. What the compiler refuses has no price that is known: 0.

    The whole model is compiled once, and only when somebody asks for its latency: that costs more than all chains.
    input_dtype: what the model will take. The host needs 25 ms for YOLOX-Nano's floats, and nothing for bytes.
    """

    def __init__(self, graph: Graph, input_dtype: str = "float32") -> None:
        self._graph, self.input_dtype, self._known = graph.copied(), input_dtype, dict[Hashable, float]()

    def __call__(self, graph: Graph, chain: Chain, ends: Sequence[int]) -> Cost:
        """Of a chain, split into groups that end before these channels."""
        try:
            before = self._chain_ms(graph, chain, ())
            after = self._chain_ms(graph, chain, tuple(ends))
            return Cost(max(0.0, after - before), max(before, self._edge_ms))
        except FurcError:
            return Cost(0.0, 0.0)

    def _chain_ms(self, graph: Graph, chain: Chain, ends: tuple[int, ...]) -> float:
        """A network has few forms of chains and many of each."""
        form = (_form(graph, chain), ends)
        if form not in self._known:
            self._known[form] = npu_ms(_alone(graph, chain, ends))
        return self._known[form]

    @property
    def model_ms(self) -> float:
        """Latency of the model before any split; 0 where it does not compile."""
        return self.model.ms

    @cached_property
    def model(self) -> Latency:
        """Of the model before any split."""
        from furc.compiler import compile  # here: the compiler's frontend writes QDQ models with this package
        from furc.profiling.profile import profile

        base = IN_PARTS if KEEP_FLOAT in self._graph.metadata else {}
        for config in ({}, IN_SEGMENTS):  # as `furc compile` does by itself; in segments where that does not fit
            try:
                found = profile(compile(self._written, compiler_config=base | config))
            except FurcError:
                continue
            return Latency(float(found.latency_ms), float(found.npu_ms))
        return Latency()

    @cached_property
    def _edge_ms(self) -> float:
        """What the host needs to quantize the model's inputs and to turn its outputs into floats: a part of its
        latency."""
        graph, npu = Graph(self._written), target(DEFAULT_TARGET)
        read = [n.inputs[0] for n in graph.nodes if n.op == "QuantizeLinear" and n.inputs[0] in graph.inputs]
        made = [n.output for n in graph.nodes if n.op == "DequantizeLinear" and n.output in graph.outputs]
        sizes = (sum(math.prod(graph.shape(name) or (0,)) for name in names) for names in (read, made))
        each = (npu.host_quantize_ns_per_element, npu.host_dequantize_ns_per_element)
        return sum(size * ns for size, ns in zip(sizes, each, strict=True)) / NS_PER_MS

    @cached_property
    def _written(self) -> onnx.ModelProto:
        """The model as it will be, on any grids. Raises FurcError."""
        return written(self._graph, any_ranges(self._graph), "qdq", self.input_dtype)


def npu_ms(graph: Graph) -> float:
    """NPU time of a float graph once it is quantized, by the first of the compiler's plans and short of a binary: in
    half the time. A difference of two is what it is good for. Raises FurcError where it does not compile."""
    from furc.compiler import compile_options  # here: see above
    from furc.frontend.onnx.model import own_model
    from furc.frontend.onnx.placing import Placing
    from furc.frontend.onnx.walks import import_model

    options = compile_options(DEFAULT_TARGET, 1, IN_SEGMENTS)
    program = lower(import_model(own_model(_quantized(graph)), Placing(options.npu, 1)), options)
    assert isinstance(program, Program)
    return options.npu.milliseconds(program_cycles(program, options))


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
