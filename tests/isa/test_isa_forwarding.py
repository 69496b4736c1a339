"""Which programs may keep their tensors as arrays: every read finds what was written there last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from isa.execute.accelerated import Accelerated
from isa.execute.dram_flow import DramFlow
from isa.execute.forwarding import ForwardingMachine
from isa.execute.lifetimes import lifetimes
from isa.instructions import Conv, Instruction, Load, LoadTable, LoadWeights, Store, Table
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.npu import target
from isa.operands import DramRange, DramWindow, SramRange

NPU = target("warboy")
SHAPE = Shape4(1, 4, 8, 8)
BYTES = 4 * 8  # of a slice that holds a row of SHAPE
X, Y = (whole(Place(offset, Layout(LayoutKind.HCHCW, 8, 1), SHAPE)) for offset in (0, BYTES))
TOP = Window(X.place, Box(0, 1, 0, 4, 0, 4))
IN, OUT = (DramWindow(address, LayoutKind.HCHCW, SHAPE, X.box) for address in (0, 512))
HALF = DramWindow(0, LayoutKind.HCHCW, SHAPE, TOP.box)
WEIGHTS = SramRange(1024, 8)
LOAD, STORE = Load(src=IN, dst=X), Store(src=Y, dst=OUT)
LOADW, LOADT = LoadWeights(src=DramRange(1024, 256), dst=WEIGHTS), LoadTable(src=WEIGHTS)
TABLE = Table(x=X, y=Y)


def dead(*program: Instruction) -> list[tuple[Place, ...]] | None:
    return lifetimes([[instruction] for instruction in program], NPU.sram_access_bytes)


def test_a_tidy_program_lets_go_of_what_nothing_reads_any_more() -> None:
    assert dead(LOADW, LOADT, LOAD, TABLE, STORE) == [(), (), (), (X.place,), (Y.place,)]


def test_what_is_written_anew_is_let_go_of_before() -> None:
    assert dead(LOAD, Store(src=X, dst=OUT), LOADW, LOAD, Store(src=X, dst=OUT)) == [
        (), (X.place,), (), (), (X.place,),
    ]  # fmt: skip


def test_what_is_written_anew_in_part_is_not() -> None:
    store = Store(src=X, dst=OUT)
    assert dead(LOAD, store, Load(src=HALF, dst=TOP), store) == [(), (), (), (X.place,)]


def test_a_place_that_is_read_and_written_at_once_stays() -> None:
    assert dead(LOADW, LOADT, LOAD, Table(x=X, y=X), Store(src=X, dst=OUT)) == [(), (), (), (), (X.place,)]


def test_a_place_may_be_written_in_parts() -> None:
    rest = Box(0, 1, 0, 4, 4, 4)
    bottom = Load(src=DramWindow(0, LayoutKind.HCHCW, SHAPE, rest), dst=Window(X.place, rest))
    assert dead(Load(src=HALF, dst=TOP), bottom, Store(src=X, dst=OUT)) is not None


OVER_X = Place(8, Layout(LayoutKind.HCHCW, 8, 1), SHAPE)


@pytest.mark.parametrize(
    "program",
    [
        (STORE,),
        (Load(src=HALF, dst=TOP), Store(src=X, dst=OUT)),
        (LOAD, Load(src=IN, dst=whole(OVER_X)), Store(src=X, dst=OUT)),
        (LOAD, LoadWeights(src=DramRange(0, 64), dst=SramRange(24, 8)), Store(src=X, dst=OUT)),
        (LOADT,),
        (LOADW, Load(src=IN, dst=whole(Place(1024, X.layout, SHAPE))), LOADT),
        (LoadWeights(src=DramRange(1024, 192), dst=WEIGHTS), LOADT),
        (LOAD, Store(src=whole(Place(0, Layout(LayoutKind.HCHWC, 8, 1), SHAPE)), dst=OUT)),
        (LOAD, Conv(x=X, y=Y, kh=1, kw=1, ocn=4, kn=4)),
    ],
    ids=[
        "unwritten",
        "in-part",
        "overwritten",
        "under-weights",
        "unloaded",
        "weights-gone",
        "short",
        "other-layout",
        "conv",
    ],
)
def test_a_program_that_could_tell_the_difference_runs_on_bytes(program: Sequence[Instruction]) -> None:
    assert dead(*program) is None


def test_the_machine_hands_tensors_on() -> None:
    machine, values = (
        ForwardingMachine(NPU, 2048, DramFlow({IN: (), OUT: ()}, 0)),
        np.arange(256, dtype=np.int8).reshape(1, 4, 8, 8),
    )
    machine.write_dram(IN, values)
    machine.dram[1024:1280] = np.arange(-128, 128, dtype=np.int8)[::-1]
    program = [LOADW, LOADT, LOAD, TABLE, STORE]
    Accelerated(program, NPU).run(machine)
    assert np.array_equal(machine.read_dram(OUT), -1 - values)


def test_a_run_begins_with_nothing_of_the_last_but_bytes() -> None:
    machine, values = ForwardingMachine(NPU, 2048, DramFlow({IN: ()}, 0)), np.arange(256, dtype=np.int8).reshape(SHAPE)
    machine.write_dram(IN, values)
    machine.write_dram(OUT, values)
    machine.begin()
    assert np.array_equal(machine.read_dram(OUT), values)
    with pytest.raises(KeyError):
        machine.read_dram(IN)
