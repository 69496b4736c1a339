"""What an error in each channel of each tensor does to the model's outputs, from one backward probe a sample.

The outputs are weighted so that each has power 1, and seeded with random signs: the square of the gradient that arrives
at a value is, in expectation, the power that an error of variance 1 there causes at the outputs. Summed over a channel
and averaged over samples this is the channel's gain. Extremes are those of the pass over the data (one_pass.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph, Node, make
from furc.onnx.run import run_session, session
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.observe.judge import Judge
from furc.quantizer.observe.one_pass import Seen
from furc.quantizer.sensitivity import backward
from isa.errors import RunError

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Channels:
    """Of the channels (axis 1) of one tensor, [channels] each.

    low, high: extremes of some of the samples: a single one of many images must not decide what is split.
    gain: noise at the outputs, in parts of their power, that noise of variance 1 in every value of
    the channel causes; all 0 where nobody knows. seen: by the pass over all samples. most: noise of the tensor on one
    grid at the outputs, as measured, whatever the gains say; infinite where nobody measured it.
    """

    low: Float64
    high: Float64
    gain: Float64
    seen: Seen
    most: float = math.inf

    def taken(self, places: NDArray[np.intp]) -> Channels:
        """Some of the channels, in this order."""
        most = self.most if len(places) == len(self.gain) else math.inf
        return Channels(self.low[places], self.high[places], self.gain[places], self.seen.taken(places), most)


def gains(
    graph: Graph, names: Sequence[str], samples: Sequence[Feed], judge: Judge, outputs: Sequence[Mapping[str, Array]]
) -> dict[str, Float64]:
    """The gain of each channel of these tensors, see `Channels`. outputs: of the graph, to say what power is usual.

    Tensors that no output depends on, whose gradient overflows, and all of a model older than opset 13, are left out.
    Raises RunError[CannotRun] where a probe cannot be made or run, or tells nothing of any tensor.
    """
    names = [name for name in names if math.prod(graph.shape(name) or (0,))]
    if graph.opset < backward.OLDEST or not samples or not names:
        return {}
    judged, ends = judge.judged(graph)
    exact = [judge.seen(values) for values in outputs]
    before = dict(zip(ends, (name for name in graph.outputs if graph.is_float(name)), strict=True))
    weight = {end: _weight([values[name] for values in exact], len(ends)) for end, name in before.items()}
    surveyor = _Surveyor(judged, ends, names)
    random = np.random.default_rng(0)
    total: dict[str, Float64] = {}
    for feed in samples:
        seeds = {end: _seed(random, exact[0][name].shape, weight[end]) for end, name in before.items()}
        for name, gain in surveyor(feed, seeds).items():
            total[name] = total[name] + gain if name in total else gain
    finite = {name: gain / len(samples) for name, gain in total.items() if np.isfinite(gain).all()}
    if not finite:
        raise RunError("CannotRun", "the gradients of all tensors overflow")
    return finite


def _weight(values: Sequence[Array], outputs: int) -> float:
    """By which an output is multiplied so that its mean power over the samples is 1 / outputs."""
    power = float(np.mean([np.square(v, dtype=np.float64).sum() for v in values]))
    return float(1 / np.sqrt(max(power, 1e-30) * outputs))


def _seed(random: np.random.Generator, shape: tuple[int, ...], weight: float) -> Float32:
    signs = random.integers(0, 2, shape) * 2 - 1
    return np.asarray(signs * weight, np.float32)


class _Surveyor:
    """One session that gives a number a channel of each tensor."""

    def __init__(self, graph: Graph, outputs: Sequence[str], names: Sequence[str]) -> None:
        known = [name for name in names if (graph.rank(name) or 0) > 1]
        copy, found = backward.gradients(graph, outputs, known)
        self._names = list(found)
        wanted = []
        for name, gradient in found.items():
            axes = [axis for axis in range(graph.rank(name) or 0) if axis != 1]
            made = f"{name}/gain"
            wanted.append(made)
            copy.nodes.append(_summed_squares(copy, gradient, made, axes))
            copy.set_float(made, None)
        if not wanted:
            raise RunError("CannotRun", "no output depends on a tensor whose gradient can be told")
        copy.outputs = wanted
        copy.changed()
        copy.remove_dead()
        copy.raise_opset(backward.OPSET)
        self._session = session(copy, lean=True)  # forward and backward are a few times the model
        self._fed = {i.name for i in self._session.get_inputs()}

    def __call__(self, feed: Feed, seeds: Mapping[str, Float32]) -> dict[str, Float64]:
        fed = {**feed, **{f"{name}/seed": seed for name, seed in seeds.items()}}
        values = run_session(self._session, None, {name: fed[name] for name in self._fed})
        found = zip(self._names, values, strict=True)
        return {name: value.astype(np.float64).reshape(-1) for name, value in found}


def _summed_squares(graph: Graph, source: str, made: str, axes: Sequence[int]) -> Node:
    if graph.opset < 18:
        return make("ReduceSumSquare", [source], [made], keepdims=0, axes=axes)
    constant = f"survey/axes{len(axes)}"
    graph.constants[constant] = np.array(axes, np.int64)
    return make("ReduceSumSquare", [source, constant], [made], keepdims=0)
