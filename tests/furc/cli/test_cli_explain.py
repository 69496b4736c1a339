"""furc explain: node, operator, instruction, memory and cycle lead to each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from furc.explain import explain_file, joined
from furc.profiling.profile import profile
from isa.errors import ConfigError
from isa.operands import Range, Space

Furc = Callable[..., Result]


def test_a_node_leads_to_its_operators_and_their_memory_and_these_back(models: Path) -> None:
    every = {number: explain_file(models / "model.enf", f"#{number}").operators[0] for number in range(3)}
    for number, operator in every.items():
        for node in operator.nodes:
            found = explain_file(models / "model.enf", node).operators
            assert operator in found
        for one in operator.instructions:
            assert one.operator == number
            at = explain_file(models / "model.enf", f"@{one.index}").operators
            assert [i for o in at for i in o.instructions] == [one] and at[0].nodes == operator.nodes
            if one.stop > one.start:
                running = explain_file(models / "model.enf", f"{(one.start + one.stop) / 2:.2f}").operators
                assert one in [i for o in running for i in o.instructions]
            for touched in one.touched:
                touching = explain_file(models / "model.enf", f"{touched.space.value}:{touched.start:#x}").operators
                assert one in [i for o in touching for i in o.instructions]


def test_an_operator_takes_the_cycles_that_its_profile_says(models: Path) -> None:
    profiled = {o.index: (o.start_cycle, o.end_cycle) for o in profile(models / "model.enf").operators if o.cycles}
    for number, cycles in profiled.items():
        [operator] = explain_file(models / "model.enf", f"#{number}").operators
        assert (operator.start_cycle, operator.end_cycle) == cycles


def test_operators_know_whom_they_read_from(models: Path) -> None:
    first = next(
        o for n in range(3) for o in explain_file(models / "model.enf", f"#{n}").operators if o.read_by
    )  # fmt: skip
    for reader in first.read_by:
        assert first.number in explain_file(models / "model.enf", f"#{reader}").operators[0].reads_from


def test_a_part_of_a_name_is_enough(models: Path) -> None:
    [operator] = explain_file(models / "model.enf", "#0").operators
    name = operator.nodes[0]
    assert operator in explain_file(models / "model.enf", name[: max(2, len(name) - 1)]).operators


@pytest.mark.parametrize("where", ["nosuchnode", "#999", "@99999", "dram:0xfffffffffff", "999999999"])
def test_where_nothing_is_says_what_there_is(models: Path, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        explain_file(models / "model.enf", where)
    assert caught.value.name == "NothingThere" and "cycles" in caught.value.hint
    if where.startswith("@"):
        assert caught.value.message.startswith("there is no instruction 99999, there are ")


def test_ranges_that_touch_are_one() -> None:
    sram, dram = Space.SRAM, Space.DRAM
    ranges = [Range(sram, 8, 16), Range(sram, 0, 8), Range(dram, 16, 20), Range(sram, 24, 32), Range(sram, 10, 12)]
    assert joined(ranges) == (Range(dram, 16, 20), Range(sram, 0, 16), Range(sram, 24, 32))


def test_the_command(furc: Furc, models: Path) -> None:
    told = furc("explain", models / "model.enf", "#0").stdout
    assert told.startswith("operator 0: 1 operator on the NPU, 0 on the host")
    assert "from nodes" in told and "cycles" in told and "DMA in" in told
    assert furc("explain", models / "model.enf", "nosuchnode", exits=1).stderr.startswith("error[NothingThere]:")
    assert "is for models" in furc("explain", models / "model.enf", "#0", "-b", 2, exits=2).stderr
