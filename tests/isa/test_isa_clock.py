"""What the clock promises about any program."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from isa_programs import programs

from isa.instructions import End, Instruction, Jump, LoadTable, LoadWeights, MaxPool, Preload, Unit
from isa.layout import Layout, LayoutKind, Place, Shape4, whole
from isa.npu import target
from isa.operands import DramRange, SramRange
from isa.timing.clock import Event, Timeline, resident_loads, simulate
from isa.timing.cost import cost, issue_cycles

NPU = target("warboy")
DMA = (Unit.DMA_IN, Unit.DMA_OUT)
ANY_PROGRAM = given(programs())
FAST = settings(max_examples=80, deadline=None)
ROUNDING = 1e-6  # cycles; the clock adds float64 numbers


def lane(timeline: Timeline, *units: Unit) -> list[Event]:
    return [event for event in timeline.events if event.instruction.unit in units]


def awaited(program: list[Instruction], index: int) -> Iterator[int]:
    """For each tag an instruction waits for, the latest instruction before it that signals the tag."""
    for tag in range(32):
        if program[index].wait >> tag & 1:
            yield from next(([i] for i in range(index - 1, -1, -1) if program[i].signal == tag), [])


@FAST
@ANY_PROGRAM
def test_the_same_program_takes_the_same_cycles(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    assert timeline == simulate(list(program), NPU)
    assert [event.index for event in timeline.events] == list(range(len(program)))
    assert timeline.cycles == max(event.end for event in timeline.events)


@FAST
@ANY_PROGRAM
def test_instructions_are_issued_in_order_and_start_after_that(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    for before, after in pairwise(timeline.events):
        assert after.issued >= before.issued + issue_cycles(after.instruction, NPU)
    for event in timeline.events:
        if event.instruction.unit is not Unit.CONTROL:
            assert event.start >= event.issued and event.end == event.start + event.cost.cycles


@FAST
@ANY_PROGRAM
def test_a_unit_takes_its_instructions_in_order(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    for unit in (Unit.SUB, Unit.MAIN):
        for before, after in pairwise(lane(timeline, unit)):
            assert after.start >= before.end
    for unit in DMA:
        for before, after in pairwise(lane(timeline, unit)):
            assert after.start >= before.start + before.cost.transfer


@FAST
@ANY_PROGRAM
def test_nothing_starts_before_what_it_waits_for(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    for index in range(len(program)):
        for other in awaited(program, index):
            assert timeline.events[index].start >= timeline.events[other].end


@FAST
@ANY_PROGRAM
def test_the_end_comes_after_everything(program: list[Instruction]) -> None:
    *work, end = simulate(program, NPU).events
    assert all(event.end <= end.start for event in work)


@FAST
@ANY_PROGRAM
def test_a_queue_never_holds_more_than_its_depth(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    for unit in (*DMA, Unit.SUB, Unit.MAIN):
        depth = NPU.io_queue_depth if unit in DMA else NPU.operand_queue_depth
        events = lane(timeline, unit)
        for waiting, entering in zip(events, events[depth:], strict=False):
            assert entering.issued - issue_cycles(entering.instruction, NPU) >= waiting.start - ROUNDING


@FAST
@ANY_PROGRAM
def test_dram_never_moves_more_than_its_peak_rate(program: list[Instruction]) -> None:
    timeline = simulate(program, NPU)
    transfers = sorted(lane(timeline, *DMA), key=lambda event: event.start)
    for event in transfers:
        assert event.cost.dram_bytes <= event.cost.transfer * NPU.dram_bytes_per_cycle
        assert event.start + event.cost.transfer <= event.end
    for before, after in pairwise(transfers):
        assert after.start >= before.start + before.cost.transfer
    seconds = timeline.cycles / NPU.clock_hz
    assert sum(event.cost.dram_bytes for event in transfers) <= seconds * NPU.dram_bytes_per_second


@FAST
@ANY_PROGRAM
def test_no_instruction_multiplies_more_than_the_array_can(program: list[Instruction]) -> None:
    for insn in program:
        spent = cost(insn, NPU)
        assert 0 <= spent.macs <= spent.mac * NPU.macs_per_cycle
        assert spent.cycles >= max(spent.overhead, spent.mac, spent.fetch, spent.vector, spent.transfer) >= 0
        assert (spent.dram_bytes > 0) == (insn.unit in DMA)


@FAST
@ANY_PROGRAM
def test_a_program_is_never_shorter_than_the_work_of_one_unit(program: list[Instruction]) -> None:
    cycles = simulate(program, NPU).cycles
    for unit in (Unit.SUB, Unit.MAIN):
        assert cycles >= sum(cost(insn, NPU).cycles for insn in program if insn.unit is unit) - ROUNDING


def test_independent_units_overlap_and_tags_serialize_them() -> None:
    place = Place(0, Layout(LayoutKind.HCHCW, 64, 1), Shape4(1, 16, 64, 64))
    load = LoadWeights(src=DramRange(0, 64_000), dst=SramRange(65536, 1000))
    work = MaxPool(x=whole(place), y=whole(place), kh=3, kw=3)
    apart = simulate([load, work, End()], NPU)
    after = simulate([load.scheduled(0, 0), work.scheduled(None, 1), End()], NPU)
    assert apart.events[1].start < apart.events[0].end
    assert after.events[1].start == after.events[0].end
    assert apart.cycles < after.cycles


def test_a_wait_counts_the_latest_signal_before_it_in_the_program() -> None:
    load = LoadWeights(src=DramRange(0, 6400), dst=SramRange(0, 104)).scheduled(3, 0)
    wait = LoadTable(src=SramRange(0, 104)).scheduled(None, 1 << 3)
    timeline = simulate([wait, load, wait, load, End()], NPU)
    assert timeline.events[0].start < timeline.events[1].end  # nothing before it signals
    assert timeline.events[2].start == timeline.events[1].end
    assert timeline.events[3].end > timeline.events[2].start


@pytest.mark.parametrize(
    "insn", [LoadWeights(src=DramRange(0, 64), dst=SramRange(0, 8)), LoadTable(src=SramRange(0, 8))]
)
def test_an_empty_program_and_one_without_an_end_are_timed(insn: Instruction) -> None:
    assert simulate([], NPU).cycles == 0
    timeline = simulate([insn], NPU)
    assert timeline.cycles == issue_cycles(insn, NPU) + cost(insn, NPU).cycles


def test_a_following_run_loads_no_weights_that_nothing_overwrites() -> None:
    kept = LoadWeights(src=DramRange(0, 1 << 16), dst=SramRange(0, 1024))
    first = LoadWeights(src=DramRange(1 << 16, 1 << 16), dst=SramRange(1024, 1024))
    second = LoadWeights(src=DramRange(1 << 17, 1 << 16), dst=SramRange(2040, 1024))
    program = [kept, first, second, End()]
    assert resident_loads([program], NPU) == [{0}]
    assert simulate(program, NPU, frozenset({0})).cycles < simulate(program, NPU).cycles
    assert resident_loads([program[:2]], NPU) == [{0, 1}]
    assert resident_loads([[kept, first], [second]], NPU) == [{0}, set()]


def test_a_jump_waits_until_the_units_are_empty_but_not_for_loads() -> None:
    work = Preload(src=SramRange(0, 1024), start=0, wbytes=4096, vbytes=0, groups=1, bank=0)
    load = LoadWeights(src=DramRange(0, 1 << 20), dst=SramRange(0, 1 << 14))
    timeline = simulate([work, load, Jump(to=64), work, End()], NPU)
    first, loaded, jump, second, _ = timeline.events
    assert jump.start >= first.end and jump.start < loaded.end
    assert second.start >= jump.start + NPU.program_switch_cycles
