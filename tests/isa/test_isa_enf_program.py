"""Programs that a hostile file may hold: refused with their place, or harmless to execute and to time."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from isa_programs import programs
from isa_strategies import instructions, raw_values

from isa.errors import EnfError, FurcError, Loc
from isa.instructions import TABLE, Conv, Instruction, Jump, LoadWeights, Preload, Store, Table
from isa.interpreter import execute
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import DramRange, DramWindow, SramRange
from isa.program import check_program
from isa.timing.clock import simulate

NPU = target("warboy")
SMALL = replace(NPU, sram_bytes_per_slice=16_384)
DRAM_BYTES = 8192


@st.composite
def hostile(draw: st.DrawFn) -> Instruction:
    """Anything that decodes."""
    spec = draw(st.sampled_from(TABLE))
    return spec.instruction.of(draw(raw_values(operand)) for operand in spec.operands)


@settings(max_examples=250, deadline=None)
@given(st.lists(hostile() | instructions(), max_size=3))
def test_any_program_is_refused_or_can_be_timed_and_executed(program: list[Instruction]) -> None:
    try:
        check_program(program, SMALL, DRAM_BYTES, Loc("m"))
    except EnfError as error:
        assert error.name == "BadProgram" and error.message.startswith("instruction ")
        return
    assert math.isfinite(simulate(program, SMALL).cycles)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # scales that are no numbers
            execute(program, Machine(SMALL, DRAM_BYTES))
    except FurcError:
        pass


@settings(max_examples=30, deadline=None)
@given(programs())
def test_a_program_that_fits_is_let_through(program: list[Instruction]) -> None:
    assume(all(_fits(value) for insn in program for value in insn.values if isinstance(value, Window)))
    fill = [Preload(src=SramRange(0, 8), wbytes=1, bank=bank) for bank in (0, 1)]
    check_program(fill + program, NPU, NPU.dram_bytes, Loc())


def _fits(window: Window) -> bool:
    place = window.place
    size = place.layout.bytes_per_slice(place.shape, NPU.sram_access_bytes)
    return place.offset + size <= NPU.sram_bytes_per_slice


LAYOUT = Layout(LayoutKind.HCHCW, 64, 1)
PLACE = Place(0, LAYOUT, Shape4(1, 4, 64, 8))


def table(x: Window) -> Instruction:
    return Table(x=x, y=whole(PLACE))


def loadw(src: DramRange, dst: SramRange) -> Instruction:
    return LoadWeights(src=src, dst=dst)


@pytest.mark.parametrize(
    ("insn", "what"),
    [
        (table(Window(PLACE, Box(0, 1, 0, 4, 60, 5))), "table.x: h60+5 is not in 0..64"),
        (table(Window(PLACE, Box(0, 2, 0, 4, 0, 1))), "table.x: n0+2 is not in 0..1"),
        (table(whole(Place(0, Layout(LayoutKind.HCHCW, 13, 5), PLACE.shape))), "table.x: HCHCW(13x5) takes 65 slices"),
        (
            table(whole(Place(262_136, LAYOUT, PLACE.shape))),
            "table.x: bytes 0x3fff8..0x40018 of a slice of 0x40000",
        ),
        (loadw(DramRange(8128, 65), SramRange(0, 8)), "loadw.src: bytes 0x1fc0..0x2001 of 0x2000 of DRAM"),
        (loadw(DramRange(0, 64), SramRange(262_136, 16)), "loadw.dst: bytes 0x3fff8..0x40008 of a slice of 0x40000"),
        (
            Store(src=whole(PLACE), dst=DramWindow(6208, LayoutKind.HCHCW, PLACE.shape, whole(PLACE).box)),
            "store.dst: bytes 0x1840..0x2040 of 0x2000 of DRAM",
        ),
        (Conv(x=whole(PLACE), y=whole(PLACE), bank=1), "conv.bank: weight bank 1 is empty"),
    ],
)
def test_what_a_machine_cannot_do_is_told_with_its_operand(insn: Instruction, what: str) -> None:
    with pytest.raises(EnfError) as caught:
        check_program([Jump(to=0), insn], NPU, DRAM_BYTES, Loc("digits"))
    assert str(caught.value).startswith(f"error[BadProgram]: digits: instruction 1, {what}")
