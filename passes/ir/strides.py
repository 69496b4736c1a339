"""Views of a row-major tensor as loops over a start and steps, and the movements that keep them views."""

from __future__ import annotations

import math
from dataclasses import dataclass


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
