"""How a tensor lies over the slices: the two published layouts, places and windows.

HCHCW stores (Ho, Co, N, Hi, Ci, W), HCHWC stores (Ho, Co, N, Hi, W, Ci): Ho x Co spreads the tensor over the
slices, the rest lies inside one slice. N is furc's addition for batches, inside a slice or in front of Ho, where every
image has slices of its own; the published form has N = 1.
Source: the post-processing code of FuriosaAI's MLPerf submission.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple


class LayoutKind(IntEnum):
    """Which axis is innermost."""

    HCHCW = 0
    HCHWC = 1


class Shape4(NamedTuple):
    """A tensor as the machine sees it: always four axes."""

    n: int
    c: int
    h: int
    w: int

    @property
    def elements(self) -> int:
        return self.n * self.c * self.h * self.w

    @property
    def box(self) -> Box:
        """All of it."""
        return Box(0, self.n, 0, self.c, 0, self.h)


class Layout(NamedTuple):
    """Kind and partition. Slice (n_index * ho + ho_index) * co + co_index holds Hi rows of Ci channels: of image
    n_index where images lie apart, else of all images, and n_index is 0."""

    kind: LayoutKind
    ho: int
    co: int
    apart: bool = False

    def grid(self, n: int) -> tuple[int, int, int]:
        """Slices along N, H and C of a tensor of n images."""
        return (n if self.apart else 1, self.ho, self.co)

    def images(self, n: int) -> int:
        """Images a slice holds of a tensor of n images."""
        return 1 if self.apart else n

    def rows(self, h: int) -> int:
        """Hi: rows a slice holds of a tensor of h rows."""
        return -(-h // self.ho)

    def channels(self, c: int) -> int:
        """Ci: channels a slice holds of a tensor of c channels."""
        return -(-c // self.co)

    def slices(self, n: int) -> int:
        """Slices that a tensor of n images takes."""
        return math.prod(self.grid(n))

    def inner(self, shape: Shape4, access_bytes: int) -> tuple[int, int, int, int]:
        """Extents inside one slice, the last padded to the SRAM access width: (n, hi, ci, w) or (n, hi, w, ci)."""
        hi, ci = self.rows(shape.h), self.channels(shape.c)
        if self.kind is LayoutKind.HCHCW:
            return (self.images(shape.n), hi, ci, align(shape.w, access_bytes))
        return (self.images(shape.n), hi, shape.w, align(ci, access_bytes))

    def bytes_per_slice(self, shape: Shape4, access_bytes: int) -> int:
        """Bytes of SRAM that an int8 tensor takes in each slice."""
        a, b, c, d = self.inner(shape, access_bytes)
        return a * b * c * d

    def __str__(self) -> str:
        return f"{self.kind.name}({'Nx' if self.apart else ''}{self.ho}x{self.co})"


@dataclass(frozen=True, slots=True)
class Place:
    """A whole int8 tensor in SRAM: byte offset inside every slice, layout and shape."""

    offset: int
    layout: Layout
    shape: Shape4


class Box(NamedTuple):
    """A range of images, channels and rows; W is always whole."""

    n0: int
    n: int
    c0: int
    c: int
    h0: int
    h: int

    def within(self, outer: Box) -> Box:
        """This box, counted from the corner of `outer`, counted from where `outer` is counted from."""
        return self._replace(n0=outer.n0 + self.n0, c0=outer.c0 + self.c0, h0=outer.h0 + self.h0)

    def cut(self, axis: int, at: int, size: int) -> Box:
        """The same images, channels and rows, but of one axis [at, at + size)."""
        start, count = (("n0", "n"), ("c0", "c"), ("h0", "h"))[axis]
        return self._replace(**{start: at, count: size})

    def shape(self, w: int) -> Shape4:
        return Shape4(self.n, self.c, self.h, w)

    @property
    def spans(self) -> tuple[slice, slice, slice]:
        """Where the box lies in an array [n, c, h, ...]."""
        return (
            slice(self.n0, self.n0 + self.n), slice(self.c0, self.c0 + self.c), slice(self.h0, self.h0 + self.h)
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Window:
    """A box of a placed tensor: what an instruction reads or writes."""

    place: Place
    box: Box

    @property
    def shape(self) -> Shape4:
        return self.box.shape(self.place.shape.w)

    @property
    def layout(self) -> Layout:
        return self.place.layout

    def images_per_slice(self) -> int:
        """Images of the box that one slice holds."""
        return self.layout.images(self.box.n)

    def rows_per_slice(self) -> int:
        """Most rows of the box that one slice holds."""
        return busiest(self.box.h0, self.box.h, self.layout.rows(self.place.shape.h))

    def channels_per_slice(self) -> int:
        """Most channels of the box that one slice holds."""
        return busiest(self.box.c0, self.box.c, self.layout.channels(self.place.shape.c))

    def sub(self, box: Box) -> Window:
        """The box, counted from this window's corner, as a window of the same place."""
        return replace(self, box=box.within(self.box))


def whole(place: Place) -> Window:
    """The window that covers a place."""
    return Window(place, place.shape.box)


def busiest(start: int, count: int, per_slice: int) -> int:
    """Most elements of [start, start + count) that fall into one run of per_slice."""
    stop = start + count
    if start // per_slice == (stop - 1) // per_slice:
        return count
    first = per_slice - start % per_slice
    last = (stop - 1) % per_slice + 1
    full = per_slice if count > first + last else 0
    return max(first, last, full)


def align(value: int, unit: int) -> int:
    """value rounded up to a multiple of unit."""
    return -(-value // unit) * unit
