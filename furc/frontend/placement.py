"""Where each operator runs, NPU or host: the cheapest placement that has no more segments of the NPU than allowed.

A minimum cut finds it: of a graph in which every operator is cut from the NPU (its host time) or from the host (its NPU
time), and every tensor whose maker and readers are on different sides costs its conversion and transfer. With one
segment an operator is before it, in it or after it, which takes two cuts of one graph, one inside the other. A tensor
that goes from before to after is charged although it never leaves the host; and the cut knows no price of a segment. So
its result is improved by moving operators while that helps, and up to EXHAUSTIVE undecided ones are simply tried.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EXHAUSTIVE = 12  # undecided operators of which every placement is tried
ROUNDS = 4  # of improving, at most
ROUNDING = 1e-12  # of a cost: no gain
SOURCE, SINK = "source", "sink"


class Unit(NamedTuple):
    """What is placed as one, in execution order. npu_ns: infinite where only the host can."""

    host_ns: float
    npu_ns: float


class Carried(NamedTuple):
    """A tensor. maker: None for an input of the model; readers: units; shown: the user reads it, on the host.

    to_npu_ns, to_host_ns: what it costs to bring it to the other side; infinite where it cannot go. on_host_ns: what it
    costs where somebody on the host reads it, wherever it was made."""

    maker: int | None
    readers: tuple[int, ...]
    shown: bool
    to_npu_ns: float
    to_host_ns: float
    on_host_ns: float = 0.0

    def ns(self, on_npu: Sequence[bool]) -> float:
        """What it costs under a placement."""
        made = self.maker is not None and on_npu[self.maker]
        host_reads = self.shown or not all(on_npu[r] for r in self.readers)
        total = self.on_host_ns if host_reads else 0.0
        if made and host_reads:
            total += self.to_host_ns
        elif not made and any(on_npu[r] for r in self.readers):
            total += self.to_npu_ns
        return total


@dataclass(frozen=True)
class Problem:
    """segment_ns: the price of each segment. most_segments: None for any number."""

    units: tuple[Unit, ...]
    tensors: tuple[Carried, ...]
    segment_ns: float = 0.0
    most_segments: int | None = 1

    def cost(self, on_npu: Sequence[bool]) -> float:
        """Of a placement, in ns; infinite where it is not allowed."""
        total = sum(unit.npu_ns if npu else unit.host_ns for unit, npu in zip(self.units, on_npu, strict=True))
        total += sum(tensor.ns(on_npu) for tensor in self.tensors)
        segments = self.segments(on_npu)
        allowed = self.most_segments is None or segments <= self.most_segments
        return total + segments * self.segment_ns if allowed else math.inf

    def segments(self, on_npu: Sequence[bool]) -> int:
        """How many turns the NPU takes."""
        return _segments(max(self.turns(on_npu), default=0))

    def turns(self, on_npu: Sequence[bool]) -> list[int]:
        """The turn of each unit, as early as what it reads allows: even on the host, which begins, odd on the NPU."""
        turn = [0] * len(self.units)
        for unit, makers in enumerate(self.makers):
            turn[unit] = _turn(max(map(turn.__getitem__, makers), default=0), on_npu[unit])
        return turn

    @cached_property
    def makers(self) -> list[list[int]]:
        """The units that each unit reads from."""
        found: list[list[int]] = [[] for _ in self.units]
        for tensor in self.tensors:
            for reader in tensor.readers if tensor.maker is not None else ():
                found[reader].append(tensor.maker)  # type: ignore[arg-type]
        return found

    @cached_property
    def readers(self) -> list[list[int]]:
        """The units that each unit gives to."""
        found: list[list[int]] = [[] for _ in self.units]
        for unit, makers in enumerate(self.makers):
            for maker in makers:
                found[maker].append(unit)
        return found

    @cached_property
    def neighbours(self) -> list[set[int]]:
        """The units that each unit reads from or gives to."""
        return [{*makers, *readers} for makers, readers in zip(self.makers, self.readers, strict=True)]


def _turn(earliest: int, npu: bool) -> int:
    """The first turn of the NPU, or of the host, from `earliest` on."""
    return earliest + (1 - earliest % 2 if npu else earliest % 2)


def _segments(last: int) -> int:
    """How many turns the NPU takes up to the last turn: none is left out, as each begins behind the one before it."""
    return (last + 1) // 2


def place(problem: Problem) -> tuple[bool, ...]:
    """Which units run on the NPU."""
    return place_each(problem, [problem.most_segments])[0]


def place_each(problem: Problem, most_segments: Sequence[int | None]) -> list[tuple[bool, ...]]:
    """Which units run on the NPU, for each number of segments. Cuts, which know of none, are made once."""
    free = [i for i, unit in enumerate(problem.units) if math.isfinite(unit.npu_ns)]
    each = [replace(problem, most_segments=most) for most in most_segments]
    if len(free) <= EXHAUSTIVE:
        return [min(_all(problem, free), key=problem.cost) for problem in each]
    one = [tuple(False for _ in problem.units), _cut_twice(problem)]
    several = [] if all(most == 1 for most in most_segments) else [_cut_once(problem)]
    return [
        _improved(p, min([*one, *([] if p.most_segments == 1 else several)], key=p.cost), free) for p in each
    ]  # fmt: skip


def _all(problem: Problem, free: Sequence[int]) -> Iterator[tuple[bool, ...]]:
    for choice in product((False, True), repeat=len(free)):
        on_npu = dict(zip(free, choice, strict=True))
        yield tuple(on_npu.get(i, False) for i in range(len(problem.units)))


def _cut_once(problem: Problem) -> tuple[bool, ...]:
    """The best placement with any number of segments that cost nothing: exact."""
    cut = _Cut()
    for i, unit in enumerate(problem.units):
        cut.edge(SOURCE, ("npu", i), unit.host_ns)
        cut.edge(("npu", i), SINK, unit.npu_ns)
    for number, tensor in enumerate(problem.tensors):
        made: object = SINK if tensor.maker is None else ("npu", tensor.maker)
        cut.edge(("some", number), made, tensor.to_npu_ns)  # some reader is on the NPU, its maker is not
        cut.edge(made, ("all", number), tensor.to_host_ns)  # its maker is, some reader is not
        cut.edge(SOURCE, ("none", number), 0.0 if tensor.shown else tensor.on_host_ns)
        for reader in tensor.readers:
            cut.edge(("none", number), ("npu", reader))
            cut.edge(("npu", reader), ("some", number))
            cut.edge(("all", number), ("npu", reader))
        if tensor.shown:
            cut.edge(("all", number), SINK)
    chosen = cut.source_side()
    return tuple(("npu", i) in chosen for i in range(len(problem.units)))


def _cut_twice(problem: Problem) -> tuple[bool, ...]:
    """The best placement with one segment, of those in which no tensor goes around it."""
    cut = _Cut()
    for i, unit in enumerate(problem.units):
        cut.edge(SOURCE, ("begun", i), unit.host_ns)  # before the segment
        cut.edge(("begun", i), ("ended", i), unit.npu_ns)
        cut.edge(("ended", i), SINK, unit.host_ns)  # after it
        cut.edge(("ended", i), ("begun", i))
    for number, tensor in enumerate(problem.tensors):
        given = tensor.maker is None
        begun: object = SINK if given else ("begun", tensor.maker)
        ended: object = SINK if given else ("ended", tensor.maker)
        cut.edge(("taken", number), begun, tensor.to_npu_ns)
        cut.edge(("given", number), ended, 0.0 if given else tensor.to_host_ns)
        on_host = 0.0 if tensor.shown else tensor.on_host_ns
        cut.edge(SOURCE, ("all begun", number), on_host)
        cut.edge(("some ended", number), SINK, on_host)
        for reader in tensor.readers:
            cut.edge(("all begun", number), ("begun", reader))
            cut.edge(("ended", reader), ("some ended", number))
            cut.edge(("begun", reader), ("taken", number))
            cut.edge(("ended", reader), ("given", number))
            cut.edge(begun, ("begun", reader))
            cut.edge(ended, ("ended", reader))
        if tensor.shown:
            cut.edge(SOURCE, ("given", number))
    chosen = cut.source_side()
    return tuple(("begun", i) in chosen and ("ended", i) not in chosen for i in range(len(problem.units)))


class _Cut:
    """A network whose minimum cut is looked for. An edge costs where its first end is on the source side alone."""

    def __init__(self) -> None:
        import networkx as nx  # here: models that the NPU takes whole do not wait for it

        self.network: nx.DiGraph[object] = nx.DiGraph()
        self.network.add_nodes_from((SOURCE, SINK))

    def edge(self, first: object, second: object, cost: float = math.inf) -> None:
        if first in (SINK, second) or second == SOURCE or not cost:
            return
        if math.isinf(cost):
            self.network.add_edge(first, second)  # without capacity: infinite
        elif not self.network.has_edge(first, second):
            self.network.add_edge(first, second, capacity=round(cost))
        elif "capacity" in self.network[first][second]:
            self.network[first][second]["capacity"] += round(cost)

    def source_side(self) -> set[object]:
        import networkx as nx  # here: see above
        from networkx.algorithms.flow import preflow_push  # finds the same cut as others, in half their time or less

        _, (chosen, _) = nx.minimum_cut(self.network, SOURCE, SINK, flow_func=preflow_push)
        return set(chosen)


def _improved(problem: Problem, on_npu: tuple[bool, ...], free: Iterable[int]) -> tuple[bool, ...]:
    """Move units, alone or with all before or behind them, while that makes it cheaper."""
    least, turns = problem.cost(on_npu) * ROUNDING, _Turns(problem, on_npu)
    most = math.inf if problem.most_segments is None else problem.most_segments
    costs, free, moves = _Costs(problem), list(free), _moves(problem)
    best = np.array(on_npu, bool)
    now = costs.each(best)
    for _ in range(ROUNDS):
        before = best
        for unit in (unit for unit in free if _at_the_edge(problem, best, unit)):
            for together in moves(unit):
                going = together & costs.legal & best if best[unit] else together & costs.legal & ~best
                changed = best ^ going
                then = costs.each(changed)
                change = float((then - now).sum())
                if change > turns.segments * problem.segment_ns:  # whatever segments it spares
                    continue
                moved = turns.moved(np.flatnonzero(going).tolist(), most)
                if moved is None:
                    continue
                segments = turns.segments_of(moved)
                if change + (segments - turns.segments) * problem.segment_ns < -least:
                    best, now = changed, then
                    turns.take(moved)
        if best is before:
            break
    return tuple(best.tolist())


class _Turns:
    """The turns of a placement (`Problem.turns`), found anew for what comes behind a move alone."""

    def __init__(self, problem: Problem, on_npu: Sequence[bool]) -> None:
        self.makers, self.readers = problem.makers, problem.readers
        self.turn = problem.turns(on_npu)
        self.count = Counter(self.turn)
        self.segments = self.segments_of({})

    def moved(self, units: Iterable[int], most: float) -> dict[int, int] | None:
        """The turns that become others when units go to the other side; None where the NPU takes more than `most`."""
        there, changed = set(units), dict[int, int]()
        due = bytearray(len(self.turn))
        for unit in there:
            due[unit] = True
        unit = due.find(True)
        while unit >= 0:  # in execution order: what a unit reads has its turn
            earliest = max((changed.get(maker, self.turn[maker]) for maker in self.makers[unit]), default=0)
            turn = _turn(earliest, bool(self.turn[unit] % 2) != (unit in there))
            if _segments(turn) > most:
                return None
            if turn != self.turn[unit]:
                changed[unit] = turn
                for reader in self.readers[unit]:
                    due[reader] = True
            unit = due.find(True, unit + 1)
        return changed

    def segments_of(self, changed: Mapping[int, int]) -> int:
        """How many turns the NPU takes with these."""
        count = self.count + Counter(changed.values())
        count.subtract(self.turn[unit] for unit in changed)
        return _segments(max((turn for turn, units in count.items() if units), default=0))

    def take(self, changed: Mapping[int, int]) -> None:
        """Go on from these."""
        self.segments = self.segments_of(changed)
        for unit, turn in changed.items():
            self.turn[unit] = turn
        self.count = Counter(self.turn)


class _Costs:
    """A problem as arrays, so that all units and tensors of a placement are priced at once."""

    def __init__(self, problem: Problem) -> None:
        self.host_ns, self.npu_ns = np.array(problem.units, np.float64).reshape(-1, 2).T
        self.legal = np.isfinite(self.npu_ns)
        tensors = problem.tensors
        self.makers = np.array([-1 if tensor.maker is None else tensor.maker for tensor in tensors], np.int64)
        self.shown = np.array([tensor.shown for tensor in tensors], bool)
        self.to_npu_ns, self.to_host_ns, self.on_host_ns = (
            np.array([getattr(tensor, name) for tensor in tensors], np.float64)
            for name in ("to_npu_ns", "to_host_ns", "on_host_ns")
        )
        self.reads = np.array([len(tensor.readers) for tensor in tensors], np.int64)
        self.readers = np.array([reader for tensor in tensors for reader in tensor.readers], np.int64)
        self.read = np.repeat(np.arange(len(tensors)), self.reads)  # the tensor of each of `readers`

    def each(self, on_npu: NDArray[np.bool_]) -> NDArray[np.float64]:
        """What each unit, then each tensor (`Carried.ns`) costs; infinite where it is not allowed. on_npu: [units]."""
        made = (self.makers >= 0) & on_npu[self.makers]
        by_npu = np.bincount(self.read[on_npu[self.readers]], minlength=len(self.reads))
        by_host = self.shown | (by_npu < self.reads)
        on_host = np.where(by_host, self.on_host_ns + np.where(made, self.to_host_ns, 0.0), 0.0)
        tensors = on_host + np.where(~made & (by_npu > 0), self.to_npu_ns, 0.0)
        return np.concatenate([np.where(on_npu, self.npu_ns, self.host_ns), tensors])


def _at_the_edge(problem: Problem, on_npu: NDArray[np.bool_], unit: int) -> bool:
    """Something next to the unit is on the other side, or it is dearer where it is."""
    here, there = problem.units[unit] if not on_npu[unit] else problem.units[unit][::-1]
    return here > there or any(on_npu[other] != on_npu[unit] for other in problem.neighbours[unit])


def _moves(problem: Problem) -> Callable[[int], tuple[NDArray[np.bool_], ...]]:
    """Sets of units, as masks, that may move with a unit: it alone, with all before it, with all behind it."""
    units = len(problem.units)
    before = np.eye(units, dtype=bool)  # a row each: what a unit needs, and it itself
    for unit, makers in enumerate(problem.makers):
        before[unit] |= before[makers].any(axis=0)
    alone = np.eye(units, dtype=bool)
    return lambda unit: (alone[unit], before[unit], before[:, unit])
