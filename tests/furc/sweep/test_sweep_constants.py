"""Every constant of the machine that may vary changes something that a user sees, or is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from qdq_models import Qdq

import furc
from furc.machine import machine
from furc.sweep.grid import CONSTANTS
from isa.errors import ConfigError, FurcError
from isa.npu import DESCRIPTIVE, NpuConfig, target, with_constants
from isa.timing.formulas import transfer_cycles

# Where twice as much is refused, or changes nothing of so small a model.
TRIED: dict[str, float] = {
    "vector_lanes": 1,
    "num_slices": 32,
    "sram_bytes_per_slice": 64,
    "vector_register_bytes": 16,
    "operand_queue_depth": 1,
    "io_queue_depth": 1,
    "completion_tags": 4,
    "instruction_memory_bytes": 512,
    "weight_register_bytes": 64,
    "dram_bytes": 64,
    "dram_bulk_bytes": 128,
    "host_link_bytes_per_second": 1,
    "dram_efficiency": 1,
    "timing_error": 0.5,
}


@cache
def model() -> bytes:
    """Convolutions and a table for the NPU, and one on the first result for the host: what was made first is stored
    first, so that each store needs a tag of its own."""
    m = Qdq()
    made = [m.float_input(1, 4, 16, 16)]
    for channels in (4, 64, 64, 64):
        w = m.weights(64, channels, 3, 3)
        made.append(m.quantized(m.node("Conv", made[-1], w, m.bias(w, 64), pads=[1, 1, 1, 1])))
    m.quantized(m.node("Sigmoid", made[-1]), 1 / 256, -128)
    m.output(m.node("Conv", made[1], m.const(m.rng.normal(size=(2, 64, 3, 3)), np.float32)))
    return bytes(m.model().SerializeToString())


@cache
def seen(npu: NpuConfig) -> str:
    """What compiles and their profiles say of any machine, or why there are none."""
    try:
        enfs = [furc.compile(model(), npu=npu, compiler_config={"use_program_loading": it}) for it in (False, True)]
        profiles = [furc.profile(enf, npu=npu).to_json() for enf in enfs]
        return str([{key: value for key, value in each.items() if key != "target"} for each in profiles])
    except FurcError as error:
        return str(error)


@pytest.mark.parametrize("name", [name for name in CONSTANTS if name not in DESCRIPTIVE])
def test_a_constant_that_may_vary_changes_something(name: str) -> None:
    base = target("warboy-2pe")
    assert seen(with_constants(base, {name: TRIED.get(name, 2 * getattr(base, name))})) != seen(base)


@pytest.mark.parametrize("name", DESCRIPTIVE)
def test_a_constant_that_changes_nothing_does_not_vary(name: str) -> None:
    base = target("warboy-2pe")
    assert with_constants(base, {name: getattr(base, name)}) == base
    what = f"error\\[DescriptiveConstant\\]: .*{name} is {getattr(base, name)} and cannot vary: {DESCRIPTIVE[name]}"
    with pytest.raises(ConfigError, match=what):
        with_constants(base, {name: 2 * getattr(base, name)})
    Path("what-if.toml").write_text(f'base = "warboy"\n{name} = 5\n')
    with pytest.raises(ConfigError, match=what):
        machine(None, Path("what-if.toml"))


def test_bulks_count_where_they_are_more_than_the_alignment() -> None:
    base = target("warboy")
    machines = [with_constants(base, {"dram_bulk_bytes": bulk}) for bulk in (32, 96, 512)]
    assert [transfer_cycles(3 * 65, 65, npu).dram_bytes for npu in machines] == [3 * 128, 3 * 192, 3 * 512]


def test_a_time_is_not_off_by_all_of_it() -> None:
    """A division by zero."""
    with pytest.raises(ConfigError, match=r"timing_error: 1\.0 is not below 1"):
        with_constants(target("warboy"), {"timing_error": 1.0})
