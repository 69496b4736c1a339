"""Attributes that travel together: records that ops carry as one, with one text form (docs/ir.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from isa.execute.numerics import INT8_HIGH, INT8_LOW, Geometry

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True, slots=True)
class Clamp:
    """Bounds of an int8 result: a fused Relu or Clip."""

    lo: int = INT8_LOW
    hi: int = INT8_HIGH

    def rules(self) -> Iterator[str]:
        if not INT8_LOW <= self.lo <= self.hi <= INT8_HIGH:
            yield f"{self.lo}..{self.hi} is no range of int8"


@dataclass(frozen=True, slots=True)
class Kernel:
    """How a kernel slides over rows and columns. Negative padding crops."""

    size: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)

    def rules(self) -> Iterator[str]:
        if min(*self.size, *self.stride, *self.dilation) < 1:
            yield "size, stride and dilation are at least 1"

    @property
    def taps(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def reach(self) -> Pair:
        """Rows and columns from the first tap to the last."""
        return self.dilation[0] * (self.size[0] - 1), self.dilation[1] * (self.size[1] - 1)

    def slides(self, h: int, w: int, *, ceil: bool = False) -> Pair:
        """Rows and columns of the result over h x w."""
        top, left, bottom, right = self.pads
        return (
            slide(h, self.reach[0], self.stride[0], top, bottom, ceil=ceil),
            slide(w, self.reach[1], self.stride[1], left, right, ceil=ceil),
        )

    def geometry(self, up: int = 1) -> Geometry:
        """The same for the numerics; up: zeros between input elements plus one."""
        top, left = self.pads[:2]
        return Geometry(kernel=self.size, stride=self.stride, pad_top=top, pad_left=left, dilation=self.dilation, up=up)

    def rows(self, first: int, count: int, extent: int, up: int = 1) -> tuple[int, int]:
        """Input rows [begin, end) of `extent` that result rows [first, first + count) read; never none."""
        top = first * self.stride[0] - self.pads[0]
        bottom = (first + count - 1) * self.stride[0] - self.pads[0] + self.reach[0]
        begin = min(max(0, -(-top // up)), extent - 1)
        return begin, max(begin + 1, min(extent, bottom // up + 1))

    def over_rows(self, first: int, count: int, extent: int, up: int = 1) -> Kernel:
        """The kernel of a piece that makes result rows [first, first + count) from the input rows that `rows` gives.

        Padding above is negative where an upsampled input starts inside a gap.
        """
        begin, end = self.rows(first, count, extent, up)
        top = self.pads[0] + begin * up - first * self.stride[0]
        bottom = (count - 1) * self.stride[0] + self.reach[0] + 1 - top - ((end - begin - 1) * up + 1)
        return replace(self, pads=(top, self.pads[1], bottom, self.pads[3]))


def slide(size: int, reach: int, stride: int, before: int, after: int, *, ceil: bool = False) -> int:
    """Extent of the result of a sliding kernel. Source: the ONNX operator documentation of Conv and MaxPool."""
    room = size + before + after - reach - 1
    steps = -(-room // stride) if ceil else room // stride
    if ceil and (steps * stride) >= size + before:  # a window must start inside the input or its left padding
        steps -= 1
    return steps + 1
