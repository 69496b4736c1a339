"""The float model and the same on its grids, run side by side from one set of layers to the next.

So each layer can be changed before it runs, by what it reads in either. A stage is the layers that are as many layers
behind the inputs, and what is computed from their results before the next layer. Between stages only the tensors that
later ones read are kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from furc.onnx.graph import Array, Graph, Node
from furc.quantizer.grids.affine import Grid, on_grid
from furc.quantizer.grids.scheme import Scheme
from furc.quantizer.observe.float_run import Feed, FloatRun
from furc.quantizer.observe.simulate import Simulation


@dataclass(frozen=True, slots=True)
class Stage:
    """nodes: in order. inputs, outputs: tensors that come from stages before and are read by stages behind. kept: all
    that stages behind read."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kept: frozenset[str]


class StagedRun:
    """Runs a graph on samples.

    exact, seen: by sample, the tensors that the next stages read, in the float model and on the grids.
    """

    def __init__(
        self, graph: Graph, scheme: Scheme, layers: Sequence[Node], feeds: Sequence[Feed], most_bytes: int
    ) -> None:
        """layers: the nodes that begin stages. most_bytes: for tensors; so many samples are taken as there is room for,
        but at least one."""
        self._graph, self._float, self._scheme = graph, graph.copied(), scheme
        self._layers = {id(node) for node in layers}
        self._stages = _stages(graph, self._layers)
        room = most_bytes // max(1, 2 * _most_bytes(graph, self._stages))
        self.exact = [dict(feed) for feed in feeds[: max(1, room)]]
        self.seen = [{name: stored(scheme.grids, name, v) for name, v in feed.items()} for feed in self.exact]

    def stages(self) -> Iterator[list[Node]]:
        """The layers of each stage. On the grids they run as they are when the next stage is asked for."""
        for stage in self._stages:
            layers = [node for node in stage.nodes if id(node) in self._layers]
            if layers:
                yield layers
            self._run(stage)

    def _run(self, stage: Stage) -> None:
        if stage.outputs:
            inside, leaders = {*stage.inputs, *(n for node in stage.nodes for n in node.outputs)}, self._scheme.leader
            leader = {name: leaders[name] for name in inside if leaders.get(name) in inside}
            run = FloatRun(self._float.part(stage.nodes, stage.inputs, stage.outputs), stage.outputs)
            part = self._graph.part(stage.nodes, stage.inputs, stage.outputs)
            simulation, grids = Simulation(part, Scheme(self._scheme.grids, leader)), self._scheme.grids
            for exact, seen in zip(self.exact, self.seen, strict=True):
                exact.update(run({name: exact[name] for name in stage.inputs}))
                seen.update(simulation({name: seen[name] for name in stage.inputs}, grids))
        for values in (*self.exact, *self.seen):
            for name in values.keys() - stage.kept:
                del values[name]


def stored(grids: Mapping[str, Grid], name: str, value: Array) -> Array:
    """What a tensor's readers see of it: rounded to its grid, if it has one."""
    grid = grids.get(name)
    return value if grid is None else on_grid(value, grid)


def _most_bytes(graph: Graph, stages: Sequence[Stage]) -> int:
    """Of the float32 tensors that are there at once, at most."""
    most, there = 0, dict[str, int]()
    for stage in stages:
        made = [name for node in stage.nodes for name in node.outputs]
        there |= {name: 4 * math.prod(graph.shape(name) or (0,)) for name in (*stage.inputs, *made)}
        most = max(most, sum(there.values()))
        there = {name: size for name, size in there.items() if name in stage.kept}
    return most


def _stages(graph: Graph, layers: set[int]) -> list[Stage]:
    """By how many layers are at most before a node, itself included."""
    depth, nodes = dict.fromkeys(graph.inputs, 0), list[list[Node]]()
    for node in graph.nodes:
        level = max((depth.get(name, 0) for name in node.read()), default=0) + (id(node) in layers)
        depth.update({name: level for name in node.outputs if name})
        nodes += [[] for _ in range(level + 1 - len(nodes))]
        nodes[level].append(node)
    stages, later = list[Stage](), set[str]()
    for inside in reversed(nodes):
        made = {name: None for node in inside for name in node.outputs if name}
        read = {name for node in inside for name in node.read() if name in depth}
        inputs, outputs = sorted(read.difference(made)), [name for name in made if name in later]
        stages.append(Stage(tuple(inside), tuple(inputs), tuple(outputs), frozenset(later)))
        later |= read
    return stages[::-1]
