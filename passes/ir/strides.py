"""Views of a row-major tensor as loops over a start and steps, and the movements that keep them views."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class View:
    """Element index of a row-major base = start + sum(i * step) over loops of the given sizes, outermost first."""

    start: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    def reach(self) -> tuple[int, int]:
        """The smallest and the largest element index that it reads."""
        spans = [(size - 1) * step for size, step in zip(self.sizes, self.steps, strict=True)]
        return self.start + sum(min(0, s) for s in spans), self.start + sum(max(0, s) for s in spans)

    def sliced(self, start: tuple[int, ...], size: tuple[int, ...], step: tuple[int, ...]) -> View:
        offset = sum(s * own for s, own in zip(start, self.steps, strict=True))
        return View(self.start + offset, size, tuple(own * s for own, s in zip(self.steps, step, strict=True)))

    def transposed(self, perm: tuple[int, ...]) -> View:
        return View(self.start, tuple(self.sizes[p] for p in perm), tuple(self.steps[p] for p in perm))

    def expanded(self, shape: tuple[int, ...]) -> View:
        missing = len(shape) - len(self.sizes)
        sizes, steps = (1,) * missing + self.sizes, (0,) * missing + self.steps
        return View(self.start, shape, tuple(0 if s == 1 else step for s, step in zip(sizes, steps, strict=True)))

    def reshaped(self, shape: tuple[int, ...]) -> View | None:
        """The same elements in the same order under another shape; None where no steps can express it."""
        sizes, steps = _collapsed(self.sizes, self.steps)
        result: list[int] = []
        at, left = 0, sizes[0] if sizes else 1
        for extent in shape:
            if extent == 1:
                result.append(0)
                continue
            while left == 1 and at + 1 < len(sizes):
                at, left = at + 1, sizes[at + 1]
            if left % extent:
                return None
            left //= extent
            result.append(steps[at] * left)
        return View(self.start, shape, tuple(result))

    def loops(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Sizes and steps with neighbours merged where one loop does for two."""
        return _collapsed(self.sizes, self.steps)


class Cut(NamedTuple):
    """A view that reads a range of one axis of its base only. view: into that range, row-major by itself."""

    axis: int
    first: int
    extent: int
    view: View


def cut(view: View, base: tuple[int, ...], axes: Sequence[int]) -> Cut | None:
    """The smallest range of one of some axes of the base that holds all that the view reads; None where no steps into
    the range express it."""
    found = [made for axis in axes if (made := _cut_along(view, base, axis)) is not None]
    return min(found, key=lambda made: made.extent / base[made.axis], default=None)


def _cut_along(view: View, base: tuple[int, ...], axis: int) -> Cut | None:
    """Loops inside the axis keep their steps, loops over what is outside of it step over fewer elements."""
    outside = math.prod(base[axis:])
    inside = outside // base[axis]
    loops: list[tuple[int, int]] = []  # sizes and steps, none of them across the boundary
    for size, step in zip(view.sizes, view.steps, strict=True):
        if size == 1 or step % outside == 0 or (size - 1) * abs(step) < outside:
            loops.append((size, step if size > 1 else 0))
            continue
        within = outside // abs(step) if step and outside % abs(step) == 0 else 0
        if not within or size % within:
            return None
        loops += [(size // within, outside if step > 0 else -outside), (within, step)]
    inner = [(size, step) for size, step in loops if step % outside]
    at = view.start % outside
    low = at + sum(min(0, (size - 1) * step) for size, step in inner)
    high = at + sum(max(0, (size - 1) * step) for size, step in inner)
    if low < 0 or high >= outside:
        return None
    first = low // inside
    count = high // inside - first + 1
    steps = tuple(step if step % outside else step // outside * count * inside for _, step in loops)
    start = view.start // outside * count * inside + at - first * inside
    return Cut(axis, first, count, View(start, tuple(size for size, _ in loops), steps))


def taken(view: View, shape: tuple[int, ...], axis: int, start: int, count: int) -> View | None:
    """The part of a view, whose loops make a row-major tensor of a shape, that makes a range of one of its axes.

    None where the axis is no loop of its own."""
    behind = math.prod(shape[axis + 1 :])
    loops, made = list(zip(view.sizes, view.steps, strict=True)), 1
    found: list[tuple[int, int]] = []  # innermost first
    own: list[int] = []  # which of them make the axis
    while loops:
        size, step = loops.pop()
        bound = next((b for b in (behind, behind * shape[axis]) if made < b < made * size), 0)
        if bound:
            inner, rest = divmod(bound, made)
            if rest or size % inner:
                return None
            loops.append((size // inner, step * inner))
            size = inner
        if behind <= made < behind * shape[axis] and size > 1:
            own.append(len(found))
        found.append((size, step))
        made *= size
    if len(own) != 1 or found[own[0]][0] != shape[axis]:
        return None
    step = found[own[0]][1]
    found[own[0]] = (count, step)
    return View(view.start + start * step, tuple(s for s, _ in found[::-1]), tuple(s for _, s in found[::-1]))


def row_major(shape: tuple[int, ...]) -> View:
    """The view that is the base itself."""
    return View(0, shape, strides(shape))


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements between neighbours along each axis of a row-major tensor."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _collapsed(sizes: tuple[int, ...], steps: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    merged: list[tuple[int, int]] = []
    for size, step in zip(sizes, steps, strict=True):
        if size == 1:
            continue
        if merged and merged[-1][1] == step * size:
            merged[-1] = (merged[-1][0] * size, step)
        else:
            merged.append((size, step))
    return tuple(s for s, _ in merged), tuple(s for _, s in merged)
