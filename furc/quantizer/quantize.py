"""From a float model to an INT8 model, in one call."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source, in_file
from furc.onnx.graph import Graph
from furc.quantizer.affine import Range
from furc.quantizer.auto_ranges import choose_methods, ranges_by_choice
from furc.quantizer.bias_correction import correct_biases
from furc.quantizer.calibrated import calibrated_ranges, write_calibrated
from furc.quantizer.calibrator import Observer, Progress, Ranges
from furc.quantizer.editor import apply_retype, noted_retypes, retype_inputs
from furc.quantizer.equalize import equalize
from furc.quantizer.held import Kept, keep
from furc.quantizer.method import AUTO, method_named
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import Form, QuantizeOptions
from furc.quantizer.qdq import check_not_quantized, write_qdq
from furc.quantizer.rounding import reconstruct_rounding
from furc.quantizer.scheme import choose_grids
from isa.errors import QuantizeError

HELD_BACK = 16  # samples that method "auto" judges by, at most
SHOWN_OPERATORS = 8
HELD_BACK_SHARE = 2  # at most one in so many


def quantize(model: Source, tensor_name_to_range: Mapping[str, Range] | None = None, *, form: Form = "qdq") -> bytes:
    """The model with these ranges, by default those in its metadata. form: see QuantizeOptions.

    Raises QuantizeError[MissingRange, BadRange, AlreadyQuantized].
    """
    with in_file(model):
        graph = optimize_graph(model)
        check_not_quantized(graph)
        ranges = calibrated_ranges(graph) if tensor_name_to_range is None else tensor_name_to_range
        return bytes(_written(graph, ranges, form).SerializeToString())


def quantize_model(
    model: Source, data: object, options: QuantizeOptions | None = None, progress: Progress | None = None
) -> onnx.ModelProto:
    """Optimize, calibrate on `data` and quantize. model: a path, bytes or an onnx.ModelProto. data: dicts by input
    name, arrays or lists of arrays, read once; or one dict of stacked arrays [samples, ...].

    Raises SourceError for a damaged model, QuantizeError for one that cannot be quantized and for data that cannot be
    used.
    """
    with in_file(model):
        return _quantized(model, data, options or QuantizeOptions(), progress)


def _quantized(model: Source, data: object, options: QuantizeOptions, progress: Progress | None) -> onnx.ModelProto:
    say = progress or _silent
    say("optimize", 0, None)
    graph = optimize_graph(model, options.input_shapes, options.opset)
    check_not_quantized(graph)
    kept = keep(feeds(taken_by(graph), data))
    if options.equalize:
        say("equalize", 0, None)
        equalize(graph, kept.samples)
    ranges = _ranges(graph, kept, options, progress, len(data) if hasattr(data, "__len__") else None)
    scheme = choose_grids(graph, ranges)
    if options.adaround:
        reconstruct_rounding(graph, scheme, kept.samples, progress=progress)
    if options.bias_correction:
        correct_biases(graph, scheme, kept.samples, progress)
    say("write", 0, None)
    return _written(graph, ranges, options.form, options.input_dtype)


def _silent(what: str, done: int, total: int | None) -> None:
    """For who does not ask."""


def _ranges(graph: Graph, kept: Kept, options: QuantizeOptions, progress: Progress | None, total: int | None) -> Ranges:
    observer = Observer(graph, bins=options.method == AUTO or method_named(options.method).criterion != "MIN_MAX")
    if options.method != AUTO:
        observer.observe(kept.all(), progress, total)
        return observer.ranges(method_named(options.method), options.percentage, progress=progress)
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
