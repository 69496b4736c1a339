"""The survey of a whole model on a few of its calibration samples, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from furc.onnx.graph import Graph
from furc.onnx.run import first_line
from furc.quantizer.float_run import Feed
from furc.quantizer.judge import Task, judge_for
from furc.quantizer.operators import FIXED_RANGES
from furc.quantizer.scheme import quantized_tensors
from furc.quantizer.sensitivity import SAMPLES, Channels, survey
from isa.errors import RunError

FEWEST_SAMPLES = 4


def surveyed(
    graph: Graph, samples: Sequence[Feed], task: Task, say: Callable[[str, int, int | None], None]
) -> dict[str, Channels]:
    """Sensitivities of all tensors with a free range; none, and `say` is told why, where a model cannot be probed."""
    count = min(SAMPLES, max(FEWEST_SAMPLES, len(samples) // 4))
    taken = samples[:: max(1, len(samples) // count)][:count]
    try:
        return survey(graph, _free_tensors(graph), taken, judge_for(graph, taken, task))
    except RunError as error:  # what is wrong with the data, calibration says
        say(f"no survey, so no splits: {first_line(error)}", 0, None)
        return {}


def _free_tensors(graph: Graph) -> list[str]:
    """Those whose channels decide anything: stored, computed, and on no grid given by their operator."""
    names = quantized_tensors(graph)
    return [n for n in names if (node := graph.producer(n)) is not None and node.op not in FIXED_RANGES]
