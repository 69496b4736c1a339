"""Which DRAM tensors are arrays, and how arrays are shared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from isa.enf import DramTensor, NpuStep
from isa.execute.dram_flow import DramFlow, at_the_edge, dram_flow
from isa.execute.kernel_form import UInt8
from isa.execute.tensors import Tensors
from isa.instructions import Instruction, Load, LoadWeights, Store
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.operands import DramRange, DramWindow, SramRange

SHAPE = Shape4(1, 4, 8, 8)
X = whole(Place(0, Layout(LayoutKind.HCHCW, 8, 1), SHAPE))
HALF = Box(0, 1, 0, 2, 0, 8)
REST = Box(0, 1, 2, 2, 0, 8)
IN, OUT = (DramTensor(name, address, LayoutKind.HCHCW, SHAPE) for name, address in (("in", 1024), ("out", 2048)))
A, B = at_the_edge(IN), at_the_edge(OUT)
MIDDLE = DramWindow(4096, LayoutKind.HCHCW, SHAPE, A.box)


def flow(*program: Instruction) -> DramFlow:
    return dram_flow([(NpuStep((IN,), (OUT,), (), ()), program)])


def store(where: DramWindow, box: Box = A.box) -> Store:
    return Store(src=Window(X.place, box), dst=DramWindow(where.address, where.order, where.shape, box))


LOAD = Load(src=A, dst=X)


def test_what_is_written_and_read_as_one_tensor_is_an_array() -> None:
    parts = (store(MIDDLE, HALF), store(MIDDLE, REST))
    found = flow(LOAD, *parts, Load(src=MIDDLE, dst=X), store(B))
    assert set(found.overwrites) == {A, B, MIDDLE} and found.constant == 1024


@pytest.mark.parametrize(
    "program",
    [
        (LOAD, store(MIDDLE, HALF), Load(src=MIDDLE, dst=X), store(B)),
        (LOAD, Load(src=MIDDLE, dst=X), store(MIDDLE), store(B)),
        (LOAD, store(MIDDLE), LoadWeights(src=DramRange(4100, 8), dst=SramRange(0, 8)), store(B)),
        (
            LOAD,
            store(MIDDLE),
            Load(src=DramWindow(4096, LayoutKind.HCHWC, SHAPE, A.box), dst=X),
            store(B),
        ),
    ],
    ids=["in-part", "of-an-earlier-run", "as-weights", "in-another-order"],
)
def test_what_is_read_as_something_else_stays_bytes(program: Sequence[Instruction]) -> None:
    assert MIDDLE not in flow(*program).overwrites


def test_writing_over_a_tensor_ends_it() -> None:
    over = DramWindow(4096 + 64, LayoutKind.HCHCW, SHAPE, A.box)
    found = flow(LOAD, store(MIDDLE), Load(src=MIDDLE, dst=X), store(over), Load(src=over, dst=X), store(B))
    assert found.overwrites[over] == (MIDDLE,)


def values(seed: int) -> UInt8:
    n, c, h, w = SHAPE
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), np.uint8)


def part(of: UInt8, box: Box) -> UInt8:
    return of[..., box.c0 : box.c0 + box.c]


def test_a_tensor_that_is_filled_anew_leaves_alone_who_was_handed_it() -> None:
    tensors, first, second = Tensors(), values(0), values(1)
    for box in (HALF, REST):
        tensors.write(A, box, part(first, box))
    tensors.write(B, B.box, tensors.read(A, A.box))
    tensors.write(A, HALF, part(second, HALF))
    assert np.array_equal(tensors.read(B, B.box), first)
    assert np.array_equal(tensors.read(A, HALF), part(second, HALF))
    assert np.array_equal(tensors.read(A, REST), part(first, REST))


def test_a_tensor_being_filled_is_not_copied_for_every_part() -> None:
    tensors, whole_ = Tensors(), values(0)
    tensors.write(A, HALF, part(whole_, HALF))
    memory = tensors.read(A, A.box).ctypes.data
    tensors.write(A, REST, part(whole_, REST))
    assert tensors.read(A, A.box).ctypes.data == memory


def test_dropping_what_is_not_there_is_nothing() -> None:
    tensors = Tensors()
    tensors.write(A, HALF, part(values(0), HALF))
    tensors.drop((A, B))
    with pytest.raises(KeyError):
        tensors.read(A, A.box)
