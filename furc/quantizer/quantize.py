"""From a float model to an INT8 model, in one call."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import onnx

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source, in_file
from furc.onnx.graph import Graph
from furc.quantizer.auto_ranges import affordable, choose_method
from furc.quantizer.bias_correction import correct_biases
from furc.quantizer.calibrator import Observer, Progress, Ranges
from furc.quantizer.equalize import equalize
from furc.quantizer.held import Kept, keep
from furc.quantizer.judge import judge_for
from furc.quantizer.keep_float import keep_float
from furc.quantizer.local_tuning import tune_ranges
from furc.quantizer.method import AUTO, WEIGHTED, CalibrationMethod, method_named
from furc.quantizer.noise_lint import AUTO_MAY, noise_findings
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.qdq import check_not_quantized
from furc.quantizer.rounding import reconstruct_rounding
from furc.quantizer.scheme import choose_grids
from furc.quantizer.split_plan import Channeled, SplitChoice, split_where_it_pays
from furc.quantizer.split_price import LatencyPrice
from furc.quantizer.surveyed import surveyed
from furc.quantizer.warning import LintWarning
from furc.quantizer.weighted_calibration import Weighted, free_tensors
from furc.quantizer.with_ranges import written

TUNING_SHARE = 2.0  # of the float inferences: what tuning may cost
CORRECT_SAMPLES = 16  # for bias correction: means settle fast
HELD_BACK = 8  # samples that method "auto" judges by, at most
HELD_BACK_SHARE = 2  # at most one in so many


def quantize_model(
    model: Source, data: object, options: QuantizeOptions | None = None, progress: Progress | None = None
) -> onnx.ModelProto:
    """Optimize, calibrate on `data` and quantize. model: a path, bytes or an onnx.ModelProto. data: dicts by input
    name, arrays or lists of arrays, read once; or one dict of stacked arrays [samples, ...].

    Raises SourceError for a damaged model, QuantizeError for one that cannot be quantized and for data that cannot be
    used.
    """
    return quantize_explained(model, data, options, progress).model


class Outcome(NamedTuple):
    """splits: what is computed in groups. graph, tensors: the float model as it was quantized, and its channels.

    price: of splits.
    """

    model: onnx.ModelProto
    splits: list[SplitChoice]
    graph: Graph
    tensors: Channeled
    price: LatencyPrice

    def done(self) -> list[str]:
        """What was split, in words."""
        return [str(replace(choice, model_ms=self.price.model_ms)) for choice in self.splits]

    def findings(self, otherwise: str = AUTO_MAY) -> list[LintWarning]:
        """Which layers still bring most noise, and what would help. otherwise: the advice where no option would."""
        return noise_findings(self.graph, self.tensors, self.price, otherwise)


def quantize_explained(
    model: Source, data: object, options: QuantizeOptions | None = None, progress: Progress | None = None
) -> Outcome:
    """As `quantize_model`, with what was done to the model and what is left to be done."""
    with in_file(model):
        return _quantized(model, data, options or QuantizeOptions(), progress)


def _quantized(model: Source, data: object, options: QuantizeOptions, progress: Progress | None) -> Outcome:
    say = progress or _silent
    say("optimize", 0, None)
    graph = optimize_graph(model, options.input_shapes, options.opset)
    check_not_quantized(graph)
    keep_float(graph, options.keep_float)
    kept = keep(feeds(taken_by(graph), data))
    if options.equalize:
        say("equalize", 0, None)
        equalize(graph, kept.samples)
    tensors, splits, price = Channeled(), list[SplitChoice](), LatencyPrice(graph)
    if options.split or options.method in (WEIGHTED, AUTO):
        say("survey", 0, None)
        tensors = surveyed(graph, kept.samples, options.task, say)
    if options.split:
        say("split", 0, None)
        splits, tensors = split_where_it_pays(graph, tensors, price)
    explained = Graph(graph.model())
    ranges = _ranges(graph, kept, options, progress, len(data) if hasattr(data, "__len__") else None, tensors)
    scheme = choose_grids(graph, ranges)
    if options.adaround:
        reconstruct_rounding(graph, scheme, kept.samples, progress=progress)
    if options.bias_correction:
        correct_biases(graph, scheme, kept.samples[:CORRECT_SAMPLES], progress)
    say("write", 0, None)
    return Outcome(written(graph, ranges, options.form, options.input_dtype), splits, explained, tensors, price)


def _silent(what: str, done: int, total: int | None) -> None:
    """For who does not ask."""


def _ranges(
    graph: Graph, kept: Kept, options: QuantizeOptions, progress: Progress | None, total: int | None, tensors: Channeled
) -> Ranges:
    if options.method == AUTO:
        return _auto_ranges(graph, kept, options, progress, total, tensors)
    if options.method == WEIGHTED:
        weighted = Weighted(graph, tensors, every=options.form == "calibrated", samples=total)
        weighted.observer.observe(kept.all(), progress, total)
        passes = TUNING_SHARE * (total or len(kept.samples))
        ranges = weighted.ranges(progress)
        if progress is not None:
            progress("tune ranges", 0, None)
        return tune_ranges(graph, ranges, tensors, kept.samples, passes=passes)
    observer = Observer(graph, bins=method_named(options.method).criterion != "MIN_MAX")
    observer.observe(kept.all(), progress, total)
    return observer.ranges(method_named(options.method), options.percentage, progress=progress)


def _auto_ranges(
    graph: Graph, kept: Kept, options: QuantizeOptions, progress: Progress | None, total: int | None, tensors: Channeled
) -> Ranges:
    """Of the best candidate, from all data; the candidates are judged on samples that their ranges have not seen."""
    count = total or len(kept.samples)
    back = min(HELD_BACK, count // HELD_BACK_SHARE, len(kept.samples) // 2)
    held = kept.samples[:: max(1, len(kept.samples) // max(back, 1))][:back] or kept.samples
    out = {id(feed) for feed in held} if back else set()
    every = options.form == "calibrated"
    weighted = Weighted(graph, tensors, every=every, samples=total)
    observer = Observer(graph, only=None if every else free_tensors(graph), binned_values=weighted.binned_values)

    def ranges_by(method: str) -> Ranges:
        single = observer.ranges(CalibrationMethod(method), options.percentage) if method != WEIGHTED else None
        return weighted.ranges() if single is None else single

    others = (weighted.observer,)
    observer.observe((feed for feed in kept.all() if id(feed) not in out), progress, total, others)
    seen = [feed for feed in kept.samples if id(feed) not in out] if options.bias_correction else []
    judge = judge_for(graph, held, options.task)
    trials = affordable(count, len(held), corrected=bool(seen))
    chosen = choose_method(
        graph, ranges_by, held, judge, correct_with=seen, trials=trials, progress=progress
    )[0].method  # fmt: skip
    if back:
        observer.observe(held, others=others)
    found = ranges_by(chosen)
    passes = TUNING_SHARE * count
    return tune_ranges(graph, found, tensors, kept.samples, passes=passes) if chosen == WEIGHTED else found
