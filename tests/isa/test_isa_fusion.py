"""Which parts run as one model: neighbours, until somebody else needs what they made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import pytest

from isa import ort
from isa.execute.accelerated import Accelerated
from isa.execute.dram_flow import DramFlow
from isa.execute.forwarding import ForwardingMachine
from isa.execute.fusion import Member
from isa.instructions import Add, AveragePool, Instruction, Load, MaxPool, Pad, Store, Table
from isa.interpreter import execute
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.machine import Machine
from isa.npu import target
from isa.operands import DramWindow

NPU = target("warboy")
SHAPE = Shape4(1, 4, 8, 8)
BYTES = 4 * 8
LAYOUT = Layout(LayoutKind.HCHCW, 8, 1)
A, B, C, D = (whole(Place(at * BYTES, LAYOUT, SHAPE)) for at in range(4))
TOP, REST = (Box(0, 1, 0, 4, h0, 4) for h0 in (0, 4))
IN, OUT, OTHER = (DramWindow(address, LayoutKind.HCHCW, SHAPE, A.box) for address in (0, 512, 1024))
FLOW = DramFlow({IN: (), OUT: (), OTHER: ()}, 0)
LOAD = Load(src=IN, dst=A)
HALVES = tuple(Load(src=replace(IN, box=box), dst=Window(A.place, box)) for box in (TOP, REST))
OVER_HALF = Load(src=replace(OTHER, box=TOP), dst=Window(A.place, TOP))


def add(a: Window, b: Window, y: Window) -> Add:
    return Add(a=a, b=b, y=y, sa=0.5, sb=0.25, sy=0.75, za=3, zb=-4, zy=5)


def pool(x: Window, y: Window) -> MaxPool:
    return MaxPool(x=x, y=y, kh=3, kw=3, pt=1, pl=1)


def store(x: Window, to: DramWindow = OUT) -> Store:
    return Store(src=x, dst=to)


@pytest.mark.parametrize(
    ("program", "sizes"),
    [
        ((LOAD, add(A, A, B), pool(B, C), add(B, C, D), store(D)), [3]),
        ((LOAD, add(A, A, B), store(B, OTHER), pool(B, C), store(C)), [1, 1]),
        ((LOAD, add(A, A, B), pool(B, C), store(C, OTHER), add(B, C, D), store(D)), [2, 1]),
        ((LOAD, add(A, A, B), pool(B, C), add(C, C, B), add(B, C, D), store(D)), [4]),
        ((LOAD, add(A, A, B), Table(x=B, y=C), pool(C, D), store(D)), [1, 1]),
        ((LOAD, add(A, A, B), pool(Window(B.place, TOP), Window(C.place, TOP)),
          pool(Window(B.place, REST), Window(C.place, REST)), store(C)), [1, 1, 1]),
        ((LOAD, add(A, A, B), Load(src=IN, dst=C), add(B, C, D), store(D)), [2]),
        ((LOAD, add(A, A, B), Load(src=IN, dst=B), add(B, A, D), store(D)), [1, 1]),
        ((LOAD, add(A, A, B), Load(src=OTHER, dst=A), add(B, A, D), store(D)), [2]),
        ((*HALVES, add(A, A, B), OVER_HALF, pool(B, C), store(A, OTHER), store(C)), [2]),
    ],
    ids=["chain", "stored", "kept-for-later", "written-again", "table", "in-parts", "load-between", "load-over-it",
         "load-over-its-source", "load-over-half-of-its-source"],
)  # fmt: skip
def test_neighbours_are_one_model_and_give_the_same(program: Sequence[Instruction], sizes: list[int]) -> None:
    fast = Accelerated(program, NPU)
    members = [item for item in fast.items if isinstance(item, Member)]
    fused = {id(member.fused): member.fused for member in members}
    assert [len(item.parts) for item in fused.values()] == sizes
    values = [np.random.default_rng(seed).integers(-128, 128, SHAPE, np.int8) for seed in range(2)]
    forwarding, plain = ForwardingMachine(NPU, 2048, FLOW), Machine(NPU, 2048)
    for machine in (forwarding, plain):
        machine.tables[0] = np.arange(256)[::-1] - 128
        machine.write_dram(IN, values[0])
        machine.write_dram(OTHER, values[1])
    for _ in range(2):
        fast.run(forwarding)
        execute(program, plain)
        assert np.array_equal(forwarding.read_dram(OUT), plain.read_dram(OUT))
    assert np.array_equal(forwarding.read_dram(OTHER), plain.read_dram(OTHER))


def test_a_pad_may_be_part_of_it() -> None:
    large = whole(Place(D.place.offset, LAYOUT, Shape4(1, 4, 10, 10)))
    out = DramWindow(0, LayoutKind.HCHCW, Shape4(1, 4, 10, 10), large.box)
    program = [LOAD, add(A, A, B), Pad(x=B, y=large, dh=1, dw=2, value=-7), store(large, out)]
    fast = Accelerated(program, NPU)
    assert [type(item) for item in fast.items[1:3]] == [Member, Member]
    forwarding, plain = ForwardingMachine(NPU, 2048, DramFlow({}, 0)), Machine(NPU, 2048)
    for machine in (forwarding, plain):
        machine.write_dram(IN, np.random.default_rng(0).integers(-128, 128, SHAPE, np.int8))
    fast.run(forwarding)
    execute(program, plain)
    assert np.array_equal(forwarding.read_dram(out), plain.read_dram(out))


LARGE = whole(Place(4 * BYTES, LAYOUT, Shape4(1, 4, 10, 10)))
DEEP = whole(Place(4 * BYTES, LAYOUT, Shape4(1, 5, 8, 8)))
LARGE_OUT, DEEP_OUT = (DramWindow(2048, LayoutKind.HCHCW, x.place.shape, x.box) for x in (LARGE, DEEP))


def mean(x: Window, y: Window, size: int) -> AveragePool:
    return AveragePool(x=x, y=y, kh=size, kw=size, sx=0.5, sy=0.25, zx=-7, zy=3)


@pytest.mark.parametrize(
    ("program", "pads"),
    [
        ((LOAD, Pad(x=A, y=LARGE, dh=1, dw=2, value=-7), mean(LARGE, B, 3), store(B)), 0),
        ((LOAD, Pad(x=A, y=LARGE, dh=1, dw=2, value=-8), mean(LARGE, B, 3), store(B)), 1),
        ((LOAD, Pad(x=A, y=LARGE, dh=1, dw=2, value=-7), mean(LARGE, B, 3), store(LARGE, LARGE_OUT), store(B)), 1),
        ((LOAD, Pad(x=A, y=LARGE, dh=1, dw=2, value=-7), mean(LARGE, B, 3), pool(LARGE, LARGE),
          store(LARGE, LARGE_OUT), store(B)), 1),
        ((LOAD, Pad(x=A, y=DEEP, dc=1, value=-7), AveragePool(x=DEEP, y=DEEP, kh=3, kw=3, pt=1, pl=1, padded=1,
          zx=-7, sx=1.0, sy=2.0), store(DEEP, DEEP_OUT)), 1),
    ],
    ids=["zero-point", "another-value", "stored", "read-twice", "of-channels"],
)  # fmt: skip
def test_kernels_pad_by_themselves_where_nobody_else_sees_it(
    program: Sequence[Instruction], pads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, kernels = list[onnx.ModelProto](), ort.kernels

    def seen(model: bytes, *, few: int = 0) -> object:
        models.append(onnx.load_from_string(model))
        return kernels(model, few=few)

    monkeypatch.setattr(ort, "kernels", seen)
    forwarding, plain = ForwardingMachine(NPU, 4096, FLOW), Machine(NPU, 4096)
    for machine in (forwarding, plain):
        machine.write_dram(IN, np.random.default_rng(0).integers(-128, 128, SHAPE, np.int8))
    Accelerated(program, NPU).run(forwarding)
    execute(program, plain)
    for stored in (insn for insn in program if isinstance(insn, Store)):
        assert np.array_equal(forwarding.read_dram(stored.dst), plain.read_dram(stored.dst))
    assert [node.op_type for model in models for node in model.graph.node].count("Pad") == pads
