"""What an error in each channel of each tensor does to the model's outputs, from one backward probe a sample.

The outputs are weighted so that each has power 1, and seeded with random signs: the square of the gradient that arrives
at a value is, in expectation, the power that an error of variance 1 there causes at the outputs. Summed over a channel
and averaged over samples this is the channel's gain. The same runs give the extremes of each channel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from furc.onnx.graph import Array, Float32, Graph, Node, make
from furc.onnx.run import RunModel, run_session, session
from furc.quantizer import backward
from furc.quantizer.float_run import Feed
from furc.quantizer.judge import Judge
from isa.errors import RunError

Float64 = NDArray[np.float64]
SAMPLES = 8  # enough: a channel's gain is a mean over all its positions too
PARTS = ("low", "high", "gain")


@dataclass(frozen=True, slots=True)
class Channels:
    """Of the channels (axis 1) of one tensor, [channels] each.

    low, high: extremes. gain: noise at the outputs, in parts of their power, that noise of variance 1 in every value of
    the channel causes.
    """

    low: Float64
    high: Float64
    gain: Float64

    def taken(self, places: NDArray[np.intp]) -> Channels:
        """Some of the channels, in this order."""
        return Channels(self.low[places], self.high[places], self.gain[places])


def survey(graph: Graph, names: Sequence[str], samples: Sequence[Feed], judge: Judge) -> dict[str, Channels]:
    """Statistics of these tensors over some samples. Tensors that no output depends on, and all of a model older than
    opset 13, are left out. Raises RunError[CannotRun] where a probe cannot be made or run."""
    names = [name for name in names if math.prod(graph.shape(name) or (0,))]
    if graph.opset < backward.OLDEST or not samples or not names:
        return {}
    judged, outputs = judge.judged(graph)
    run = RunModel(judged.model(), spinning=False)
    exact = [run(feed) for feed in samples]
    weight = {name: _weight([values[name] for values in exact], len(outputs)) for name in outputs}
    surveyor = _Surveyor(judged, outputs, names)
    random = np.random.default_rng(0)
    totals: dict[str, dict[str, Float64]] = {}
    for feed, values in zip(samples, exact, strict=True):
        seeds = {name: _seed(random, values[name], weight[name]) for name in outputs}
        for name, parts in surveyor(feed, seeds).items():
            _add(totals.setdefault(name, {}), parts)
    return {name: _channels(parts, len(samples)) for name, parts in totals.items()}


def _weight(values: Sequence[Array], outputs: int) -> float:
    """By which an output is multiplied so that its mean power over the samples is 1 / outputs."""
    power = float(np.mean([np.square(v, dtype=np.float64).sum() for v in values]))
    return float(1 / np.sqrt(max(power, 1e-30) * outputs))


def _seed(random: np.random.Generator, values: Array, weight: float) -> Float32:
    signs = random.integers(0, 2, values.shape) * 2 - 1
    return np.asarray(signs * weight, np.float32)


def _add(total: dict[str, Float64], parts: Mapping[str, Float64]) -> None:
    for part, value in parts.items():
        joined = {"low": np.minimum, "high": np.maximum}.get(part, np.add)
        total[part] = joined(total[part], value) if part in total else value


def _channels(parts: Mapping[str, Float64], samples: int) -> Channels:
    return Channels(parts["low"], parts["high"], parts["gain"] / samples)


class _Surveyor:
    """One session that gives three numbers a channel of each tensor."""

    def __init__(self, graph: Graph, outputs: Sequence[str], names: Sequence[str]) -> None:
        known = [name for name in names if (graph.rank(name) or 0) > 1]
        copy, found = backward.gradients(graph, outputs, known)
        self._names = list(found)
        wanted = []
        for name, gradient in found.items():
            axes = [axis for axis in range(graph.rank(name) or 0) if axis != 1]
            for part, source, op in (("low", name, "ReduceMin"), ("high", name, "ReduceMax"),
                                     ("gain", gradient, "ReduceSum")):  # fmt: skip
                made = f"{name}/{part}"
                wanted.append(made)
                if part == "gain":
                    copy.nodes.append(make("Mul", [source, source], [f"{made}/squares"]))
                    source = f"{made}/squares"
                copy.nodes.append(_reduce(copy, op, source, made, axes))
                copy.set_info(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
        if not wanted:
            raise RunError("CannotRun", "no output depends on a tensor whose gradient can be told")
        copy.outputs = wanted
        copy.changed()
        copy.remove_dead()
        self._session = session(_with_opset(copy.model(), backward.OPSET))
        self._fed = {i.name for i in self._session.get_inputs()}

    def __call__(self, feed: Feed, seeds: Mapping[str, Float32]) -> dict[str, dict[str, Float64]]:
        fed = {**feed, **{f"{name}/seed": seed for name, seed in seeds.items()}}
        values = iter(run_session(self._session, None, {name: fed[name] for name in self._fed}))
        return {name: {part: next(values).astype(np.float64).reshape(-1) for part in PARTS} for name in self._names}


def _reduce(graph: Graph, op: str, source: str, made: str, axes: Sequence[int]) -> Node:
    if op == "ReduceSum" or graph.opset >= 18:
        constant = f"survey/axes{len(axes)}"
        graph.constants[constant] = np.array(axes, np.int64)
        return make(op, [source, constant], [made], keepdims=0)
    return make(op, [source], [made], keepdims=0, axes=axes)


def _with_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, least)
    return model
