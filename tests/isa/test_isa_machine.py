"""Where data lies: gathering and scattering boxes of placed tensors, and the instructions that move bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_strategies import boxes, layouts, windows

from isa.errors import RunError
from isa.execute.accelerated import AsItIs, item_of
from isa.execute.parts import Item
from isa.execute.relay import MoveKernel, prepare
from isa.instructions import Instruction, Load, LoadTable, LoadWeights, Move, Preload, Store
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, busiest, whole
from isa.machine import POISON, Machine
from isa.npu import target
from isa.operands import DramRange, DramWindow, SramRange

# Small slices keep the machine cheap to make; everything else is Warboy's.
NPU = replace(target("warboy"), sram_bytes_per_slice=32_768)
DRAM_BYTES = 16_384


def machine() -> Machine:
    return Machine(NPU, DRAM_BYTES)


def random_int8(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, shape, np.int8)


def execute(state: Machine, *program: Instruction) -> None:
    for insn in program:
        insn.execute(state)


def element_addresses(window: Window) -> np.ndarray:
    """Slice and byte of each element of a window [n, c, h, w, 2], straight from the definition of the layouts."""
    place, (_, c, h, w) = window.place, window.place.shape
    hi, ci, access = -(-h // place.layout.ho), -(-c // place.layout.co), NPU.sram_access_bytes
    padded_w, padded_c = -(-w // access) * access, -(-ci // access) * access
    addresses = np.zeros((*window.shape, 2), np.int64)
    b = window.box
    for i, j, k, m in np.ndindex(*window.shape):
        image, channel, row = b.n0 + i, b.c0 + j, b.h0 + k
        group, image = (image, 0) if place.layout.apart else (0, image)
        if place.layout.kind is LayoutKind.HCHCW:
            inner = ((image * hi + row % hi) * ci + channel % ci) * padded_w + m
        else:
            inner = ((image * hi + row % hi) * w + m) * padded_c + channel % ci
        grid_row = group * place.layout.ho + row // hi
        addresses[i, j, k, m] = grid_row * place.layout.co + channel // ci, place.offset + inner
    return addresses


@settings(max_examples=150, deadline=None)
@given(windows(extent=8), st.integers(0, 9))
def test_a_written_box_lies_where_the_layout_says_and_nothing_else_changes(window: Window, seed: int) -> None:
    state, values = machine(), random_int8(window.shape, seed)
    state.sram[:] = random_int8(state.sram.shape, seed + 1)
    expected = state.sram.copy()
    slices, offsets = np.moveaxis(element_addresses(window), -1, 0)
    expected[slices, offsets] = values
    state.write(window, values)
    changed = state.sram != expected
    changed[_padding(window.place)] = False  # bytes behind the last column or channel belong to nobody
    assert not changed.any()
    assert np.array_equal(state.read(window), values)


def _padding(place: Place) -> tuple[np.ndarray, ...]:
    """Slices and bytes of a place that hold no element."""
    mask = np.zeros((NPU.num_slices, NPU.sram_bytes_per_slice), bool)
    taken = place.layout.slices(place.shape.n)
    mask[:taken, place.offset : place.offset + place.layout.bytes_per_slice(place.shape, 8)] = True
    slices, offsets = np.moveaxis(element_addresses(whole(place)), -1, 0)
    mask[slices, offsets] = False
    return np.nonzero(mask)


@settings(max_examples=100, deadline=None)
@given(windows(), st.data())
def test_boxes_of_one_place_keep_out_of_each_other(window: Window, data: st.DataObject) -> None:
    place = window.place
    state, first = machine(), random_int8(place.shape)
    state.write(whole(place), first)
    values = random_int8(window.shape, 1)
    state.write(window, values)
    b = window.box
    first[b.n0 : b.n0 + b.n, b.c0 : b.c0 + b.c, b.h0 : b.h0 + b.h] = values
    other = Window(place, data.draw(boxes(place.shape)))
    o = other.box
    expected = first[o.n0 : o.n0 + o.n, o.c0 : o.c0 + o.c, o.h0 : o.h0 + o.h]
    assert np.array_equal(state.read(other), expected)


@settings(max_examples=50, deadline=None)
@given(windows(), st.data())
def test_a_window_of_a_window_counts_from_its_corner(window: Window, data: st.DataObject) -> None:
    state = machine()
    state.write(whole(window.place), random_int8(window.place.shape))
    box = data.draw(boxes(window.shape))
    inner = state.read(window)[box.n0 : box.n0 + box.n, box.c0 : box.c0 + box.c, box.h0 : box.h0 + box.h]
    assert np.array_equal(state.read(window.sub(box)), inner)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(1, 60), st.integers(1, 12))
def test_the_busiest_slice_holds_what_counting_says(start: int, count: int, per_slice: int) -> None:
    owners = [element // per_slice for element in range(start, start + count)]
    assert busiest(start, count, per_slice) == max(owners.count(owner) for owner in owners)


def test_another_access_width_moves_the_padding_only() -> None:
    state = Machine(replace(NPU, sram_access_bytes=32), DRAM_BYTES)
    for kind in LayoutKind:
        place = Place(64, Layout(kind, 4, 2), Shape4(1, 6, 8, 5))
        values = random_int8(place.shape)
        state.write(whole(place), values)
        assert np.array_equal(state.read(whole(place)), values)


def test_unwritten_memory_is_poison() -> None:
    assert (machine().sram == POISON).all()


def test_a_program_that_needs_more_dram_than_there_is_is_refused() -> None:
    with pytest.raises(RunError, match="OutOfDram"):
        Machine(NPU, NPU.dram_bytes + 64)


@st.composite
def dram_windows(draw: st.DrawFn, extents: Shape4) -> DramWindow:
    """A DRAM tensor with a box of the given extents."""
    n, c, h = (extent + draw(st.integers(0, 3)) for extent in extents[:3])
    starts = [draw(st.integers(0, have - need)) for have, need in zip((n, c, h), extents, strict=False)]
    box = Box(starts[0], extents.n, starts[1], extents.c, starts[2], extents.h)
    return DramWindow(64 * draw(st.integers(0, 8)), draw(st.sampled_from(LayoutKind)), Shape4(n, c, h, extents.w), box)


def _dense(state: Machine, window: DramWindow) -> np.ndarray:
    """The whole DRAM tensor as a view [n, c, h, w]."""
    n, c, h, w = window.shape
    flat = state.dram[window.address : window.address + n * c * h * w]
    if window.order is LayoutKind.HCHCW:
        return flat.reshape(n, h, c, w).transpose(0, 2, 1, 3)
    return flat.reshape(n, h, w, c).transpose(0, 3, 1, 2)


@settings(max_examples=60, deadline=None)
@given(windows(extent=8), st.data())
def test_a_load_and_a_store_copy_one_box_and_nothing_else(window: Window, data: st.DataObject) -> None:
    source, target_ = data.draw(dram_windows(window.shape)), data.draw(dram_windows(window.shape))
    state = machine()
    state.dram[:] = random_int8((DRAM_BYTES,))
    b = source.box
    expected = _dense(state, source)[b.n0 : b.n0 + b.n, b.c0 : b.c0 + b.c, b.h0 : b.h0 + b.h].copy()
    execute(state, Load(src=source, dst=window))
    assert np.array_equal(state.read(window), expected)

    after = machine()
    after.dram[:] = state.dram
    b = target_.box
    _dense(after, target_)[b.n0 : b.n0 + b.n, b.c0 : b.c0 + b.c, b.h0 : b.h0 + b.h] = expected
    execute(state, Store(src=window, dst=target_))
    assert np.array_equal(state.dram, after.dram)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 16), st.data())
def test_loadw_stripes_bytes_over_the_slices(units: int, data: st.DataObject) -> None:
    width = 8 * units
    size = data.draw(st.integers(1, min(NPU.num_slices * width, 4096)))
    state = machine()
    state.dram[:] = random_int8((DRAM_BYTES,))
    before = state.sram.copy()
    execute(state, LoadWeights(src=DramRange(128, size), dst=SramRange(16, width)))
    striped = before[:, 16 : 16 + width].copy().reshape(-1)
    striped[:size] = state.dram[128 : 128 + size]
    before[:, 16 : 16 + width] = striped.reshape(-1, width)
    assert np.array_equal(state.sram, before)


def test_preload_splits_a_tile_into_weights_and_vector_registers_by_group() -> None:
    state, span = machine(), SramRange(8, 24)
    data = random_int8((NPU.num_slices * 24,))
    state.write_striped(span, data)
    execute(state, Preload(src=span, start=5, wbytes=7, vbytes=16, groups=3, bank=1))
    tile = data[5 : 5 + 3 * 23].reshape(3, 23)
    assert np.array_equal(state.weights[1], tile[:, :7])
    assert np.array_equal(state.vector[1], tile[:, 7:])
    assert state.weights[0].size == 0


def test_loadt_takes_256_entries_into_one_bank() -> None:
    state, span = machine(), SramRange(0, 16)
    data = random_int8((NPU.num_slices * 16,))
    state.write_striped(span, data)
    execute(state, LoadTable(src=span, start=100, bank=1))
    assert np.array_equal(state.tables[1], data[100:356])
    assert not state.tables[0].any()


def _move(x: Window, y: Window, start: int, loops: list[tuple[int, int]]) -> Move:
    operands: dict[str, int] = {}
    for axis, (size, step) in enumerate(loops, 6 - len(loops)):
        operands |= {f"size{axis}": size, f"step{axis}": step}
    return Move(x=x, y=y, start=start, **operands)


def _placed(shape: tuple[int, ...], offset: int, layout: Layout) -> Window:
    return whole(Place(offset, layout, Shape4(*shape)))


def check_move(move: Move, values: np.ndarray, wanted: np.ndarray, kind: type[Item] = MoveKernel) -> None:
    """By itself and by its kernel."""
    item = item_of(move)
    assert isinstance(item, kind)
    for run in (move.execute, item.run):
        state = machine()
        state.write(move.x, values)
        run(state)
        assert np.array_equal(state.read(move.y), wanted)


@settings(max_examples=60, deadline=None)
@given(
    layouts(images=5),
    layouts(images=5),
    st.permutations(range(4)),
    st.lists(st.sampled_from([1, -1, 2]), min_size=4, max_size=4),
)
def test_a_move_transposes_reverses_and_steps(a: Layout, b: Layout, order: list[int], steps: list[int]) -> None:
    shape = (2, 3, 5, 4)
    values = random_int8(shape)
    wanted = values[tuple(slice(None, None, step) for step in steps)].transpose(order)
    strides = np.array([60, 20, 4, 1])
    start = sum(int(s) * (e - 1) for s, e, step in zip(strides, shape, steps, strict=True) if step < 0)
    loops = [(wanted.shape[i], int(strides[axis]) * steps[axis]) for i, axis in enumerate(order)]
    x, y = _placed(shape, 0, a), _placed(wanted.shape, 8192, b)
    check_move(_move(x, y, start, loops), values, wanted)


def test_a_move_repeats_and_reshapes() -> None:
    layout = Layout(LayoutKind.HCHWC, 2, 1)
    x, y = _placed((1, 2, 3, 4), 0, layout), _placed((1, 2, 6, 8), 4096, layout)
    values = random_int8((1, 2, 3, 4))
    twice = _move(x, y, 0, [(2, 12), (3, 4), (2, 0), (4, 1), (2, 0)])  # nearest neighbour
    check_move(twice, values, values.repeat(2, axis=2).repeat(2, axis=3))
    flat = _placed((1, 24, 1, 1), 4096, layout)
    check_move(_move(x, flat, 0, [(24, 1)]), values, values.reshape(1, 24, 1, 1))
    folded = _placed((1, 2, 12, 1), 4096, layout)
    check_move(_move(x, folded, 0, [(24, 1)]), values, values.reshape(1, 2, 12, 1))


def test_a_move_that_runs_across_axes_is_left_as_it_is() -> None:
    layout = Layout(LayoutKind.HCHWC, 2, 1)
    x, y = _placed((1, 2, 3, 4), 0, layout), _placed((1, 1, 1, 5), 4096, layout)
    move, values = _move(x, y, 2, [(5, 3)]), random_int8((1, 2, 3, 4))
    assert prepare(move) is None
    check_move(move, values, values.reshape(-1)[2:17:3].reshape(1, 1, 1, 5), AsItIs)


@pytest.mark.parametrize(("start", "loops"), [(0, [(24, 2)]), (-1, [(24, 1)]), (1, [(24, 1)]), (5, [(24, -1)])])
def test_a_move_outside_its_source_is_refused(start: int, loops: list[tuple[int, int]]) -> None:
    layout = Layout(LayoutKind.HCHCW, 1, 1)
    x, y = _placed((1, 2, 3, 4), 0, layout), _placed((1, 24, 1, 1), 4096, layout)
    with pytest.raises(RunError, match="MoveOutsideSource"):
        execute(machine(), _move(x, y, start, loops))
