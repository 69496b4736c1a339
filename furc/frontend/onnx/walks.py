"""Walk over a model until nothing new is found out about where its nodes go."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from furc.frontend.onnx.host_calls import Placed
from furc.frontend.onnx.hosted import Cause, with_shapes
from furc.frontend.onnx.importer import Importer
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import QUANTIZE as QUANTIZE_AGAIN
from furc.frontend.onnx.placing import Placing, decide
from furc.isolated import Worker
from isa.errors import LowerError
from passes.dfg.legality import OperatorSet
from passes.ir.graph import Graph, Placement
from passes.ldfg.to_lowlevel import to_lowlevel
from passes.options import CompileOptions

MOST_WALKS = 24  # each finds more nodes for the host; then all of them go there


def import_model(
    model: Model,
    placing: Placing,
    operator_set: str = OperatorSet.SEED28,
    leave: Mapping[str, Cause] = MappingProxyType({}),
) -> Graph:
    """The dfg graph of a checked model: what the NPU cannot take becomes calls of the host, and with it what is cheaper
    there, or would need more segments of the NPU than are allowed. leave: nodes for the host, by name, whatever they
    are.

    Raises SourceError or LowerError naming the node, where no host helps either."""
    with Worker(with_shapes) as shapes:
        return _imported(lambda placed: Importer(model, placed, operator_set, shapes), placing, leave)


def _imported(walking: Callable[[Placed], Importer], placing: Placing, leave: Mapping[str, Cause]) -> Graph:
    """walking: a walk that starts with what is known of where nodes go."""
    left: dict[int, Cause] = {}  # what the NPU cannot take
    placed = Placed({}, frozenset())
    placements: tuple[Placement, ...] = ()
    for _ in range(MOST_WALKS):
        walk = walking(placed)
        graph = walk.run()
        new = {index: cause for index, cause in walk.hosts.items() if index not in placed.hosts}
        left |= new
        if walk.placed != placed:
            placed = Placed(dict(left), walk.placed.known) if new else walk.placed
            continue
        hosts = placed.hosts
        if left and placed.hosts == left:
            hosts, placements = decide(walk, placing)
        if hosts != placed.hosts:
            placed = Placed(hosts, placed.known)
            continue
        told = {node.index: leave[node.name] for node in walk.nodes if node.name in leave}
        found = told or _cannot_be_lowered(graph, walk, placing)
        unable = {i: cause for i, cause in found.items() if i not in placed.hosts}
        if not unable:
            graph.placements = placements
            return graph
        left |= unable
        placed = Placed(dict(left), frozenset(walk.folded))
    everything = Cause("too much of the model around it is on the host", QUANTIZE_AGAIN)
    causes = {node.index: left.get(node.index, everything) for node in walk.nodes if node.index not in placed.known}
    return walking(Placed(causes, placed.known)).run()


def _cannot_be_lowered(graph: Graph, walk: Importer, placing: Placing) -> dict[int, Cause]:
    """Nodes whose ops have no low-level form, such as a join along an axis that the machine does not join."""
    try:
        to_lowlevel(graph.copied(), CompileOptions(npu=placing.npu))
    except LowerError as error:
        cause = Cause(error.message, error.hint)
        return {node.index: cause for node in walk.nodes if node.name in error.at.nodes}
    return {}
