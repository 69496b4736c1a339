"""furc.check: where every operator of a model will run, why, and what to change, before any time is spent on it.

report = check_file("model.onnx")
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum

from furc.compiler import check_batch
from furc.compiler_config import compiler_config
from furc.frontend.onnx.as_quantized import MadeOver
from furc.frontend.onnx.checking import REWRITTEN, Checking
from furc.frontend.onnx.hosted import Cause, with_shapes
from furc.frontend.onnx.input_form import InputForm
from furc.frontend.onnx.model import read_model
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.placing import PLACED, Placing, decide, estimates
from furc.frontend.placement import Unit
from furc.isolated import Worker
from furc.onnx.files import Source
from furc.request import Request
from isa.npu import NS_PER_MS
from passes.analysis.host_share import calls, host_operators
from passes.ir.graph import Graph, Placement


class Where(StrEnum):
    """What becomes of an operator."""

    NPU = "NPU"
    REWRITTEN = "rewritten"
    HOST = "host"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One operator. node: its name, or that of its first result. possible: the NPU could take it. ms: estimated, 0
    where nobody runs it."""

    node: str
    operator: str
    where: Where
    reason: str
    remedy: str
    possible: bool
    ms: float


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Every operator of a model, in its order. placements: where something is on the host, how the model can be placed
    on NPU and host."""

    judgements: tuple[Judgement, ...]
    placements: tuple[Placement, ...] = ()

    def of(self, *where: Where) -> tuple[Judgement, ...]:
        return tuple(j for j in self.judgements if j.where in where)

    @property
    def compiles(self) -> bool:
        return not self.of(Where.REFUSED)

    def to_json(self) -> str:
        return json.dumps([asdict(judgement) for judgement in self.judgements], indent=1)


def check_file(model: Source, request: Request | None = None, source: str = "") -> CheckReport:
    """Judge a model, float or quantized. An open batch counts as 1; of a larger one the number alone is checked.

    Raises SourceError where it cannot be read, ConfigError BadBatch."""
    asked = request or Request()
    check_batch(asked.batch or 1)
    config = compiler_config(asked.settings)
    form = InputForm(config.permute_input)
    read = read_model(model, asked.input_shapes, source, 1, form, judged=True)
    placing = Placing(asked.npu(), config.max_npu_segments)
    with Worker(with_shapes) as shapes:
        walk = Checking(read, config.operator_set, shapes)
        walk.judge()
    unable = {**walk.hosts, **walk.refused}
    walk.hosts = unable
    hosts, placements = decide(walk, placing) if unable else ({}, ())
    costs = estimates(walk, placing)
    return CheckReport(_in_order([*_judgements(walk, hosts, unable, costs)], read.made_over), placements)


def left_in(graph: Graph) -> tuple[Judgement, ...]:
    """What of a graph at dfg is on the host."""
    found = [operator for call in calls(graph) for operator in host_operators(call, graph) if operator.reason]
    return tuple(
        Judgement(
            node=operator.nodes[0], operator=operator.name, where=Where.HOST, reason=operator.reason,
            remedy=operator.remedy, possible=PLACED in operator.reason, ms=0.0,
        )
        for operator in found
    )  # fmt: skip


def _in_order(judged: list[Judgement], made: MadeOver | None) -> tuple[Judgement, ...]:
    """With the nodes that the quantizer leaves out or folds, in the order of the float model; what it adds comes behind
    what it stands behind."""
    if made is None:
        return tuple(judged)
    placed, last = list[tuple[int, Judgement]](), 0
    for each in judged:
        last = made.order.get(each.node, last)
        placed.append((last, each))
    for name, operator in made.gone.items():
        gone = Judgement(
            node=name, operator=operator, where=Where.REWRITTEN, reason=REWRITTEN, remedy="", possible=True, ms=0.0
        )
        placed.append((made.order[name], gone))
    return tuple(each for _, each in sorted(placed, key=lambda pair: pair[0]))


def _judgements(
    walk: Checking, hosts: dict[int, Cause], unable: dict[int, Cause], costs: dict[int, Unit]
) -> Iterator[Judgement]:
    for node in walk.nodes:
        cost = costs.get(node.index)
        if node.index in walk.folded or (cost is None and node.index not in walk.rewritten):
            continue  # known when compiling; or where tensors are quantized
        where, cause = _where(walk, hosts, node)
        ns = 0.0 if cost is None or where in (Where.REFUSED, Where.REWRITTEN) else (
            cost.host_ns if where is Where.HOST else cost.npu_ns
        )  # fmt: skip
        yield Judgement(
            node=node.name, operator=node.op, where=where, reason=cause.reason, remedy=cause.remedy,
            possible=node.index not in unable, ms=ns / NS_PER_MS,
        )  # fmt: skip


def _where(walk: Checking, hosts: dict[int, Cause], node: Node) -> tuple[Where, Cause]:
    if node.index in walk.refused:
        return Where.REFUSED, walk.refused[node.index]
    if node.index in walk.rewritten:
        return Where.REWRITTEN, Cause(walk.rewritten[node.index], "")
    if node.index in hosts:
        return Where.HOST, hosts[node.index]
    return Where.NPU, Cause("", "")
