"""Random programs that a machine could run: small tensors, every unit, tags in all directions."""

from __future__ import annotations

from hypothesis import strategies as st
from isa_strategies import boxes

from isa.instructions import (
    Add,
    AveragePool,
    Conv,
    End,
    Instruction,
    Load,
    LoadTable,
    LoadWeights,
    MaxPool,
    Move,
    Mul,
    Pad,
    Preload,
    Store,
    Table,
)
from isa.layout import Layout, LayoutKind, Place, Shape4, Window
from isa.operands import DramRange, DramWindow, SramRange

KINDS = st.sampled_from(LayoutKind)
PARTITIONS = st.sampled_from([(64, 1), (16, 4), (8, 8), (1, 64), (4, 2), (1, 1)])


@st.composite
def windows(draw: st.DrawFn, shape: Shape4 | None = None) -> Window:
    extents = shape or Shape4(draw(st.integers(1, 2)), *(draw(st.sampled_from([1, 3, 16, 40, 65])) for _ in range(3)))
    ho, co = draw(PARTITIONS)
    apart = ho * co * extents.n <= 64 and draw(st.booleans())
    place = Place(8 * draw(st.integers(0, 1000)), Layout(draw(KINDS), ho, co, apart), extents)
    return Window(place, draw(boxes(extents)))


def _dram(window: Window, address: int, kind: LayoutKind) -> DramWindow:
    return DramWindow(address, kind, window.place.shape, window.box)


@st.composite
def one_instruction(draw: st.DrawFn) -> Instruction:
    """An instruction whose extents make sense, so that it has a cost."""
    window, address, bank = draw(windows()), 64 * draw(st.integers(0, 4096)), draw(st.integers(0, 1))
    other = Window(Place(8 * draw(st.integers(0, 1000)), window.layout, window.place.shape), window.box)
    span = SramRange(8 * draw(st.integers(0, 1000)), 8 * draw(st.integers(1, 60)))
    kernel = draw(st.integers(1, 5))
    choice = draw(st.integers(0, 12))
    if choice == 0:
        return Load(src=_dram(window, address, draw(KINDS)), dst=window)
    if choice == 1:
        return Store(src=window, dst=_dram(window, address, draw(KINDS)))
    if choice == 2:
        return LoadWeights(src=DramRange(address, draw(st.integers(1, 50_000))), dst=span)
    if choice == 3:
        return Preload(src=span, wbytes=draw(st.integers(1, 4096)), vbytes=64, bank=bank)
    if choice == 4:
        return LoadTable(src=span, bank=bank)
    if choice == 5:
        return Move(x=window, y=other, size5=window.shape.elements, step5=1)
    if choice == 6:
        return MaxPool(x=other, y=window, kh=kernel, kw=kernel, sw=draw(st.integers(1, 3)))
    if choice == 7:
        return Table(x=other, y=window, tbank=bank)
    if choice == 8:
        return draw(st.sampled_from([Add, Mul]))(a=window, b=other, y=other, sa=1.0, sb=1.0, sy=1.0)
    if choice == 9:
        return Pad(x=window, y=other)
    if choice == 10:
        return AveragePool(x=other, y=window, kh=kernel, kw=1, sx=1.0, sy=1.0)
    groups = draw(st.sampled_from([1, 1, window.shape.c]))
    return Conv(x=other, y=window, kh=kernel, kw=kernel, sw=draw(st.integers(1, 2)), groups=groups,
        up=draw(st.sampled_from([1, 1, 2])), oc0=draw(st.integers(0, 3)), ocn=draw(st.integers(1, 16)), bank=bank,
        kn=1 if groups > 1 else draw(st.integers(1, 256)), first=draw(st.integers(0, 1)), last=draw(st.integers(0, 1)),
    )  # fmt: skip


@st.composite
def programs(draw: st.DrawFn, max_size: int = 40) -> list[Instruction]:
    """Instructions with any tags, and an end."""
    tags = st.integers(0, 5)
    waits = st.sets(tags, max_size=3).map(lambda tags: sum(1 << tag for tag in tags))
    work = draw(st.lists(st.tuples(one_instruction(), st.none() | tags, waits), max_size=max_size))
    return [insn.scheduled(signal, wait) for insn, signal, wait in work] + [End()]
