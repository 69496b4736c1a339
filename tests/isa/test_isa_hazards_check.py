"""The race checker against counting by hand, and against a brute force over all pairs."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from isa_programs import programs

from isa.instructions import Conv, Instruction, Load, LoadWeights, MaxPool, Preload, Store
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.npu import target
from isa.operands import DramRange, DramWindow, SramRange
from isa.timing.clock import Event, Timeline, simulate
from isa.timing.cost import Cost
from isa.timing.races import accesses, races

NPU = target("warboy")
PLACE = Place(0, Layout(LayoutKind.HCHCW, 64, 1), Shape4(1, 16, 64, 64))


def timeline(*events: tuple[Instruction, float, float]) -> Timeline:
    made = tuple(Event(i, insn, start, start, end, Cost(end - start)) for i, (insn, start, end) in enumerate(events))
    return Timeline(made, max((e.end for e in made), default=0))


def rows(h0: int, h: int) -> Window:
    return Window(PLACE, Box(0, 1, 0, 16, h0, h))


def load(window: Window) -> Instruction:
    return Load(src=DramWindow(0, LayoutKind.HCHCW, window.place.shape, window.box), dst=window)


def pool(x: Window) -> Instruction:
    return MaxPool(x=x, y=whole(Place(65536, PLACE.layout, PLACE.shape)))


def test_reading_while_it_is_written_is_a_race() -> None:
    (report,) = races(timeline((load(whole(PLACE)), 0, 100), (pool(whole(PLACE)), 90, 200)), NPU)
    assert report == (
        "#0 load on dma_in (cycles 0..100) writes sram 0x0..0x400 as dst, but #1 maxpool on main (cycles 90..200) "
        "reads sram 0x0..0x400 as x: it starts 10 cycles too early"
    )


def test_touching_intervals_and_other_memory_are_no_race() -> None:
    far = LoadWeights(src=DramRange(0, 64), dst=SramRange(131072, 8))
    assert not races(timeline((load(whole(PLACE)), 0, 100), (pool(whole(PLACE)), 100, 200)), NPU)
    assert not races(timeline((far, 0, 100), (pool(whole(PLACE)), 50, 200)), NPU)


def test_two_readers_are_no_race() -> None:
    store = Store(src=whole(PLACE), dst=DramWindow(0, LayoutKind.HCHCW, PLACE.shape, whole(PLACE).box))
    assert not races(timeline((store, 0, 100), (pool(whole(PLACE)), 0, 200)), NPU)


def test_order_against_the_program_is_a_race_even_without_overlap() -> None:
    assert len(races(timeline((pool(whole(PLACE)), 100, 200), (load(whole(PLACE)), 0, 50)), NPU)) == 1


def test_disjoint_rows_of_one_tensor_are_no_race_but_of_two_views_they_are() -> None:
    assert not races(timeline((load(rows(0, 32)), 0, 100), (pool(rows(32, 32)), 0, 100)), NPU)
    assert races(timeline((load(rows(0, 33)), 0, 100), (pool(rows(32, 32)), 0, 100)), NPU)
    other = Window(Place(0, PLACE.layout, Shape4(1, 8, 64, 128)), Box(0, 1, 0, 8, 32, 32))
    assert races(timeline((load(rows(0, 32)), 0, 100), (pool(other), 0, 100)), NPU)


def test_banks_of_the_registers_are_memory() -> None:
    preload = Preload(src=SramRange(131072, 8), wbytes=8, bank=1)
    for bank in (0, 1):
        conv = Conv(x=whole(PLACE), y=whole(Place(65536, PLACE.layout, PLACE.shape)), ocn=1, kn=1, bank=bank)
        assert len(races(timeline((conv, 0, 100), (preload, 50, 60)), NPU)) == bank


def _brute_force(line: Timeline) -> set[tuple[int, int]]:
    found = set()
    for later in line.events:
        for earlier in line.events[: later.index]:
            if earlier.instruction.unit is later.instruction.unit or later.start >= earlier.end:
                continue
            pairs = ((a, b) for a in accesses(earlier.instruction, NPU) for b in accesses(later.instruction, NPU))
            if any(a.conflicts(b) for a, b in pairs):
                found.add((earlier.index, later.index))
    return found


def _pairs(reports: list[str]) -> set[tuple[int, int]]:
    sides = [report.split(", but #") for report in reports]
    return {(int(first[1:].split()[0]), int(second.split()[0])) for first, second in sides}


@settings(max_examples=60, deadline=None)
@given(programs(), st.data())
def test_any_timeline_gives_the_races_of_a_brute_force(program: list[Instruction], data: st.DataObject) -> None:
    if data.draw(st.booleans()):
        line = simulate(program, NPU)
    else:
        times = st.tuples(st.integers(0, 50), st.integers(0, 20))
        line = timeline(*((insn, *(lambda t: (t[0], t[0] + t[1]))(data.draw(times))) for insn in program))
    reports = races(line, NPU)
    assert _pairs(reports) == _brute_force(line) and len(reports) == len(_brute_force(line))


@settings(max_examples=30, deadline=None)
@given(programs())
def test_a_program_that_waits_for_everything_has_no_race(program: list[Instruction]) -> None:
    chained = [insn.scheduled(i % 32, 1 << (i - 1) % 32) for i, insn in enumerate(program)]
    assert not races(simulate(chained, NPU), NPU)


def test_five_thousand_instructions_are_checked_in_seconds() -> None:
    program = [load(rows(i % 60, 4)) if i % 2 else pool(rows(i % 50, 8)) for i in range(5000)]
    line = simulate(program, NPU)
    began = time.process_time()
    assert races(line, NPU)
    assert time.process_time() - began < 5
