"""Quantize float models from files, on data from files; compare the methods of calibration on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import onnx

from furc.data.noted import note_pixels
from furc.data.samples import Sample, SampleSource, Shapes, read_samples
from furc.frontend import load_onnx
from furc.onnx.files import in_file, load
from furc.onnx.half import in_single
from furc.onnx.model_proto import fixed_batch
from furc.output import PRODUCER
from furc.progress import Progress, silent
from furc.quantizer import (
    CalibrationMethod,
    LintWarning,
    MethodRow,
    Observer,
    Outcome,
    QuantizeOptions,
    compare_methods,
    layer_sqnr,
    lint,
    noise_report,
    quantize_explained,
    report_html,
    tensor_ranges,
)
from furc.quantizer.noise.keep_float import keep_float
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.method import AUTO, WEIGHTED
from furc.quantizer.reports.report import ranges_in
from furc.runtime.runner import npu_runner_for
from furc.version import __version__
from isa.errors import FurcError, Loc, SourceError

LINTED = 16  # samples that the warnings look at: fewer are a warning themselves
WIDE = ("MIN", "PERCENTILE")  # methods that leave out little, and not by their own judgement
SHOWN_CHANNELS = 4  # samples in which channels that never change are looked for
HELD_OUT = 8  # samples that methods are judged on, at most a quarter


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """An INT8 model, how many samples it was calibrated on, and what looks wrong with them and with it.

    method: that gave the ranges, the chosen one of "auto". done: what was done to the model beyond rounding, in words.
    uncompilable: why a compile will refuse the model; None where it reads it.
    """

    model: onnx.ModelProto
    samples: int
    method: str
    done: tuple[str, ...]
    warnings: tuple[LintWarning, ...]
    uncompilable: FurcError | None


class Comparison(NamedTuple):
    """A row for each method; the samples they were calibrated on, and those they were judged on: the same list where
    there is one sample alone."""

    rows: list[MethodRow]
    seen: list[Sample]
    held_out: list[Sample]


def read_float_model(path: Path | str) -> onnx.ModelProto:
    """An ONNX model with its external data, of float32 where it is of float16.

    Raises SourceError ModelNotFound, NotOnnx, ExternalDataMissing, ...
    """
    model = in_single(load(path))
    if not model.graph.output:
        raise SourceError(
            "NotOnnx", "not an ONNX model: no graph with outputs", at=Loc(str(path)), hint="pass a .onnx file"
        )
    return model


def open_shapes(path: Path | str, shapes: Shapes, batch: int | None) -> Shapes:
    """shapes, and those of inputs of which the model leaves only the batch open. Raises SourceError."""
    return fixed_batch(read_float_model(path), shapes, batch)


def quantize_file(
    path: Path | str,
    data: SampleSource,
    options: QuantizeOptions | None = None,
    progress: Progress | None = None,
    *,
    batch: int | None = None,
) -> Quantized:
    """A float model in INT8, and warnings about the data; noise has nothing to say about it. Raises FurcError.

    batch: what a batch that the model leaves open becomes. How images became samples is noted in the result.
    """
    options, say = options or QuantizeOptions(), progress or silent
    with in_file(path):
        model = read_float_model(path)
        options = replace(options, input_shapes=fixed_batch(model, options.input_shapes, batch))
        samples = read_samples(model, data, options.input_shapes)
        outcome = quantize_explained(model, samples, options, progress)
        say("check the result", 0, None)
        uncompilable = _uncompilable(outcome.model, options.input_shapes)
        warnings = _lint(model, samples, options, outcome) if data.random is None else []
    if data.of_images:
        note_pixels(outcome.model, data.pixels)
    outcome.model.producer_name, outcome.model.producer_version = PRODUCER, __version__
    return Quantized(
        model=outcome.model,
        samples=len(samples),
        method=options.method if outcome.choice is None else outcome.choice.method,
        done=tuple(outcome.done()),
        warnings=tuple(warnings),
        uncompilable=uncompilable,
    )


def advice(options: QuantizeOptions) -> str:
    """What is not on yet, of what docs/accuracy.md finds worthwhile."""
    off = {
        "--equalize": not options.equalize,
        "--bias-correction": not options.bias_correction,
        "--split": not options.split,
        "--method weighted": options.method not in (WEIGHTED, AUTO),
        "--adaround": not options.adaround,
    }
    wanted = [option for option, is_off in off.items() if is_off]
    return f"try {', '.join(wanted)}" if wanted else "train with quantization simulated, or keep this part in float"


def _uncompilable(quantized: onnx.ModelProto, shapes: Shapes) -> FurcError | None:
    """Why a compile will refuse the result; None where it reads it. What it cannot even read is our fault."""
    try:
        load_onnx(quantized, input_shapes=shapes)
    except FurcError as error:
        assert error.name != "InvalidGraph", f"the quantizer wrote {error.message}"
        return error
    return None


def compare_methods_on(
    path: Path | str,
    data: SampleSource,
    methods: Sequence[str] = tuple(CalibrationMethod),
    input_shapes: Shapes | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Quantize a float model by each method and compare the simulated NPU with the float model. Raises FurcError.

    A part of the data is held out: methods are judged on samples that they have not seen.
    """
    shapes = dict(input_shapes or {})
    with in_file(path):
        model = read_float_model(path)
        samples = read_samples(model, data, shapes)
        held = max(1, min(HELD_OUT, len(samples) // 4))
        seen, unseen = (samples[held:], samples[:held]) if len(samples) > held else (samples, samples)
        rows = compare_methods(
            model,
            seen,
            unseen,
            methods=methods,
            options=QuantizeOptions(input_shapes=shapes),
            progress=progress,
            run=npu_runner_for,
        )
    return Comparison(rows, seen, unseen)


def comparison_html(path: Path | str, comparison: Comparison, input_shapes: Shapes | None = None) -> str:
    """The page of a comparison, with histograms, ranges, SQNR by layer, and where noise comes from."""
    model, shapes = read_float_model(path), dict(input_shapes or {})
    observer = Observer(optimize_graph(model, shapes))
    observer.observe(comparison.seen)
    noise = noise_report(model, comparison.seen, QuantizeOptions(input_shapes=shapes))
    ranges = tensor_ranges(observer)
    return report_html(Path(path).name, comparison.rows, ranges, measured_on="the simulated NPU", noise=noise)


def _lint(
    model: onnx.ModelProto, samples: list[Sample], options: QuantizeOptions, outcome: Outcome
) -> list[LintWarning]:
    """What looks wrong with the data, and which layers cost most.

    Where nothing was surveyed, signs of that in a result that ONNX Runtime runs on the same data.
    """
    shown = samples[:SHOWN_CHANNELS]
    if outcome.tensors:
        graph = optimize_graph(model, options.input_shapes, options.opset)
        keep_float(graph, options.keep_float)
        observer = Observer(graph, only=graph.inputs)
        observer.observe(samples[:LINTED])
        return lint(observer, samples=shown, noise=outcome.findings(advice(options)))
    observer = Observer(outcome.graph)
    observer.observe(samples[:LINTED])
    runs = options.form == "qdq" and options.input_dtype == "float32"
    layers = layer_sqnr(outcome.graph, outcome.model, shown) if runs else []
    clips = options.method.upper().partition("_")[0] not in WIDE  # that is what the method is for
    ranges = ranges_in(outcome.model) if runs and not clips else None
    return lint(observer, ranges, layers, shown, advice(options))
