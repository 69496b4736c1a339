"""What quantization does to a model, in numbers: SQNR by layer, ranges, methods side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.data.feeds import feeds, taken_by
from furc.onnx.files import Source
from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel, runner_for
from furc.progress import Progress, silent
from furc.quantizer.grids.affine import Range
from furc.quantizer.grids.qdq import check_not_quantized, write_qdq
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.observe.float_run import Feed, FloatRun
from furc.quantizer.observe.held import keep
from furc.quantizer.observe.sqnr import Noise, mean_ratio
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.options import QuantizeOptions
from furc.quantizer.quantize import quantize_explained
from furc.quantizer.ranges.calibrator import Observer, Ranges
from furc.quantizer.ranges.method import CalibrationMethod
from furc.quantizer.surveyed import surveyed
from isa.errors import NOWHERE, Loc

_QUANTIZE = "/QuantizeLinear"

Runner = Callable[[dict[str, Array]], dict[str, Array]]
RunnerFor = Callable[[onnx.ModelProto], Runner]
Accuracy = Callable[[Runner], float]  # of a runner, in percent; the caller owns the data and the metric
PLOT_BINS = 128


@dataclass(frozen=True, slots=True)
class LayerSqnr:
    """How well one tensor survives. op: the operator that makes it. at: its node."""

    tensor: str
    op: str
    db: float
    at: Loc = NOWHERE


@dataclass(frozen=True, slots=True)
class TensorRanges:
    """A tensor's histogram and the range that each method gives it. edges: [bins + 1], counts: [bins]."""

    tensor: str
    edges: NDArray[np.float64]
    counts: NDArray[np.float64]
    ranges: Mapping[str, Range]


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One row of a comparison. accuracy: percent, None without labels. bytes: of the quantized model.

    output_db: SQNR of the outputs against the float model, averaged as noise. agreement: share of samples whose first
    output has its largest entry where the float model has it, in percent; None where it is no row of classes. seconds:
    to calibrate and quantize.
    """

    method: str
    accuracy: float | None
    output_db: float
    agreement: float | None
    bytes: int
    seconds: float
    layers: tuple[LayerSqnr, ...] = ()


def layer_sqnr(graph: Graph, quantized: onnx.ModelProto, samples: Iterable[Feed]) -> list[LayerSqnr]:
    """SQNR of every quantized tensor, the worst first. quantized: what `write_qdq` made of `graph`.

    Where weights were equalized or channels split, `graph` must be what became of it (`Outcome.graph`): the layers
    inside have other scales and another order of channels.
    """
    stored = {o: n.input[0] for n in quantized.graph.node if n.op_type == "DequantizeLinear" for o in n.output}
    pairs = {name: _seen_as(name, stored) for name in _quantized_names(graph, stored)}
    exact, found = FloatRun(graph, list(pairs)), FloatRun(Graph(quantized), list(pairs.values()))
    noises = {name: Noise() for name in pairs}
    for feed in samples:
        wanted, got = exact(feed), found(feed)
        for name, noise in noises.items():
            noise.add(wanted[name], got[pairs[name]])
    rows = [_layer(graph, name, noise) for name, noise in noises.items()]
    return sorted(rows, key=lambda row: row.db)


def tensor_ranges(observer: Observer) -> list[TensorRanges]:
    """Histograms and ranges of all tensors by each method, for plots."""
    ranges = {str(method): observer.ranges(method) for method in CalibrationMethod}
    found = []
    for name, histogram in observer.histograms.items():
        low, high = histogram.range
        edges = np.linspace(low, high if high > low else low + 1, PLOT_BINS + 1)
        bins = histogram.bins()
        counts, _ = np.histogram(bins.centre, edges, weights=bins.held)
        found.append(TensorRanges(name, edges, counts, {method: ranges[method][name] for method in ranges}))
    return found


def compare_methods(
    model: Source,
    calibration: Sequence[Feed],
    evaluation: Sequence[Feed],
    *,
    methods: Sequence[str] = tuple(CalibrationMethod),
    options: QuantizeOptions | None = None,
    accuracy: Accuracy | None = None,
    run: RunnerFor = runner_for,
    progress: Progress | None = None,
) -> list[MethodRow]:
    """Quantize by each method and measure on `evaluation`.

    options: all but the method. accuracy: computes a figure of merit from a runner. run: how a model is run, for
    instance compiled on the simulated NPU; SQNR by layer is of ONNX Runtime.
    """
    base = options or QuantizeOptions()
    graph = optimize_graph(model, base.input_shapes, base.opset)
    check_not_quantized(graph)
    exact_run = RunModel(graph)
    if base.equalize:  # once for all methods
        surveyed(graph, keep(feeds(taken_by(graph), calibration)).samples, base.task, progress or silent, even=True)
        base = replace(base, equalize=False)
    exact = [exact_run(feed) for feed in evaluation]
    rows = []
    for done, method in enumerate(methods):
        start = time.perf_counter()
        outcome = quantize_explained(graph.model(), calibration, replace(base, method=method, form="qdq"))
        quantized, seconds = outcome.model, time.perf_counter() - start
        runner = run(quantized)
        rows.append(
            MethodRow(
                method=str(method),
                accuracy=None if accuracy is None else accuracy(runner),
                **_closeness(exact, [runner(dict(feed)) for feed in evaluation]),
                bytes=quantized.ByteSize(),
                seconds=seconds,
                layers=tuple(layer_sqnr(outcome.graph, quantized, evaluation[:4]))
                if base.input_dtype == "float32"
                else (),
            )
        )
        if progress is not None:
            progress("compare methods", done + 1, len(methods))
    return rows


def ranges_in(quantized: onnx.ModelProto) -> dict[str, Range]:
    """The range that each activation of a QDQ model can hold, by the float tensor's name."""
    values = {t.name: onnx.numpy_helper.to_array(t) for t in quantized.graph.initializer}
    found = {}
    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear" and node.name.endswith(_QUANTIZE):
            scale, zero = float(values[node.input[1]]), values[node.input[2]]
            levels = np.iinfo(zero.dtype)
            low, high = (scale * (end - int(zero)) for end in (levels.min, levels.max))
            found[node.name.removesuffix(_QUANTIZE)] = (low, high)
    return found


