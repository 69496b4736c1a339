"""What the grids of the loudest tensors do to the outputs, measured.

A gain tells of errors that are small and white. Where a grid is so coarse that a channel loses most of what it holds,
the error is neither: it looks like what was lost, which a depthwise kernel behind it may hardly let through, and
activation functions bound it. YOLOX-Nano's stem is predicted to make 15 dB more noise than there is output, and makes
2 dB less. So what is predicted to be loud is rounded in the float model, a tensor at a time, and the outputs compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from furc.onnx.graph import Array, Graph, Node, make
from furc.onnx.run import run_session, session
from furc.quantizer.grids.affine import Grid, grid
from furc.quantizer.grids.scheme import rounded_tensors
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.observe.held import some_of
from furc.quantizer.observe.judge import Judge, Task, judge_for
from furc.quantizer.observe.sqnr import Noise, mean_ratio
from furc.quantizer.sensitivity.gains import Channels
from furc.quantizer.sensitivity.noise_model import activation_noise, decibel

LOUD_DB = -20.0  # of predicted noise, in parts of the outputs' power; below it predictions hold
MOST_TENSORS = 8
SAMPLES = 2


def measured(
    graph: Graph, tensors: Mapping[str, Channels], samples: Sequence[Feed], task: Task = Task.AUTO
) -> dict[str, Channels]:
    """With the noise of the loudest tensors on their grids, where it is not known yet. samples: a few of them are
    enough. Raises RunError[CannotRun]."""
    rounded = rounded_tensors(graph)
    spreads = activation_noise(graph, {name: of for name, of in tensors.items() if name in rounded})
    loud = [name for name in sorted(spreads, key=lambda name: -spreads[name].noise()) if _is_open(tensors[name])]
    loud = [name for name in loud if decibel(spreads[name].noise()) > LOUD_DB][:MOST_TENSORS]
    if not loud or not samples:
        return dict(tensors)
    some = some_of(samples, SAMPLES)
    grids = {name: grid(float(spreads[name].low.min()), float(spreads[name].high.max())) for name in loud}
    noise = _noise(graph, grids, some, judge_for(graph, some, task))
    return {**tensors, **{name: replace(tensors[name], most=found) for name, found in noise.items()}}


def _is_open(channels: Channels) -> bool:
    return bool(channels.gain.any()) and math.isinf(channels.most)


def _noise(graph: Graph, grids: Mapping[str, Grid], samples: Sequence[Feed], judge: Judge) -> dict[str, float]:
    """Of each tensor alone on its grid, in parts of the outputs' power, the mean of all outputs."""
    copy, ends = _switched(graph, grids, judge)
    run = session(copy, integers=False, lean=True)
    fed = {i.name for i in run.get_inputs()}

    def outputs(feed: Feed, rounded: str = "") -> list[Array]:
        switches = {_switch(name): np.array(name == rounded, np.float32) for name in grids}
        return run_session(run, ends, {name: value for name, value in {**feed, **switches}.items() if name in fed})

    noises = {name: {end: Noise() for end in ends} for name in grids}
    for feed in samples:
        exact = outputs(feed)
        for name, noise in noises.items():
            for end, wanted, found in zip(ends, exact, outputs(feed, name), strict=True):
                noise[end].add(wanted, found)
    return {name: mean_ratio(noise) for name, noise in noises.items()}


def _switched(graph: Graph, grids: Mapping[str, Grid], judge: Judge) -> tuple[Graph, list[str]]:
    """A copy that rounds those of the tensors whose switch, an input, is 1; and its outputs."""
    copy, ends = judge.judged(graph)
    nodes, seen_as = list[Node](), dict[str, str]()
    for name in (name for name in copy.inputs if name in grids):
        nodes += _rounding(copy, name, grids[name])
        seen_as[name] = _seen(name)
    for node in copy.nodes:
        node.inputs = [seen_as.get(name, name) for name in node.inputs]
        nodes.append(node)
        for name in (name for name in node.outputs if name in grids):
            nodes += _rounding(copy, name, grids[name])
            seen_as[name] = _seen(name)
    copy.nodes, copy.outputs = nodes, [seen_as.get(name, name) for name in ends]
    copy.inputs += [_switch(name) for name in grids]
    copy.changed()
    return copy, copy.outputs


def _rounding(graph: Graph, name: str, grid: Grid) -> list[Node]:
    """x + switch (stored x - x)"""
    scale = graph.add_constant(f"{name}/scale", np.array(grid.scale, np.float32))
    zero = graph.add_constant(f"{name}/zero", np.array(grid.zero, np.int8))
    graph.set_float(_switch(name), [])
    graph.set_float(_seen(name), graph.shape(name))
    return [
        make("QuantizeLinear", [name, scale, zero], [f"{name}/stored"]),
        make("DequantizeLinear", [f"{name}/stored", scale, zero], [f"{name}/real"]),
        make("Sub", [f"{name}/real", name], [f"{name}/off"]),
        make("Mul", [f"{name}/off", _switch(name)], [f"{name}/taken"]),
        make("Add", [name, f"{name}/taken"], [_seen(name)]),
    ]


def _switch(name: str) -> str:
    return f"{name}/switch"


def _seen(name: str) -> str:
    return f"{name}/seen"
