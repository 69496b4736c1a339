"""The model that advice is asked for: read once, taken apart, with what the check says of its operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx

from furc.check import CheckReport, check_file
from furc.data.samples import Sample, random_samples
from furc.frontend.onnx.model import has_ranges
from furc.onnx.files import load
from furc.onnx.graph import Array, Graph, Node
from furc.onnx.half import in_single
from furc.onnx.model_proto import fixed_batch, fixed_inputs, infer_shapes
from furc.onnx.soundness import node_name
from furc.onnx.work import macs
from furc.quantizer.grids.operators import LINEAR
from furc.quantizer.observe.float_run import FloatRun
from furc.quantizer.optimize.fold_constants import fold_constants
from furc.request import Request
from isa.errors import FurcError

Range = tuple[float, float]


@dataclass
class Subject:
    """source: its file. model: with fixed shapes. graph: its nodes, but for what is constant, with all shapes that can
    be known. names: of nodes, as the check has them, by their first result. sample: an input, to see what kind of
    numbers tensors hold; noise by default."""

    source: str
    model: onnx.ModelProto
    graph: Graph
    request: Request
    report: CheckReport
    names: dict[str, str]
    sample: Sample | None = None
    seen: dict[str, Range] = field(default_factory=dict)  # ranges that were looked at

    @property
    def is_float(self) -> bool:
        """It is neither quantized nor has it ranges: advice may change its function and measure accuracy."""
        return not has_ranges(self.model)

    @cached_property
    def macs(self) -> dict[int, int]:
        """Multiplications of each node, by its id."""
        return macs(self.graph)

    def ranges(self, names: Sequence[str]) -> dict[str, Range]:
        """Of float tensors in a run of the float model; {} where it does not run."""
        wanted = [name for name in dict.fromkeys(names) if name not in self.seen]
        if wanted:
            try:
                sample: Mapping[str, Array] = self.sample or random_samples(self.model, 1)[0]
                values = FloatRun(self.graph, wanted)(sample)
            except FurcError:
                return {}
            self.seen |= {name: _range(value) for name, value in values.items()}
        return {name: self.seen[name] for name in names}

    def name_of(self, node: Node) -> str:
        return self.names.get(node.output, node.name or node.output)

    def is_linear(self, node: Node) -> bool:
        """It multiplies by weights: where most of the work is."""
        return node.op in LINEAR and (len(node.inputs) > 1 and self._is_weight(node.inputs[1]))

    def _is_weight(self, name: str) -> bool:
        maker = self.graph.producer(name)
        return name in self.graph.constants or (
            maker is not None and maker.op == "DequantizeLinear" and maker.inputs[0] in self.graph.constants
        )


def subject_of(path: Path | str, request: Request) -> Subject:
    """Read a model. An open batch becomes 1. Raises FurcError."""
    loaded = in_single(load(path))
    shapes = fixed_batch(loaded, request.input_shapes, request.open_batch or 1)
    report = check_file(loaded, replace(request, input_shapes=shapes), str(path))
    model = fixed_inputs(loaded, shapes) if shapes else loaded
    names = {node.output[0]: node_name(node, i) for i, node in enumerate(model.graph.node) if node.output}
    request = replace(request, input_shapes={})  # they are the model's now
    return Subject(str(path), model, _folded(model), request, report, names)


def _folded(model: onnx.ModelProto) -> Graph:
    """Without what is constant: a cut must not go through the computation of a shape."""
    graph = Graph(infer_shapes(model))
    while True:
        before = len(graph.nodes)
        fold_constants(graph)
        graph = Graph(infer_shapes(graph.model()))
        if len(graph.nodes) == before:
            return graph


def _range(values: Array) -> Range:
    finite = values[np.isfinite(values)] if values.size else values
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
