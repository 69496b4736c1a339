"""From a float model to an INT8 model, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import onnx
from threadpoolctl import threadpool_limits

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source, in_file
from furc.onnx.graph import Graph
from furc.progress import Progress, silent
from furc.quantizer.channels.split_plan import Channeled, SplitChoice, in_words, split_where_it_pays
from furc.quantizer.channels.split_price import LatencyPrice
from furc.quantizer.correct.compensate import compensate
from furc.quantizer.grids.qdq import check_not_quantized
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.noise.findings import AUTO_MAY, noise_findings
from furc.quantizer.noise.keep_float import check_inputs, keep_float
from furc.quantizer.noise.keep_float import in_words as in_float
from furc.quantizer.noise.measured import measured
from furc.quantizer.noise.warning import LintWarning
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.observe.held import Kept, keep
from furc.quantizer.observe.judge import judge_for
from furc.quantizer.observe.one_pass import pass_over
from furc.quantizer.observe.open_extents import at_extents_of, opened_again
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.ranges.auto_ranges import CANDIDATES, FEWEST, Choice, Trial, choose_method
from furc.quantizer.ranges.budget import budget_of
from furc.quantizer.ranges.calibrator import Observer, Ranges
from furc.quantizer.ranges.method import AUTO, WEIGHTED, CalibrationMethod, method_named
from furc.quantizer.ranges.weighted_calibration import seen_tensors, single_ranges, weighted_ranges
from furc.quantizer.surveyed import evened_out, surveyed, with_gains
from furc.quantizer.write.with_ranges import written

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

    price: of splits. options: that were asked for. choice: of the method, by "auto".
    """

    model: onnx.ModelProto
    splits: list[SplitChoice]
    graph: Graph
    tensors: Channeled
    price: LatencyPrice
    options: QuantizeOptions
    choice: Choice | None = None

    def done(self) -> list[str]:
        """What stays in float, what was split, and how the method was chosen, in words."""
        chosen = [] if self.choice is None else [str(self.choice)]
        splits = in_words(self.splits, self.price.model) if self.splits else []
        return [*in_float(self.graph), *splits, *chosen]

    def findings(self, otherwise: str = AUTO_MAY) -> list[LintWarning]:
        """Which layers still bring most noise, and what would help. otherwise: the advice where no option would."""
        splits = self.splits if self.options.split else None
        return noise_findings(self.graph, self.tensors, self.price, otherwise, splits)


def quantize_explained(
    model: Source, data: object, options: QuantizeOptions | None = None, progress: Progress | None = None
) -> Outcome:
    """As `quantize_model`, with what was done to the model and what is left to be done."""
    with in_file(model), threadpool_limits(1, "blas"):  # many small matrices: threads take 5 times the processor time
        return _quantized(model, data, options or QuantizeOptions(), progress)


def _quantized(model: Source, data: object, options: QuantizeOptions, progress: Progress | None) -> Outcome:
    say = progress or silent
    say("optimize", 0, None)
    graph = optimize_graph(model, options.input_shapes, options.opset)
    check_not_quantized(graph)
    keep_float(graph, options.keep_float)
    check_inputs(graph, options.input_dtype)
    kept = keep(feeds(taken_by(graph), data))
    total = len(data) if hasattr(data, "__len__") else None
    one_pass, opened = options.method in (WEIGHTED, AUTO), graph
    if one_pass:
        graph = at_extents_of(opened, kept.samples)
    price = LatencyPrice(graph, options.input_dtype)
    tensors = _seen(graph, opened, kept, options, say, total) if one_pass else _surveyed(graph, kept, options, say)
    tensors, splits = measured(graph, tensors, kept.samples, options.task), list[SplitChoice]()
    if options.split:
        say("split", 0, None)
        splits, tensors = split_where_it_pays(graph, tensors, price)
        tensors = measured(graph, tensors, kept.samples, options.task) if splits else tensors
    explained = graph.copied()
    samples, choice = total or len(kept.samples), None
    if options.method == AUTO:
        ranges, choice = _auto_ranges(graph, kept.samples, options, say, samples, tensors)
    elif options.method == WEIGHTED:
        ranges = weighted_ranges(graph, tensors, every=options.form == "calibrated", progress=say)
    else:
        ranges = _single_ranges(graph, kept, options, say, total)
    scheme = choose_grids(graph, ranges)
    if options.bias_correction or options.adaround:
        every = options.adaround
        compensate(graph, scheme, kept.samples, correct=options.bias_correction, every=every, progress=say)
    say("write", 0, None)
    known = {name: of for name, of in tensors.items() if of.gain.any()}
    result = written(graph, ranges, options.form, options.input_dtype)
    if graph is not opened:
        result = opened_again(result, opened)
    return Outcome(result, splits, explained, known, price, options, choice)


def _seen(
    graph: Graph, opened: Graph, kept: Kept, options: QuantizeOptions, say: Progress, total: int | None
) -> Channeled:
    """One pass over all data; then errors in channels get their gains, and channels are evened out.

    opened: the same graph with the extents that the model leaves open, which may differ in samples that are not kept.
    """
    every = options.form == "calibrated"
    names = seen_tensors(graph, every=every)
    seen, outputs = pass_over(opened, names, kept.all(), samples=total, kept=len(kept.samples), progress=say)
    say("survey", 0, None)
    found = with_gains(graph, seen, kept.samples, outputs, options.task, say)
    if options.equalize:
        say("equalize", 0, None)
        found = evened_out(graph, found, len(kept.samples))
    return found


def _surveyed(graph: Graph, kept: Kept, options: QuantizeOptions, say: Progress) -> Channeled:
    """For what comes before one of the single methods, which look at all values of all data by themselves."""
    if not options.equalize and not options.split:
        return {}
    say("survey", 0, None)
    return surveyed(graph, kept.samples, options.task, say, even=options.equalize)


def _single_ranges(graph: Graph, kept: Kept, options: QuantizeOptions, say: Progress, total: int | None) -> Ranges:
    """Ranges by one of the ten methods."""
    method = method_named(options.method)
    observer = Observer(graph, bins=method.criterion != "MIN_MAX")
    observer.observe(kept.all(), say, total)
    return observer.ranges(method, options.percentage, progress=say)


def _auto_ranges(
    graph: Graph, samples: Sequence[Feed], options: QuantizeOptions, say: Progress, count: int, tensors: Channeled
) -> tuple[Ranges, Choice]:
    """Of the best candidate, from all data; the candidates are judged on samples that their ranges have not seen."""
    back = min(HELD_BACK, count // HELD_BACK_SHARE, len(samples) // 2)
    at = range(0, len(samples), max(1, len(samples) // max(back, 1)))[: back or len(samples)]
    held, out = [samples[index] for index in at], frozenset(at if back else ())
    every = options.form == "calibrated"

    def ranges_by(method: str, of: Channeled) -> Ranges:
        if method == WEIGHTED:
            return weighted_ranges(graph, of, every=every)
        return single_ranges(graph, of, CalibrationMethod(method), options.percentage, every=every)

    budget, trials = budget_of(graph, options.budget, count), list[Trial]()
    if (room := min(budget.trials(len(held)), len(CANDIDATES))) >= FEWEST:
        rest = {name: replace(of, seen=of.seen.without(out)) for name, of in tensors.items()}
        judge = judge_for(graph, held, options.task)
        trials = choose_method(graph, lambda method: ranges_by(method, rest), held, judge, trials=room, progress=say)
    choice = Choice(tuple(trials), budget, len(held))
    found = ranges_by(choice.method, tensors)
    return found, choice