def quantized_with(observer: Observer, ranges: Ranges) -> onnx.ModelProto:
    """The observed graph quantized with ranges."""
    return write_qdq(observer.graph, choose_grids(observer.graph, ranges))


class _Closeness(TypedDict):
    output_db: float
    agreement: float | None


def _closeness(exact: Sequence[Mapping[str, Array]], found: Sequence[Mapping[str, Array]]) -> _Closeness:
    noises: dict[str, Noise] = {}
    same, classes = 0, True
    for wanted, got in zip(exact, found, strict=True):
        for name, values in wanted.items():
            noises.setdefault(name, Noise()).add(values, got[name])
        first = next(iter(wanted))
        classes = classes and _is_row(wanted[first]) and wanted[first].shape == got[first].shape
        same += int(classes and np.argmax(wanted[first]) == np.argmax(got[first]))
    overall = Noise(1.0, mean_ratio(noises))
    return {"output_db": overall.db, "agreement": 100 * same / max(len(exact), 1) if classes else None}


def _is_row(values: Array) -> bool:
    """Whether it holds something along axis 1 alone, or the only axis."""
    return values.ndim > 0 and values.size == values.shape[:2][-1] > 0


def _quantized_names(graph: Graph, stored: Mapping[str, str]) -> list[str]:
    names = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    return [name for name in names if _seen_as(name, stored) in stored]


def _seen_as(name: str, stored: Mapping[str, str]) -> str:
    """The dequantized tensor that stands for `name`: a graph output keeps its name."""
    return name if name in stored else f"{name}_dequantized"


def _layer(graph: Graph, name: str, noise: Noise) -> LayerSqnr:
    node = graph.producer(name)
    return LayerSqnr(name, node.op if node else "input", noise.db, node.loc if node else NOWHERE)
