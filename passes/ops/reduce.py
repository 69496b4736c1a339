"""Reductions: several elements become one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isa import instructions as isa
from isa.execute import numerics
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from passes.ir.attributes import Clamp, Kernel
from passes.ir.op import LOW, Activation, Array, Level, Op, Read, Site, op
from passes.ir.types import float32
from passes.ops.base import CHANNELS, IMAGES, ROWS, four_axes, int8, quantized
from passes.ops.pool import sliding


@op("reduce_sum", levels=(Level.DFG, *LOW), vendor="LowLevelReduceSum")
@dataclass(eq=False, kw_only=True)
class ReduceSum(Op):
    """Sum over rows, columns or both, which keep an extent of 1. The mean of the machine with another multiplier."""

    x: Activation
    rows: bool = True
    columns: bool = True
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, c, h, w = self.x.type.shape
        return ((n, c, 1 if self.rows else h, 1 if self.columns else w),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from four_axes(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)

    def _kernel(self) -> Kernel:
        """All that is summed lies under one kernel."""
        _, _, h, w = self.x.type.shape
        return Kernel((h if self.rows else 1, w if self.columns else 1))

    def _scale(self) -> float:
        """The scale of x times the elements of a sum, which the mean divides by."""
        return float32(self.x.type.q.s * self._kernel().taps)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        x, y, (_, _, h, w) = self.x.type.q, self.result.type.q, self.result.type.shape
        made = numerics.average_pool(
            read(self.x), self._kernel().geometry(), (h, w), sx=self._scale(), zx=x.z, sy=y.s, zy=y.z, padded=False,
            lo=self.clamp.lo, hi=self.clamp.hi,
        )  # fmt: skip
        return (made,)

    def cut_axes(self) -> tuple[int, ...]:
        return (IMAGES, CHANNELS) if self.rows else (IMAGES, ROWS, CHANNELS)

    def needs(self, operand: str, piece: Box) -> Box:
        box = self.x.type.shape4.box._replace(n0=piece.n0, n=piece.n, c0=piece.c0, c=piece.c)
        return box if self.rows else box._replace(h0=piece.h0, h=piece.h)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        x, y = self.x.type.q, self.result.type.q
        yield isa.AveragePool(
            x=at.window(self.x), y=at.target(self), **sliding(self._kernel(), self.clamp), sx=self._scale(), sy=y.s,
            zx=x.z, zy=y.z,
        )  # fmt: skip
