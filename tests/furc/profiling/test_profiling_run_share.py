"""Each cycle of a run is counted once, for whoever the run waits for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

import furc
from furc.profiling.recorded import Engine, Slice, record
from furc.profiling.run_share import ORDER, run_shares
from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits
from isa.npu import target


@dataclass
class Piece:
    engine: Engine
    start: float
    stop: float
    operator: int


def shares(*pieces: tuple[Engine, float, float, int]) -> dict[int, float]:
    return run_shares(cast(list[Slice], [Piece(*piece) for piece in pieces]))


def test_what_is_hidden_behind_the_tensor_unit_counts_nothing() -> None:
    load, compute = (Engine.DMA_IN, 0.0, 10.0, 1), (Engine.MAIN, 4.0, 30.0, 2)
    assert shares(load, compute) == {1: 4.0, 2: 26.0}
    assert shares(compute, (Engine.DMA_OUT, 10.0, 20.0, 3)) == {2: 26.0}


def test_what_goes_on_when_the_nearer_engine_ends_counts_from_there() -> None:
    assert shares((Engine.MAIN, 0.0, 10.0, 0), (Engine.SUB, 5.0, 12.0, 1), (Engine.DMA_IN, 0.0, 20.0, 2)) == {
        0: 10.0, 1: 2.0, 2: 8.0,
    }  # fmt: skip


def test_cycles_without_work_are_nobodys() -> None:
    assert shares((Engine.MAIN, 5.0, 6.0, 0), (Engine.MAIN, 6.0, 8.0, 1), (Engine.MAIN, 10.0, 10.0, 2)) == {
        0: 1.0,
        1: 2.0,
    }
    assert shares() == {}


def test_every_engine_has_its_place() -> None:
    assert set(ORDER) == set(Engine)


@pytest.mark.parametrize("config", [{}, {"use_program_loading": True}])
def test_of_a_model_they_add_up_to_the_cycles_with_work(config: dict[str, Any]) -> None:
    int8 = quantize_model(
        digits.model(), [digits.calibration_images()[0][None]], QuantizeOptions(method="MIN_MAX_ASYM")
    )
    recorded = record(furc.compile(int8, target_npu="warboy", compiler_config=config), target("warboy"))
    spans = sorted((piece.start, piece.stop) for piece in recorded.slices)
    covered = reached = 0.0
    for start, stop in spans:
        covered += max(0.0, stop - max(start, reached))
        reached = max(reached, stop)
    assert sum(run_shares(recorded.slices).values()) == pytest.approx(covered, rel=1e-12)
    assert covered <= recorded.timeline.cycles
