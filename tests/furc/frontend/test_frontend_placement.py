"""The placement of operators costs what the best one costs."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from unittest.mock import Mock

import numpy as np
import pytest

from furc.frontend import placement
from furc.frontend.placement import Carried, Problem, Unit, place, place_each


def drawn(seed: int, most: int | None, units: int = 0) -> Problem:
    """A random graph of at most 12 operators, in execution order."""
    rng = np.random.default_rng(seed)
    count = units or int(rng.integers(1, 13))
    legal = rng.random(count) < 0.7
    made = [Unit(float(rng.integers(1, 200)), float(rng.integers(1, 60)) if ok else math.inf) for ok in legal]
    tensors = []
    for maker in (None, *range(count)):
        later = [i for i in range(count) if maker is None or i > maker]
        readers = tuple(int(i) for i in later if rng.random() < 2 / max(1, len(later)))
        shown = maker is not None and (not readers or rng.random() < 0.1)
        tensors.append(Carried(maker, readers, shown, *map(float, rng.integers(0, (80, 30, 20)))))
    return Problem(tuple(made), tuple(tensors), float(rng.integers(0, 50)), most)


def brute_force(problem: Problem) -> float:
    return min(problem.cost(on_npu) for on_npu in product((False, True), repeat=len(problem.units)))


@pytest.mark.parametrize("most", [1, 2, None])
@pytest.mark.parametrize("seed", range(12))
def test_the_cost_is_that_of_the_best_placement(seed: int, most: int | None) -> None:
    problem = drawn(seed, most)
    assert problem.cost(place(problem)) == brute_force(problem)


@pytest.mark.parametrize("seed", range(12))
def test_the_cut_is_exact_where_segments_are_free(seed: int) -> None:
    problem = replace(drawn(seed, None), segment_ns=0.0)
    assert problem.cost(placement._cut_once(problem)) == brute_force(problem)


def test_cut_and_improvement_find_the_best_nearly_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without trying everything, as for large graphs."""
    monkeypatch.setattr(placement, "EXHAUSTIVE", 0)
    problems = [drawn(seed, (1, None)[seed % 2], units=9) for seed in range(60)]
    ratios = [problem.cost(place(problem)) / brute_force(problem) for problem in problems]
    assert np.mean(np.isclose(ratios, 1)) >= 0.9 and max(ratios) < 1.25


def test_one_segment_is_one() -> None:
    for seed in range(20):
        problem = drawn(seed, 1)
        assert problem.segments(place(problem)) <= 1


def test_each_number_of_segments_is_placed_as_alone_by_the_same_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts know of no segments, and are most of the time on large graphs."""
    monkeypatch.setattr(placement, "EXHAUSTIVE", 0)
    problem = drawn(3, None, units=9)
    alone = [place(replace(problem, most_segments=most)) for most in (1, 2, None)]
    cut = Mock(wraps=placement._cut_twice)
    monkeypatch.setattr(placement, "_cut_twice", cut)
    assert place_each(problem, [1, 2, None]) == alone and cut.call_count == 1


@pytest.mark.parametrize("seed", range(24))
def test_turns_behind_a_move_are_those_of_the_placement_as_a_whole(seed: int) -> None:
    problem, rng = drawn(seed, None, units=12), np.random.default_rng(seed)
    on_npu = rng.integers(0, 2, 12).astype(bool)
    turns = placement._Turns(problem, on_npu.tolist())
    for _ in range(12):
        going = rng.random(12) < rng.random()
        on_npu ^= going
        moved = turns.moved(np.flatnonzero(going).tolist(), math.inf)
        assert moved is not None and turns.segments_of(moved) == problem.segments(on_npu.tolist())
        turns.take(moved)
        assert turns.turn == problem.turns(on_npu.tolist())
        assert turns.segments == len({turn for turn, npu in zip(turns.turn, on_npu, strict=True) if npu})


def test_a_move_to_more_segments_than_allowed_is_followed_no_further() -> None:
    """A chain of 1000 on the NPU: its second goes to the host, and all behind it would have another turn."""
    tensors = [Carried(maker, (maker + 1,), False, 1, 1) for maker in range(999)]
    turns = placement._Turns(Problem((Unit(1, 1),) * 1000, tuple(tensors)), (True,) * 1000)
    due = Mock(wraps=placement._turn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "_turn", due)
        assert turns.moved([1], 1) is None and due.call_count == 2
        assert turns.moved([999], 1) == {999: 2} and due.call_count == 3


@pytest.mark.parametrize("seed", range(12))
def test_prices_of_all_units_and_tensors_at_once_are_those_of_each(seed: int) -> None:
    problem = drawn(seed, None, units=9)
    on_npu = np.random.default_rng(seed).integers(0, 2, 9).astype(bool)
    units = [unit.npu_ns if npu else unit.host_ns for unit, npu in zip(problem.units, on_npu, strict=True)]
    tensors = [tensor.ns(on_npu.tolist()) for tensor in problem.tensors]
    assert placement._Costs(problem).each(on_npu).tolist() == units + tensors


def test_what_moves_together_is_all_before_or_behind_a_unit() -> None:
    """A chain of three, and one beside it that reads the first."""
    tensors = [Carried(maker, readers, False, 1, 1) for maker, readers in ((None, (0,)), (0, (1, 3)), (1, (2,)))]
    moves = placement._moves(Problem((Unit(1, 1),) * 4, tuple(tensors)))
    found = [[set(np.flatnonzero(mask)) for mask in moves(unit)] for unit in range(4)]
    assert found == [
        [{0}, {0}, {0, 1, 2, 3}], [{1}, {0, 1}, {1, 2}], [{2}, {0, 1, 2}, {2}], [{3}, {0, 3}, {3}],
    ]  # fmt: skip
