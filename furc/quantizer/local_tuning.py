"""Move the ranges of the costliest tensors a little, to where the layers behind them are least wrong.

Rounding errors are no white noise where an image is flat: a grid that puts a constant value badly shifts whole regions,
and whether it does depends on digits of the scale that no histogram tells. So the part of the model from the layers
before a tensor to the layers behind it runs alone, with its grids, on a few samples, and each range tries neighbours.
Errors behind it count by the gains of the channels they are in; their means do not, as biases take those out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from furc.onnx.graph import Array, Graph, Node
from furc.quantizer.affine import Grid, Range, grid
from furc.quantizer.calibrator import Ranges
from furc.quantizer.float_run import Feed, FloatRun
from furc.quantizer.noise_model import activation_noise
from furc.quantizer.operators import FIXED_RANGES
from furc.quantizer.scheme import Scheme, choose_grids
from furc.quantizer.sensitivity import Channels, Float64
from furc.quantizer.simulate import Simulation

SAMPLES = 4
FACTORS = (0.8, 0.87, 0.93, 1.07, 1.15, 1.25)
WORTHWHILE = 0.98  # a cost must fall below this part of the best so far
SHARE = 0.02  # of the predicted noise that a block's tensors must have
MOST_BLOCKS = 6
MOST_NODES = 120
AGAIN = 4  # the costliest ranges of a block are tried once more, when all others have moved
DENSE = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Block:
    """nodes: what is behind the dense layers before a tensor, to those behind it. inputs, outputs: of that part."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def tensors(self) -> list[str]:
        """Those whose grids show in the outputs."""
        return [*self.inputs, *(node.output for node in self.nodes if node.output not in self.outputs)]


def tune_ranges(
    graph: Graph, ranges: Ranges, tensors: Mapping[str, Channels], samples: Sequence[Feed], *, passes: float = 64
) -> Ranges:
    """The ranges, with those of the costliest blocks tuned. samples: the first few are used.

    passes: how often all activations of the model may be computed for it, on one sample.
    """
    tuned, samples = dict(ranges), samples[:SAMPLES]
    spreads = activation_noise(graph, {n: c for n, c in tensors.items() if n in ranges})
    noise = {name: spread.noise() for name, spread in spreads.items()}
    total = sum(noise.values())
    found = {end: block for end in noise if (block := _block(graph, end, tensors)) is not None}
    cost = {end: sum(noise.get(name, 0.0) for name in block.tensors()) for end, block in found.items()}
    chosen = [end for end in sorted(cost, key=lambda e: -cost[e]) if cost[end] > SHARE * total][:MOST_BLOCKS]
    if not chosen or not samples:
        return tuned
    watched = {name for end in chosen for name in (*found[end].inputs, *found[end].outputs)}
    run = FloatRun(graph.model(), sorted(watched), layouts=True)
    values = [run(feed) for feed in samples]
    left = passes * _size(graph, [name for node in graph.nodes for name in node.outputs])
    for end in chosen:
        names = sorted((n for n in found[end].tensors() if n in noise), key=lambda n: -noise[n])
        names = [name for name in names if noise[name] > SHARE * cost[end]]
        each = _size(graph, [*found[end].inputs, *(n.output for n in found[end].nodes)])
        left -= each * _tune(graph, found[end], names, tuned, tensors, values, int(left / max(each, 1)))
    return tuned


def _size(graph: Graph, names: Sequence[str]) -> int:
    return sum(math.prod(graph.shape(name) or (0,)) for name in names)


def _block(graph: Graph, end: str, tensors: Mapping[str, Channels]) -> Block | None:
    """Around a tensor that dense layers read; None for others."""
    behind = [n for n in graph.readers(end) if _is_dense(graph, n) and n.inputs[0] == end and n.output in tensors]
    if not behind:
        return None
    inside, inputs, waiting = dict[int, Node](), list[str](), [end]
    while waiting:
        name = waiting.pop()
        node = graph.producer(name)
        if node is None or len(inside) > MOST_NODES:
            return None
        if _is_dense(graph, node):
            inputs.append(name)
        elif id(node) not in inside:
            inside[id(node)] = node
            waiting += [name for name in node.inputs if name and name not in graph.constants]
    nodes = [node for node in graph.nodes if id(node) in inside or node in behind]
    return Block(tuple(nodes), tuple(dict.fromkeys(inputs)), tuple(node.output for node in behind))


def _is_dense(graph: Graph, node: Node) -> bool:
    weight = graph.constants.get(node.input(1))
    return node.op in DENSE and weight is not None and (node.op != "Conv" or node.get("group", 1) == 1)


def _tune(
    graph: Graph,
    block: Block,
    names: Sequence[str],
    ranges: dict[str, Range],
    tensors: Mapping[str, Channels],
    values: Sequence[Mapping[str, Array]],
    runs: int,
) -> int:
    """Coordinate descent over the tensors of one block, in so many runs of it at most; how many it took."""
    if runs < len(values):
        return 0
    part = graph.part(block.nodes, block.inputs, block.outputs)
    whole, inner = choose_grids(graph, ranges), set(block.tensors())
    leader = {name: whole.leader[name] for name in inner if whole.leader.get(name) in inner}
    grids = dict(whole.grids)
    simulation = Simulation(part, Scheme(whole.grids, leader))

    race = _Race(block, simulation, tensors, values)
    race.run(grids)
    for name in [*names, *names[:AGAIN]]:
        node = graph.producer(name)
        if leader.get(name) != name or (node is not None and node.op in FIXED_RANGES):
            continue
        start = ranges[name]
        for factor in FACTORS:
            if race.runs >= runs:
                return race.runs
            moved = start[0] * factor, start[1] * factor
            trial = {**grids, name: grid(*moved)}
            if race.run(trial):
                grids, ranges[name] = trial, moved
    return race.runs


class _Race:
    """Candidates of a block, each run on one sample after another for as long as it is ahead of the best so far."""

    def __init__(
        self,
        block: Block,
        simulation: Simulation,
        tensors: Mapping[str, Channels],
        values: Sequence[Mapping[str, Array]],
    ) -> None:
        self._block, self._simulation, self._tensors, self._values = block, simulation, tensors, values
        self._best: list[float] = []
        self.runs = 0

    def run(self, grids: Mapping[str, Grid]) -> bool:
        """Whether a candidate is worthwhile; the best is then this one."""
        moments = {name: _Moments() for name in self._block.outputs}
        costs = list[float]()
        for values in self._values:
            found = self._simulation({name: values[name] for name in self._block.inputs}, grids)
            self.runs += 1
            for name, seen in moments.items():
                seen.add(found[name] - values[name])
            costs.append(sum(float(m.variance() @ self._tensors[n].gain) for n, m in moments.items()))
            if self._best and costs[-1] >= self._best[len(costs) - 1]:
                return False
        if self._best and costs[-1] >= WORTHWHILE * self._best[-1]:
            return False
        self._best = costs
        return True


class _Moments:
    """Count, sum and sum of squares of a tensor's channels (axis 1)."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, np.zeros(1), np.zeros(1)

    def add(self, values: Array) -> None:
        planes = values.reshape(*values.shape[:2], -1)
        self._count += values.size // values.shape[1]
        self._sum = self._sum + planes.sum((0, 2))
        self._squares = self._squares + np.einsum("ncp,ncp->c", planes, planes)

    def variance(self) -> Float64:
        mean = self._sum / self._count
        return np.maximum(self._squares / self._count - mean * mean, 0.0)
