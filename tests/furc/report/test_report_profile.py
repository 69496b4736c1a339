"""What a profile says adds up, and stays inside the machine."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

import furc
from furc.profiling.bound_by import BoundBy, union
from furc.profiling.counters import dram_gigabytes_per_second, mac_utilization, sram_bytes
from furc.profiling.host import host_work
from furc.profiling.profile import Profile
from furc.profiling.recorded import Engine, Recorded
from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits
from furc.zoo.int8 import in_int8
from isa import enf as enf_file
from isa.enf import Enf, HostStep
from isa.errors import ConfigError, EnfError
from isa.npu import target, with_constants
from isa.timing.formulas import tensor_cost

KEYS = {"name", "onnx_nodes", "cycles", "load_cycles", "compute_cycles", "store_cycles", "macs", "mac_utilization",
        "bound_by"}  # fmt: skip


@pytest.fixture
def profile(made: tuple[object, Recorded, Profile]) -> Profile:
    return made[2]


def test_operators_add_up(profile: Profile) -> None:
    for operator in profile.operators:
        parts = operator.load_cycles + operator.compute_cycles + operator.store_cycles
        assert operator.cycles == pytest.approx(parts)
        assert 0 <= operator.start_cycle <= operator.end_cycle <= profile.cycles
    assert sum(o.macs for o in profile.operators) == profile.macs
    assert sum(o.dram_bytes for o in profile.operators) == profile.dram_bytes
    assert profile.latency_ms == pytest.approx(profile.npu_ms + profile.host_ms)
    assert profile.host_ms == pytest.approx(sum(o.host_ms for o in profile.operators))


def test_nothing_exceeds_the_machine(profile: Profile) -> None:
    npu = profile.recorded.npu
    assert 0 < profile.mac_utilization <= 1
    assert all(0 <= o.mac_utilization <= 1 for o in profile.operators)
    assert profile.dram_bytes <= npu.dram_bytes_per_second * profile.npu_ms / 1e3
    assert all(step.value * 1e9 <= npu.dram_bytes_per_second for step in dram_gigabytes_per_second(profile.recorded))
    assert all(0 <= step.value <= 1 for step in mac_utilization(profile.recorded))
    assert all(0 <= step.value <= npu.sram_bytes for step in sram_bytes(profile.recorded))


def test_what_takes_no_time_beside_the_rest_has_no_rate() -> None:
    """Of 1e24 cycles a convolution's few are lost in rounding: a division by zero."""
    npu = with_constants(target("warboy"), {"dram_bulk_bytes": 1e15, "dram_bytes_per_second": 1})
    samples = [{"images": image[None]} for image in digits.calibration_images()[:2]]
    enf = furc.compile(quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM")), npu=npu)
    assert mac_utilization(furc.profile(enf, npu=npu).recorded) == []


def test_the_macs_are_those_of_the_model(profile: Profile) -> None:
    """3x3 on 8x8 from 1 to 16 and 16 to 32; on 4x4 depthwise 32, 1x1 32 to 32, 3x3 32 to 64; 64 to 10. Batch 2."""
    conv = 64 * 9 * 16 + 64 * 9 * 16 * 32 + 16 * 9 * 32 + 16 * 32 * 32 + 16 * 9 * 32 * 64
    assert profile.macs == 2 * (conv + 640)


def test_the_json_keys(profile: Profile) -> None:
    found = json.loads(json.dumps(profile.to_json()))
    assert {"target", "batch", "cycles", "latency_ms", "npu_ms", "host_ms", "dram_bytes", "macs", "mac_utilization",
            "instruction_bytes", "program_loads", "sram_peak_bytes", "operators"} <= set(found)  # fmt: skip
    for operator in found["operators"]:
        assert set(operator) >= KEYS
        assert operator["bound_by"] in set(BoundBy)
        assert all(isinstance(operator[key], int | float) for key in KEYS if key.endswith(("cycles", "macs", "on")))


def test_host_operators_cost_what_their_elements_cost(profile: Profile) -> None:
    npu = profile.recorded.npu
    found = {(o.name, o.tensor): o for o in profile.host}
    quantize, output = found["Quantize", "images"], profile.recorded.enf.outputs[0].name
    assert quantize.ms == pytest.approx(2 * 64 * npu.host_quantize_ns_per_element / 1e6)
    assert found["Dequantize", output].ms == pytest.approx(2 * 10 * npu.host_dequantize_ns_per_element / 1e6)
    assert found["Lower", "images"].ms == pytest.approx(2 * 64 * npu.host_copy_ns_per_element / 1e6)
    assert [o.name for o in profile.host] == ["Quantize", "Lower", "Unlower", "Dequantize"]


def test_a_recast_is_the_same_pass_as_the_lowering(profile: Profile) -> None:
    enf: Enf = profile.recorded.enf
    head, *rest = enf.steps
    assert isinstance(head, HostStep)
    recast = replace(head, operators=(replace(head.operators[0], name="Recast"),))
    work = host_work(replace(enf, steps=(recast, *rest)), profile.recorded.npu)
    assert [w.name for w in work] == ["Recast", "Unlower", "Dequantize"]


def test_slices_of_an_engine_are_disjoint(made: tuple[object, Recorded, Profile]) -> None:
    for engine in Engine:
        slices = sorted((s.start, s.stop) for s in made[1].slices if s.engine is engine)
        assert all(a[1] <= b[0] for a, b in pairwise(slices)), engine


def test_the_sram_counter_ends_empty_and_stays_below_the_peak(made: tuple[object, Recorded, Profile]) -> None:
    steps = sram_bytes(made[1])
    assert steps[-1].value == 0 and [s.cycle for s in steps] == sorted(s.cycle for s in steps)
    assert 0 < max(step.value for step in steps) <= 1.5 * made[2].sram_peak_bytes


def test_a_load_of_weights_that_are_there_is_no_work_of_an_operator(profile: Profile) -> None:
    starts: dict[int, float] = {}
    for piece in profile.recorded.slices:
        if piece.stop > piece.start:
            starts[piece.operator] = min(piece.start, starts.get(piece.operator, piece.start))
    assert {o.index: o.start_cycle for o in profile.operators if o.bound_by != "host"} == starts
    for o in profile.operators:  # of which those that only compute take no longer than they are at it
        if o.macs and not o.dram_bytes:
            assert o.macs / (o.end_cycle - o.start_cycle) >= 0.5 * o.macs / o.cycles


def test_the_sram_counter_has_the_weights_that_stay_all_the_time(made: tuple[object, Recorded, Profile]) -> None:
    resident, reloaded = made[1].weights
    assert resident and not reloaded
    steps = sram_bytes(made[1])
    assert steps[0].cycle == 0 and min(step.value for step in steps[:-1]) >= resident


def test_profile_of_a_path_of_bytes_and_of_an_enf(made: tuple[object, Recorded, Profile]) -> None:

    enf = made[1].enf
    assert furc.profile(enf) == furc.profile(enf_file.write(enf)) == made[2]


@pytest.mark.parametrize(
    "other", [{"batch_size": 8}, {"target_npu": "none"}, {"compiler_config": {"schedule": "best"}}]
)
def test_a_binary_is_not_profiled_as_it_was_not_compiled(
    made: tuple[object, Recorded, Profile], other: dict[str, Any]
) -> None:
    enf = made[1].enf
    assert furc.profile(enf, batch_size=2, target_npu=enf.target, compiler_config={}) == made[2]
    with pytest.raises(ConfigError, match=f"AlreadyCompiled.*{next(iter(other))}"):
        furc.profile(enf, **other)


def test_no_name_of_a_target_is_not_the_usual_one() -> None:
    with pytest.raises(ConfigError, match="UnknownTarget"):
        furc.profile(in_int8(digits.model()), target_npu="")


def test_a_binary_for_another_machine_is_refused(made: tuple[object, Recorded, Profile]) -> None:
    other = {"warboy": "warboy-2pe", "warboy-2pe": "warboy"}[made[2].target]
    with pytest.raises(EnfError, match="the file is for"):
        furc.profile(made[1].enf, npu=target(other))


@pytest.mark.parametrize(
    ("mac", "fetch", "vector", "bound"),
    [
        (50, 45, 60, BoundBy.MAC),
        (45, 50, 60, BoundBy.FETCH),
        (50, 45, 96, BoundBy.VECTOR),
        (30, 30, 0, BoundBy.OVERHEAD),
    ],
)
def test_contracting_and_fetching_take_turns(
    profile: Profile, mac: float, fetch: float, vector: float, bound: BoundBy
) -> None:
    cost = tensor_cost(40, fetch, vector, mac)
    assert cost.cycles == 40 + max(mac + fetch, vector)
    piece = next(piece for piece in profile.recorded.slices if piece.engine is Engine.MAIN)
    assert piece._replace(event=replace(piece.event, cost=cost)).bound_by == bound


def testunion() -> None:
    assert union([]) == 0
    assert union([(5, 7), (0, 2), (1, 3), (1, 2)]) == 5
