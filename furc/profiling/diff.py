"""Two profiles layer by layer: what became faster, what slower, and where the cycles went.

A layer is a connected component: operators of either side that share nodes of the model. An operator that one of the
two splits, or fuses with its neighbours, stands beside all that it became, and layers add up to the whole difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from furc.profiling.measured import TOTALS, Amounts, Measured, MeasuredOperator, measured, total
from furc.profiling.profile import Profile, profile
from isa.enf import Enf

Run = Measured | Profile | Enf | Path | str | Mapping[str, object]
REST = "no engine at work"
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A layer in one of the two. operators: names, and how many of each; none where the layer is not there.

    bound_by: of the operators, what bounds most of their work, or of their time on the host.
    """

    operators: tuple[tuple[str, int], ...]
    bound_by: str
    amounts: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """name: its nodes, or, where it has none, what it is and its tensor."""

    name: tuple[str, ...]
    before: Side
    after: Side

    @property
    def change(self) -> Amounts:
        return self.after.amounts.minus(self.before.amounts)

    @property
    def changed(self) -> bool:
        return any(self.change)

    @property
    def only(self) -> str:
        """ "before" or "after" where the other side has nothing of it."""
        if not self.before.operators:
            return "after" if self.after.operators else ""
        return "before" if not self.after.operators else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """layers: by the absolute change of run_cycles, the largest first, then of host_ms and of cycles. Their amounts add
    up to the totals' (run_cycles to cycles); `rest` is what is no operator's."""

    before: Measured
    after: Measured
    layers: tuple[Layer, ...]
    rest: Layer

    @property
    def totals(self) -> dict[str, tuple[float, float]]:
        return {key: (self.before.totals[key], self.after.totals[key]) for key in TOTALS}

    def to_json(self) -> dict[str, object]:
        """What `furc diff --format json` promises."""
        return {
            "diff": [_run_json(self.before), _run_json(self.after)],
            "totals": {key: _changed(*pair) for key, pair in self.totals.items()},
            "layers": [_layer_json(layer) for layer in (*self.layers, self.rest)],
        }


def diff(before: Run, after: Run) -> Diff:
    """Compare two runs: profiles, binaries, quantized models (paths; compiled for the default target), or what
    Profile.to_json gives. Raises FurcError."""
    first, second = _measured(before), _measured(after)
    layers = sorted(_layers(first, second), key=_by_change)
    rest = Layer(name=(REST,), before=_rest(first), after=_rest(second))
    return Diff(before=first, after=second, layers=tuple(layers), rest=rest)


def _measured(run: Run) -> Measured:
    """By the numbers that are written: the same answer for a profile and for its file."""
    if isinstance(run, Measured):
        return run
    if isinstance(run, Mapping):
        return measured(run)
    return measured((run if isinstance(run, Profile) else profile(run)).to_json())


def _layers(before: Measured, after: Measured) -> Iterator[Layer]:
    graph: nx.Graph[_Key] = nx.Graph()
    for operator in (*before.operators, *after.operators):
        keys = _keys(operator)
        graph.add_node(keys[0])
        nx.add_path(graph, keys)
    layer_of = {key: number for number, keys in enumerate(nx.connected_components(graph)) for key in keys}
    sides = [_by_layer(run.operators, layer_of) for run in (before, after)]
    for number in sorted({*sides[0], *sides[1]}):
        mine = [side.get(number, []) for side in sides]
        named = (name for operator in (*mine[0], *mine[1]) for name in _name(operator))
        yield Layer(name=tuple(dict.fromkeys(named)), before=_side(mine[0]), after=_side(mine[1]))


def _keys(operator: MeasuredOperator) -> list[_Key]:
    """What it can be known by in the other run."""
    return [(node,) for node in operator.nodes] or [("", operator.name, operator.tensor)]


def _name(operator: MeasuredOperator) -> tuple[str, ...]:
    return operator.nodes or (f"{operator.name} {operator.tensor}".strip(),)


def _by_layer(operators: Iterable[MeasuredOperator], layer_of: Mapping[_Key, int]) -> dict[int, list[MeasuredOperator]]:
    found: dict[int, list[MeasuredOperator]] = {}
    for operator in operators:
        found.setdefault(layer_of[_keys(operator)[0]], []).append(operator)
    return found


def _side(operators: list[MeasuredOperator]) -> Side:
    work: dict[str, float] = {}
    for operator in operators:
        work[operator.bound_by] = work.get(operator.bound_by, 0.0) + operator.amounts.cycles
    return Side(
        operators=tuple(sorted(Counter(operator.name for operator in operators).items())),
        bound_by=max(work, key=lambda kind: work[kind], default=""),
        amounts=total(operator.amounts for operator in operators),
    )


def _rest(run: Measured) -> Side:
    return Side(operators=(), bound_by="", amounts=run.rest())


def _by_change(layer: Layer) -> tuple[float, float, float]:
    change = layer.change
    return -abs(change.run_cycles), -abs(change.host_ms), -abs(change.cycles)


# --- as JSON ----------------------------------------------------------------------------------------------------


def _run_json(run: Measured) -> dict[str, object]:
    return {"model": run.model, "target": run.target, "batch": run.batch}


def _layer_json(layer: Layer) -> dict[str, object]:
    pairs = zip(Amounts._fields, layer.before.amounts, layer.after.amounts, strict=True)
    return {
        "nodes": list(layer.name),
        "only": layer.only,
        "operators": [dict(layer.before.operators), dict(layer.after.operators)],
        "bound_by": [layer.before.bound_by, layer.after.bound_by],
        **{key: _changed(before, after) for key, before, after in pairs},
    }


def _changed(before: float, after: float) -> list[float]:
    """Before, after, difference."""
    return [round(value, 6) for value in (before, after, after - before)]
