"""From a float model to an INT8 model, in one call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import onnx

from furc.quantizer.affine import Range
from furc.quantizer.auto_ranges import choose_methods, ranges_by_choice
from furc.quantizer.bias_correction import correct_biases
from furc.quantizer.calibrated import calibrated_ranges, write_calibrated
from furc.quantizer.calibrator import Observer, Progress, Ranges
from furc.quantizer.editor import apply_retype, noted_retypes, retype_inputs
from furc.quantizer.equalize import equalize
from furc.quantizer.float_run import feeds
from furc.quantizer.graph import Graph
from furc.quantizer.held import Kept, keep
from furc.quantizer.judge import judge_for
from furc.quantizer.keep_float import keep_float
from furc.quantizer.method import AUTO, WEIGHTED, method_named
from furc.quantizer.noise_lint import noise_findings
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import Form, QuantizeOptions
from furc.quantizer.pointwise import behind
from furc.quantizer.qdq import check_not_quantized, write_qdq
from furc.quantizer.rounding import reconstruct_rounding
from furc.quantizer.scheme import choose_grids, quantized_tensors
from furc.quantizer.sensitivity import SAMPLES, survey
from furc.quantizer.split_plan import Channeled, SplitChoice, split_where_it_pays
from furc.quantizer.split_price import LatencyPrice
from furc.quantizer.warning import LintWarning
from isa.errors import QuantizeError

HELD_BACK = 16  # samples that method "auto" judges by, at most
SHOWN_OPERATORS = 8
HELD_BACK_SHARE = 2  # at most one in so many


def quantize(
    model: onnx.ModelProto | bytes, tensor_name_to_range: Mapping[str, Range] | None = None, *, form: Form = "qdq"
) -> bytes:
    """The model with these ranges, by default those in its metadata. form: see QuantizeOptions.

    Raises QuantizeError[MissingRange, BadRange, AlreadyQuantized].
    """
    graph = optimize_graph(model)
    check_not_quantized(graph)
    ranges = calibrated_ranges(graph) if tensor_name_to_range is None else tensor_name_to_range
    return bytes(_written(graph, ranges, form).SerializeToString())


def quantize_model(
    model: onnx.ModelProto | bytes, data: object, options: QuantizeOptions, progress: Progress | None = None
) -> onnx.ModelProto:
    """Optimize, calibrate on `data` and quantize. data: dicts by input name, arrays or lists of arrays; read once.

    Raises QuantizeError for a model that cannot be quantized and for data that cannot be used.
    """
    return quantize_explained(model, data, options, progress).model


class Outcome(NamedTuple):
    """splits: what is computed in groups. graph, tensors: the float model as it was quantized, and its channels."""

    model: onnx.ModelProto
    splits: list[SplitChoice]
    graph: Graph
    tensors: Channeled

    def findings(self) -> list[LintWarning]:
        """Which layers still bring most noise, and what would help."""
        return noise_findings(self.graph, self.tensors, LatencyPrice(self.graph))


def quantize_explained(
    model: onnx.ModelProto | bytes, data: object, options: QuantizeOptions, progress: Progress | None = None
) -> Outcome:
    """As `quantize_model`, with what was done to the model and what is left to be done."""
    graph = optimize_graph(model, options.input_shapes, options.opset)
    check_not_quantized(graph)
    keep_float(graph, options.keep_float)
    kept = keep(feeds(graph.inputs, data))
    if options.equalize:
        equalize(graph, kept.samples)
    tensors, splits = _surveyed(graph, kept, options), list[SplitChoice]()
    if options.split:
        splits, tensors = split_where_it_pays(graph, tensors, LatencyPrice(graph))
    explained = Graph(graph.model())
    ranges = _ranges(graph, kept, options, progress, len(data) if hasattr(data, "__len__") else None, tensors)
    scheme = choose_grids(graph, ranges)
    if options.adaround:
        reconstruct_rounding(graph, scheme, kept.samples, progress=progress)
    if options.bias_correction:
        correct_biases(graph, scheme, kept.samples)
    return Outcome(_written(graph, ranges, options.form, options.input_dtype), splits, explained, tensors)


def _surveyed(graph: Graph, kept: Kept, options: QuantizeOptions) -> Channeled:
    """Sensitivities, where something asks for them."""
    if not options.split and options.method != WEIGHTED:
        return {}
    samples = kept.samples[:: max(1, len(kept.samples) // SAMPLES)][:SAMPLES]
    return survey(graph, quantized_tensors(graph), samples, judge_for(graph, samples, options.task))


def _weighted(graph: Graph, kept: Kept, progress: Progress | None, total: int | None, tensors: Channeled) -> Ranges:
    gains = {}
    for name, channels in tensors.items():
        function = behind(graph, name)
        source = tensors.get(function.result, channels) if function is not None else channels
        gains[name] = source.gain
    observer = Observer(graph, gains=gains)
    observer.observe(kept.all(), progress, total)
    return observer.weighted_ranges()


def _ranges(
    graph: Graph, kept: Kept, options: QuantizeOptions, progress: Progress | None, total: int | None, tensors: Channeled
) -> Ranges:
    if options.method == WEIGHTED:
        return _weighted(graph, kept, progress, total, tensors)
    observer = Observer(graph, bins=options.method == AUTO or method_named(options.method).criterion != "MIN_MAX")
    if options.method != AUTO:
        observer.observe(kept.all(), progress, total)
        return observer.ranges(method_named(options.method), options.percentage)
    back = min(HELD_BACK, (total or len(kept.samples)) // HELD_BACK_SHARE, len(kept.samples) // 2)
    held = kept.samples[:: max(1, len(kept.samples) // max(back, 1))][:back] or kept.samples
    chosen = {id(feed) for feed in held} if back else set()
    observer.observe((feed for feed in kept.all() if id(feed) not in chosen), progress, total)
    seen = [feed for feed in kept.samples if id(feed) not in chosen] if options.bias_correction else []
    choice = choose_methods(observer, held, correct_with=seen, percentage=options.percentage, progress=progress)
    if back:
        observer.observe(held)
    return ranges_by_choice(observer, choice, options.percentage)


def _written(graph: Graph, ranges: Mapping[str, Range], form: Form, input_dtype: str = "float32") -> onnx.ModelProto:
    scheme = choose_grids(graph, ranges)  # also for the calibrated form: it refuses ranges that could not be used
    if form == "calibrated":
        return write_calibrated(graph, ranges)
    written = Graph(write_qdq(graph, scheme))
    if not any(node.op == "QuantizeLinear" for node in written.nodes):
        raise QuantizeError(
            "NothingToQuantize", f"no operator of the model computes on int8: {_operators(graph)}",
            hint="quantize a model with operators such as Conv, Gemm, Add or MaxPool",
        )  # fmt: skip
    retype_inputs(written, input_dtype)
    for retype in noted_retypes(graph):
        apply_retype(written, retype)
    return written.model()


def _operators(graph: Graph) -> str:
    """What the model is made of, for a message."""
    kinds = sorted({node.op for node in graph.nodes})
    return "it has " + ", ".join(kinds[:SHOWN_OPERATORS]) if kinds else "it has no operators"
