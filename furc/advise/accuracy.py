"""How close a model in INT8 comes to the float one, on samples held back: both run on ONNX Runtime, outputs are seen
through what stands behind them (furc/quantizer/observe/judge.py). A Concat at the end is judged by what it joins:
scores of 0 to 1 beside boxes of 0 to 640 would else count for nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx

from furc.advise.proposal import Accuracy, Change
from furc.advise.subject import Subject
from furc.data.samples import Sample
from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.quantizer import QuantizeOptions, Task, quantize_model
from furc.quantizer.observe.judge import Judge, judge_for
from furc.quantizer.observe.sqnr import Noise, mean_ratio

MOST_PIECES = 32  # of an output; more are judged as one
HELD = 8  # samples that are judged on, at most a quarter
DECIDES = QuantizeOptions(method="MSE_ASYM", split=False, bias_correction=False)  # quick, and the same for all


class Span(NamedTuple):
    """From start to stop on an axis, which is counted from the end: -1 is the last."""

    axis: int
    start: int
    stop: int


class Piece(NamedTuple):
    """A part of an output that is judged by itself, and the tensor that it is. spans: taken one after the other."""

    output: str
    name: str
    spans: tuple[Span, ...] = ()

    def of(self, array: Array) -> Array:
        for axis, start, stop in self.spans:
            array = array.take(range(start, stop), axis)
        return array


class Judging:
    """Accuracies of changes of one float model."""

    def __init__(
        self, subject: Subject, samples: Sequence[Sample], task: Task = Task.AUTO, options: QuantizeOptions = DECIDES
    ) -> None:
        held = max(1, min(HELD, len(samples) // 4))
        self._held, self._seen = list(samples[:held]), list(samples[held:] or samples)
        self._options, self._model = options, subject.model
        self._pieces = pieces(subject.graph)
        run = RunModel(subject.model)
        self._judge = judge_for(subject.graph, self._held, task)
        self._exact = [self._judged(run(sample)) for sample in self._held]

    def of(self, change: Change) -> Accuracy:
        """Raises FurcError where the changed model cannot be quantized."""
        before = RunModel(change.before) if change.before is not None else None
        rest = RunModel(change.rest) if change.rest is not None else None
        int8 = self._quantized(change.model or self._model, before)
        noises = {piece.name: Noise() for piece in self._pieces}
        for sample, exact in zip(self._held, self._exact, strict=True):
            values: dict[str, Array] = dict(sample)
            for run in (before, int8, rest):
                values |= run(_fed(run, values)) if run is not None else {}
            found = self._judged(values)
            for name, noise in noises.items():
                noise.add(exact[name], found[name])
        worst = min(noises, key=lambda name: noises[name].db)
        mean = Noise(signal=1.0, error=mean_ratio(noises))
        return Accuracy(mean.db, noises[worst].db, worst)

    def _quantized(self, model: onnx.ModelProto, before: RunModel | None) -> RunModel:
        samples: list[Sample] = self._seen
        if before is not None:
            samples = [{**sample, **before(_fed(before, sample))} for sample in samples]
        names = {info.name for info in model.graph.input}
        data = [{name: array for name, array in sample.items() if name in names} for sample in samples]
        return RunModel(quantize_model(model, data, self._options))

    def _judged(self, values: Mapping[str, Array]) -> dict[str, Array]:
        seen = {name: _behind(self._judge, name, values[name]) for name in {piece.output for piece in self._pieces}}
        return {piece.name: piece.of(seen[piece.output]) for piece in self._pieces}


def pieces(graph: Graph) -> list[Piece]:
    """What is judged of a model: its float outputs, and of Concats at the end all that they join."""
    found: list[Piece] = []
    for output in filter(graph.is_float, graph.outputs):
        joined = [Piece(output, name, spans) for name, spans in _joined(graph, output)]
        found += joined if len(joined) <= MOST_PIECES else [Piece(output, output)]
    return found


def _joined(graph: Graph, name: str) -> list[tuple[str, tuple[Span, ...]]]:
    """The tensors that a tensor consists of, and where in it they are."""
    node, rank = graph.producer(name), graph.rank(name)
    if node is not None and node.op == "Concat" and rank and len(set(node.inputs)) == len(node.inputs):
        axis = int(node.get("axis")) % rank - rank
        shapes = [graph.shape(each) or () for each in node.inputs]
        if all(shapes):
            ends = [0, *itertools.accumulate(shape[axis] for shape in shapes)]
            return [
                (inner, (Span(axis, start, stop), *spans))
                for each, start, stop in zip(node.inputs, ends, ends[1:], strict=False)
                for inner, spans in _joined(graph, each)
            ]
    if node is not None and node.op == "Reshape" and _last(graph, name) == _last(graph, node.inputs[0]) is not None:
        inner = _joined(graph, node.inputs[0])
        if len(inner) > 1 and all(span.axis == -1 for _, spans in inner for span in spans):
            return inner  # joined along the axis that stays as it is
    return [(name, ())]


def _last(graph: Graph, name: str) -> int | None:
    shape = graph.shape(name)
    return shape[-1] if shape else None


def _behind(judge: Judge, name: str, values: Array) -> Array:
    match judge.behind.get(name):
        case "Sigmoid":
            return np.asarray(1 / (1 + np.exp(-np.clip(values, -80, 80))))
        case "Softmax":
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        case _:
            return values


def _fed(run: RunModel, values: Mapping[str, Array]) -> dict[str, Array]:
    return {name: values[name] for name in run.inputs}
