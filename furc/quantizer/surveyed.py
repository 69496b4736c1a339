"""The survey of a whole model on a few of its calibration samples, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from furc.onnx.graph import Array, Graph
from furc.onnx.run import first_line
from furc.quantizer.equalize import equalize_by
from furc.quantizer.float_run import Feed
from furc.quantizer.judge import Task, judge_for
from furc.quantizer.one_pass import Seen
from furc.quantizer.operators import FIXED_RANGES
from furc.quantizer.scheme import quantized_tensors
from furc.quantizer.sensitivity import SAMPLES, Channels, Float64, gains, survey
from isa.errors import QuantizeError, RunError

FEWEST_SAMPLES = 4


Say = Callable[[str, int, int | None], None]


def surveyed(graph: Graph, samples: Sequence[Feed], task: Task, say: Say) -> dict[str, Channels]:
    """Sensitivities of all tensors with a free range; none, and `say` is told why, where a model cannot be probed."""
    taken = [samples[index] for index in _taken(len(samples))]
    try:
        return survey(graph, surveyed_tensors(graph), taken, judge_for(graph, taken, task))
    except (RunError, QuantizeError) as error:  # what is wrong with the data, calibration says
        say(f"no survey, so no splits: {first_line(error)}", 0, None)
        return {}


def with_gains(
    graph: Graph,
    seen: Mapping[str, Seen],
    samples: Sequence[Feed],
    outputs: Sequence[Mapping[str, Array]],
    task: Task,
    say: Say,
) -> dict[str, Channels]:
    """What a pass saw of each tensor, and what an error in its channels does to the outputs. outputs: of samples."""
    gain: dict[str, Float64] = {}
    try:
        judge = judge_for(graph, samples, task, outputs[0])
        gain = gains(graph, surveyed_tensors(graph), [samples[i] for i in _taken(len(samples))], judge, outputs)
    except RunError as error:
        say(f"no survey, so no splits: {first_line(error)}", 0, None)
    unknown = {name: np.zeros(len(of.low)) for name, of in seen.items()}
    known = {name: gain[name] if len(gain.get(name, ())) == len(zero) else zero for name, zero in unknown.items()}
    at = _taken(len(samples))
    parts = {name: of.of_samples(at) for name, of in seen.items()}
    return {name: Channels(parts[name].low, parts[name].high, known[name], of) for name, of in seen.items()}


def evened_out(graph: Graph, seen: Mapping[str, Seen]) -> dict[str, Seen]:
    """Even out the channels of `graph`; what a pass would see of it then, of tensors that are seen already."""
    magnitudes = {name: np.maximum(of.high, -of.low) for name, of in seen.items()}
    now = dict(seen)
    for pair, scale in equalize_by(graph, magnitudes):
        for name in {pair.first.output, pair.activation} & set(now):
            of, divisor = now[name], scale.astype(np.float32)[:, None]
            now[name] = Seen(of.lows / scale, of.highs / scale, tuple(part / divisor for part in of.values))
    return now


def _taken(samples: int) -> list[int]:
    """Which of so many are surveyed."""
    count = min(SAMPLES, max(FEWEST_SAMPLES, samples // 4))
    return list(range(0, samples, max(1, samples // count))[:count])


def surveyed_tensors(graph: Graph) -> list[str]:
    """Those whose channels decide anything: stored, computed, and on no grid given by their operator."""
    names = quantized_tensors(graph)
    return [n for n in names if (node := graph.producer(n)) is not None and node.op not in FIXED_RANGES]
