"""Views against NumPy: any chain of movement reads the elements that NumPy's own movement gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from passes.ir.op import Array
from passes.ir.strides import View, cut, row_major, strides


def read(view: View, base: Array) -> Array:
    """The view's elements, one by one."""
    index = np.full(view.sizes, view.start)
    for axis, (size, step) in enumerate(zip(view.sizes, view.steps, strict=True)):
        shape = [1] * len(view.sizes)
        shape[axis] = size
        index = index + np.arange(size).reshape(shape) * step
    result: Array = base.reshape(-1)[index]
    return result


SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@st.composite
def moved(draw: st.DrawFn, view: View, array: Array) -> tuple[View | None, Array]:
    """One more movement of both."""
    shape, rank = array.shape, array.ndim
    kind = draw(st.sampled_from(["slice", "transpose", "expand", "reshape"]))
    if kind == "slice":
        step = tuple(draw(st.sampled_from([1, 2, -1])) for _ in shape)
        size = tuple(draw(st.integers(1, -(-e // abs(s)))) for e, s in zip(shape, step, strict=True))
        reach = [(n - 1) * abs(s) for n, s in zip(size, step, strict=True)]
        low = [draw(st.integers(0, e - 1 - r)) for e, r in zip(shape, reach, strict=True)]
        start = tuple(a if s > 0 else a + r for a, s, r in zip(low, step, reach, strict=True))
        for axis in range(rank):
            array = array.take(range(start[axis], start[axis] + size[axis] * step[axis], step[axis]), axis)
        return view.sliced(start, size, step), array
    if kind == "transpose":
        perm = tuple(draw(st.permutations(range(rank))))
        return view.transposed(perm), array.transpose(perm)
    if kind == "expand":
        to = (*draw(st.sampled_from([(), (1,), (2,)])), *(e if e > 1 else draw(st.integers(1, 3)) for e in shape))
        return view.expanded(to), np.broadcast_to(array, to)
    left, factors = array.size, []
    for _ in range(draw(st.integers(0, 3))):
        factors.append(draw(st.sampled_from([f for f in range(1, left + 1) if left % f == 0])))
        left //= factors[-1]
    return view.reshaped((*factors, left)), array.reshape((*factors, left))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SHAPES, st.data())
def test_a_chain_of_movements_reads_what_numpy_reads(shape: tuple[int, ...], data: st.DataObject) -> None:
    base = np.arange(int(np.prod(shape)))
    view, array = row_major(shape), base.reshape(shape)
    for _ in range(data.draw(st.integers(0, 4))):
        changed, wanted = data.draw(moved(view, array))
        if changed is None:
            break  # no steps express it: the caller makes the operand real
        view, array = changed, wanted
        assert view.sizes == array.shape
    assert np.array_equal(read(view, base), array)
    sizes, steps = view.loops()
    assert np.array_equal(read(View(view.start, sizes, steps), base).reshape(-1), array.reshape(-1))
    assert all(size > 1 for size in sizes)


def test_reshapes_of_row_major_tensors_are_always_views() -> None:
    for to in ((24,), (1, 24), (2, 3, 4), (4, 6), (2, 1, 12, 1)):
        assert row_major((4, 3, 2)).reshaped(to) == View(
            0, to, tuple(0 if e == 1 else s for e, s in zip(to, strides(to), strict=True))
        )


def test_merged_axes_that_lie_apart_are_no_view() -> None:
    assert row_major((4, 3)).transposed((1, 0)).reshaped((12,)) is None
    assert row_major((2, 1)).expanded((2, 2)).reshaped((4,)) is None


def test_neighbouring_loops_merge() -> None:
    assert row_major((2, 3, 4)).loops() == ((24,), (1,))
    assert row_major((2, 3, 4)).transposed((2, 0, 1)).loops() == ((4, 6), (1, 4))
    assert row_major((1, 1)).loops() == ((), ())


@given(st.data())
def test_a_cut_view_reads_the_same_elements_of_a_range_of_its_base(data: st.DataObject) -> None:
    base = tuple(data.draw(st.integers(1, 4)) for _ in range(4))
    view = row_major(base).transposed(tuple(data.draw(st.permutations(range(4)))))
    starts = [data.draw(st.integers(0, size - 1)) for size in view.sizes]
    counts = [data.draw(st.integers(1, size - start)) for size, start in zip(view.sizes, starts, strict=True)]
    part = view.sliced(tuple(starts), tuple(counts), (1, 1, 1, 1))
    made = cut(part, base, range(3))
    assert made is not None
    whole = np.arange(np.prod(base)).reshape(base)
    taken = whole.take(range(made.first, made.first + made.extent), made.axis)
    assert np.array_equal(read(made.view, taken).reshape(-1), read(part, whole).reshape(-1))
