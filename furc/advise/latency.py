"""What a run costs: compiled and timed. A float model is quantized first, as if every range were the same, for timing
does not depend on ranges; what was cut off is timed on the host, by the rule of the closing report of a compile."""

from __future__ import annotations

import onnx

from furc.advise.proposal import Change, Figures
from furc.advise.subject import Subject
from furc.build import link
from furc.compiler_config import compiler_config
from furc.frontend.fitting import fitted
from furc.frontend.onnx.model import has_ranges
from furc.onnx.graph import Graph
from furc.onnx.model_proto import infer_shapes
from furc.profile_files import profile_of
from furc.profiling.host import nanoseconds
from furc.quantizer.grids.scheme import any_ranges
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.write.editor import retype_inputs
from furc.quantizer.write.with_ranges import written
from furc.request import Request
from isa.errors import LowerError, QuantizeError
from isa.npu import NS_PER_MS, NpuConfig
from passes.analysis.host_share import operators_of

PES_OF_A_CARD = 2
TOO_LONG, NO_INTEGERS = "InsufficientInstructionMemory", "NothingToQuantize"


class Timing:
    """Times changes of one model."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._quantized: dict[str, onnx.ModelProto] = {}  # the model as it is, by the type of its inputs

    def of(self, change: Change) -> Figures:
        """Raises FurcError where the model does not compile with this change."""
        request = change.request or self._subject.request
        npu, cut_off = request.npu(), [part for part in (change.before, change.rest) if part is not None]
        host_ms = sum(host_ms_of(part, npu) for part in cut_off) * (request.batch or 1)
        figures = self._compiled(self._int8(change), request)
        at_once = max(1, PES_OF_A_CARD // npu.num_pes)
        return figures._replace(host_ms=figures.host_ms + host_ms, at_once=at_once)

    def _int8(self, change: Change) -> onnx.ModelProto:
        if change.model is not None:
            return int8_for_timing(change.model, change.input_dtype)
        if change.input_dtype not in self._quantized:
            self._quantized[change.input_dtype] = int8_for_timing(self._subject.model, change.input_dtype)
        return self._quantized[change.input_dtype]

    def _compiled(self, model: onnx.ModelProto, request: Request) -> Figures:
        try:
            loading = compiler_config(request.settings).use_program_loading
            return _timed(model, request, self._subject.source)._replace(program_loading=loading)
        except LowerError as error:
            if error.name != TOO_LONG:
                raise
        in_pieces = request.setting("use_program_loading", True)
        return _timed(model, in_pieces, self._subject.source)._replace(program_loading=True)


def int8_for_timing(model: onnx.ModelProto, input_dtype: str = "float32") -> onnx.ModelProto:
    """A model that compiles: quantized with any ranges where it is float."""
    if has_ranges(model):
        graph = Graph(model)
        retype_inputs(graph, input_dtype)
        return graph.model() if input_dtype != "float32" else model
    graph = optimize_graph(model)
    return _with_any_ranges(graph, input_dtype) or model


def _with_any_ranges(graph: Graph, input_dtype: str) -> onnx.ModelProto | None:
    """A float model in INT8; None where all of it is for the host."""
    try:
        return written(graph, any_ranges(graph), "qdq", input_dtype)
    except QuantizeError as error:
        if error.name != NO_INTEGERS:
            raise
        return None


def host_ms_of(model: onnx.ModelProto, npu: NpuConfig) -> float:
    """What a float model takes on the host."""
    return sum(nanoseconds(operator, npu) for operator in operators_of(infer_shapes(model))) / NS_PER_MS


def _timed(model: onnx.ModelProto, request: Request, source: str) -> Figures:
    built = fitted(lambda leave: request.load(model, source, leave), lambda graph: link(graph, request.options()))
    profile = profile_of(built.enf, request.npu())
    return Figures(profile.npu_ms, profile.host_ms, request.batch or 1)
