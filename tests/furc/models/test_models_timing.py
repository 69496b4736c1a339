"""What must hold of modelled time whatever the constants are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from zoo_models import SIZES, binary, quantized

from furc.compiler import compile
from isa.enf import Enf
from isa.npu import TARGETS, target
from isa.program import fetch
from isa.timing.clock import Timeline, following_runs, simulate
from isa.timing.races import races

pytestmark = pytest.mark.fills_memory


def timeline(enf: Enf) -> Timeline:
    """Of every run but the first: what plans are compared by."""
    npu = target(enf.target)
    [timeline] = following_runs(fetch(enf, npu), npu)
    return timeline


@pytest.mark.parametrize("name", SIZES)
def test_two_pes_are_never_slower_than_one(name: str) -> None:
    one, two = (timeline(binary(name, t, 1)).cycles for t in TARGETS)
    assert two <= one


@pytest.mark.parametrize("target_npu", TARGETS)
@pytest.mark.parametrize("name", SIZES)
def test_a_batch_of_two_is_never_slower_than_two_runs(name: str, target_npu: str) -> None:
    assert timeline(binary(name, target_npu, 2)).cycles <= 2 * timeline(binary(name, target_npu, 1)).cycles


@pytest.mark.parametrize("name", SIZES)
def test_no_instruction_does_more_than_the_hardware(name: str) -> None:
    npu = target("warboy")
    for event in timeline(binary(name, "warboy", 1)).events:
        spent = event.end - event.start
        assert event.cost.macs <= npu.macs_per_cycle * max(spent, 1e-9) or event.cost.macs == 0
        assert event.cost.dram_bytes <= npu.dram_bytes_per_cycle * spent + 1e-6


@pytest.mark.parametrize("name", SIZES)
def test_dram_traffic_of_a_run_stays_below_the_peak(name: str) -> None:
    npu, run = target("warboy"), timeline(binary(name, "warboy", 1))
    assert sum(event.cost.dram_bytes for event in run.events) <= npu.dram_bytes_per_cycle * run.cycles


@pytest.mark.parametrize("name", SIZES)
def test_no_two_units_touch_the_same_memory_at_once(name: str) -> None:
    assert races(timeline(binary(name, "warboy", 1)), target("warboy")) == []


def test_timing_is_deterministic() -> None:
    enf = binary("yolov8n", "warboy", 1)
    assert timeline(enf) == timeline(enf)


def test_program_loading_costs_cycles_and_loads() -> None:
    npu = replace(target("warboy"), instruction_memory_bytes=8192)
    loading = compile(quantized("yolov8n"), npu=npu, compiler_config={"use_program_loading": True})
    [program] = fetch(loading, npu)
    assert sum(insn.mnemonic == "loadp" for insn in program) == len(loading.segments) - 1 > 0
    assert simulate(program, npu).cycles > timeline(binary("yolov8n", "warboy", 1)).cycles
