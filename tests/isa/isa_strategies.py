"""Hypothesis strategies derived from the instruction table: a new row is fuzzed without a change here."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from isa.instructions import TABLE, Instruction, Spec
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window
from isa.operands import DramWindow, Field, Operand, OperandValue


@cache  # a strategy that is made for each draw is checked and validated for each
def numbers(field: Field) -> st.SearchStrategy[int]:
    """Every number a field can hold, its ends often."""
    steps = (field.high - field.low) // field.scale
    inside = st.integers(0, steps).map(lambda step: field.low + step * field.scale)
    return st.sampled_from([field.low, field.high]) | inside


@cache
def raw_values(operand: Operand) -> st.SearchStrategy[OperandValue]:
    """Whatever the fields can hold, windows that make no sense among them."""
    return st.tuples(*(numbers(field) for field in operand.fields())).map(operand.unpack)


@st.composite
def boxes(draw: st.DrawFn, shape: Shape4) -> Box:
    """A box inside a shape; whole axes often."""
    spans = []
    for extent in shape[:3]:
        count = draw(st.just(extent) | st.integers(1, extent))
        spans += [draw(st.integers(0, min(extent - count, 31 if extent == shape.n else extent))), count]
    return Box(*spans)


@st.composite
def values(draw: st.DrawFn, operand: Operand) -> OperandValue:
    """What the fields can hold; windows have extents of at least 1 and a box inside their shape."""
    value = draw(raw_values(operand))
    if not isinstance(value, Window | DramWindow):
        return value
    old = value.place.shape if isinstance(value, Window) else value.shape
    shape = Shape4(*(max(1, extent) for extent in old))
    box = draw(boxes(shape))
    if isinstance(value, Window):
        return Window(Place(value.place.offset, value.place.layout, shape), box)
    return DramWindow(value.address, value.order, shape, box)


@st.composite
def instructions(draw: st.DrawFn, spec: Spec | None = None) -> Instruction:
    """Any instruction, with any tags."""
    row = spec or draw(st.sampled_from(TABLE))
    operands = tuple(draw(values(operand)) for operand in row.operands)
    signal = draw(st.none() | st.integers(0, 31))
    return row.instruction.of(operands, signal, draw(st.just(0) | st.integers(0, 2**32 - 1)))


@st.composite
def layouts(draw: st.DrawFn, slices: int = 64, images: int = 1) -> Layout:
    """A partition of so many images over at most so many slices."""
    apart = draw(st.booleans())
    free = slices // images if apart else slices
    ho = draw(st.integers(1, free))
    return Layout(draw(st.sampled_from(LayoutKind)), ho, draw(st.integers(1, free // ho)), apart)


@st.composite
def windows(draw: st.DrawFn, max_offset: int = 1024, extent: int = 20) -> Window:
    """A small window that fits every SRAM; the layout may leave slices empty or ragged."""
    shape = Shape4(draw(st.integers(1, 3)), *(draw(st.integers(1, extent)) for _ in range(3)))
    place = Place(8 * draw(st.integers(0, max_offset // 8)), draw(layouts(images=shape.n)), shape)
    return Window(place, draw(boxes(shape)))
