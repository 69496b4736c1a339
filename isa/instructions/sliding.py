"""Operands of what slides a kernel over rows and columns."""

from __future__ import annotations

from isa.execute.numerics import Geometry
from isa.instructions.base import Instruction, family, read, sint, uint, write
from isa.layout import Window


@family
class Sliding(Instruction):
    """x under a kernel gives y."""

    x: Window = read("input")
    y: Window = write("result")
    kh: int = uint(10, "kernel rows", bias=1, default=1)
    kw: int = uint(10, "kernel columns", bias=1, default=1)
    sh: int = uint(5, "row stride", bias=1, default=1)
    sw: int = uint(5, "column stride", bias=1, default=1)
    pt: int = sint(10, "padding rows above; those below follow from y", default=0)
    pl: int = sint(10, "padding columns left; those right follow from y", default=0)
    dh: int = uint(4, "row dilation", bias=1, default=1)
    dw: int = uint(4, "column dilation", bias=1, default=1)

    @property
    def geometry(self) -> Geometry:
        """How the kernel slides."""
        return self._slid()

    def _slid(self, up: int = 1) -> Geometry:
        return Geometry(
            kernel=(self.kh, self.kw),
            stride=(self.sh, self.sw),
            pad_top=self.pt,
            pad_left=self.pl,
            dilation=(self.dh, self.dw),
            up=up,
        )

    @property
    def reached(self) -> tuple[int, int]:
        """Rows and columns of the padded input that the kernel sees."""
        y = self.y.shape
        return (y.h - 1) * self.sh + (self.kh - 1) * self.dh + 1, (y.w - 1) * self.sw + (self.kw - 1) * self.dw + 1
