"""What is known of all tensors before ranges are chosen: values, extremes, and gains or why there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from furc.onnx.graph import Array, Graph
from furc.progress import Progress, silent
from furc.quantizer.channels.equalize import equalize
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.grids.scheme import quantized_tensors
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.observe.judge import Task, judge_for
from furc.quantizer.observe.one_pass import Seen, pass_over
from furc.quantizer.observe.pointwise import behind
from furc.quantizer.ranges.weighted_calibration import seen_tensors
from furc.quantizer.sensitivity.gains import Channels, Float64, gains
from isa.errors import RunError, first_line

PROBES = 4  # enough: a channel's gain is a mean over all its positions too
SAMPLES = 8  # that extremes are told from, at most


def surveyed(
    graph: Graph, samples: Sequence[Feed], task: Task, say: Progress, *, even: bool = False
) -> dict[str, Channels]:
    """What a pass over the samples sees of all tensors that matter, and their gains. even: see `evened_out`.

    Raises what `OnePass` raises.
    """
    count = len(samples)
    seen, outputs = pass_over(graph, seen_tensors(graph), samples, samples=count, kept=count, progress=silent)
    found = with_gains(graph, seen, samples, outputs, task, say)
    return evened_out(graph, found, len(samples)) if even else found


def with_gains(
    graph: Graph,
    seen: Mapping[str, Seen],
    samples: Sequence[Feed],
    outputs: Sequence[Mapping[str, Array]],
    task: Task,
    say: Progress,
) -> dict[str, Channels]:
    """What a pass saw of each tensor, and what an error in its channels does to the outputs; where a model cannot be
    probed nobody knows that, and `say` is told why. outputs: of samples."""
    gain: dict[str, Float64] = {}
    try:
        judge = judge_for(graph, samples, task, outputs[0])
        probed = [samples[i] for i in _spread(len(samples), PROBES)]
        gain = gains(graph, surveyed_tensors(graph), probed, judge, outputs)
    except RunError as error:
        say(f"no survey, so no splits: {first_line(error)}", 0, None)
    unknown = {name: np.zeros(len(of.low)) for name, of in seen.items()}
    known = {name: gain[name] if len(gain.get(name, ())) == len(zero) else zero for name, zero in unknown.items()}
    return _channels(seen, known, len(samples))


def evened_out(graph: Graph, tensors: Mapping[str, Channels], samples: int) -> dict[str, Channels]:
    """Even out the channels of `graph`; what a survey would find of it then.

    Tensors in which data movement mixes channels are left out. samples: how many were at hand for a survey.
    """
    seen, gain = {n: of.seen for n, of in tensors.items()}, {n: of.gain for n, of in tensors.items()}
    for name, scale in equalize(graph, seen, gain).items():
        if scale is None:
            seen.pop(name, None)
        elif name in seen:
            of, divisor = seen[name], scale.astype(np.float32)[:, None]
            seen[name] = Seen(of.lows / scale, of.highs / scale, tuple(part / divisor for part in of.values))
            gain[name] = gain[name] * scale**2
    return _channels(seen, gain, samples)


def _channels(seen: Mapping[str, Seen], gain: Mapping[str, Float64], samples: int) -> dict[str, Channels]:
    """Extremes are those of some samples alone, see `Channels`."""
    at = _spread(samples, min(SAMPLES, max(PROBES, samples // 4)))
    parts = {name: of.of_samples(at) for name, of in seen.items()}
    return {name: Channels(parts[name].low, parts[name].high, gain[name], of) for name, of in seen.items()}


def _spread(samples: int, count: int) -> list[int]:
    """Numbers of `count` of the samples, at equal distances."""
    return list(range(0, samples, max(1, samples // count))[:count])


def surveyed_tensors(graph: Graph) -> list[str]:
    """Those whose channels decide anything: stored, computed, and on no grid given by their operator, unless the range
    of what that operator reads is told by its results."""
    names = quantized_tensors(graph)
    made = {function.result for name in names if (function := behind(graph, name)) is not None}
    makers = {name: node for name in names if (node := graph.producer(name)) is not None}
    return [name for name, node in makers.items() if node.op not in FIXED_RANGES or name in made]
