"""Kernels that slide over each channel by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from isa import instructions as isa
from isa.execute import numerics
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from passes.ir.attributes import Clamp, Kernel
from passes.ir.op import LOW, Activation, Array, Level, Op, Read, Site, op
from passes.ops.base import CHANNELS, IMAGES, ROWS, four_axes, int8, quantized


@dataclass(eq=False, kw_only=True)
class Pool(Op):
    """x [n, c, h, w] and a kernel; ceil: a last window may leave the padding."""

    x: Activation
    kernel: Kernel = Kernel()
    ceil: bool = False
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, c, h, w = self.x.type.shape
        return ((n, c, *self.kernel.slides(h, w, ceil=self.ceil)),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from four_axes(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)

    @property
    def out(self) -> tuple[int, int]:
        return self.result.type.shape[2], self.result.type.shape[3]

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS, CHANNELS

    def needs(self, operand: str, piece: Box) -> Box:
        first, last = self.kernel.rows(piece.h0, piece.h, self.x.type.shape4.h)
        return piece._replace(h0=first, h=last - first)

    def piece(self, piece: Box) -> dict[str, Any]:
        if piece.h == self.out[0]:
            return {}
        kernel = self.kernel.over_rows(piece.h0, piece.h, self.x.type.shape4.h)
        if self.ceil:  # the last column may leave the padding: pad just as far as it reaches
            top, left, bottom, _ = kernel.pads
            reached = (self.out[1] - 1) * kernel.stride[1] + kernel.reach[1] + 1
            kernel = replace(kernel, pads=(top, left, bottom, reached - self.x.type.shape4.w - left))
        return {"kernel": kernel, "ceil": False}


def sliding(kernel: Kernel, clamp: Clamp) -> dict[str, Any]:
    """Kernel and clamp as operands of an instruction."""
    return {
        "kh": kernel.size[0], "kw": kernel.size[1], "sh": kernel.stride[0], "sw": kernel.stride[1],
        "pt": kernel.pads[0], "pl": kernel.pads[1], "dh": kernel.dilation[0], "dw": kernel.dilation[1],
        "lo": clamp.lo, "hi": clamp.hi,
    }  # fmt: skip


@op("maxpool", levels=(Level.DFG, *LOW), vendor="LowLevelMaxPool")
@dataclass(eq=False, kw_only=True)
class MaxPool(Pool):
    """Largest element under the kernel; operand and result share their quantization."""

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if self.x.type.quant != self.result.type.quant:
            yield "operand and result differ in quantization"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        geometry = self.kernel.geometry()
        return (numerics.max_pool(read(self.x), geometry, self.out, self.clamp.lo, self.clamp.hi),)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        yield isa.MaxPool(x=at.window(self.x), y=at.target(self), **sliding(self.kernel, self.clamp))


@op("avgpool", levels=(Level.DFG, *LOW), vendor="LowLevelAveragePool")
@dataclass(eq=False, kw_only=True)
class AveragePool(Pool):
    """Mean under the kernel, requantized. padded: padding counts in the divisor."""

    padded: bool = False

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        x, y = self.x.type.q, self.result.type.q
        made = numerics.average_pool(
            read(self.x), self.kernel.geometry(), self.out, sx=x.s, zx=x.z, sy=y.s, zy=y.z, padded=self.padded,
            lo=self.clamp.lo, hi=self.clamp.hi,
        )  # fmt: skip
        return (made,)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        x, y = self.x.type.q, self.result.type.q
        yield isa.AveragePool(
            x=at.window(self.x), y=at.target(self), **sliding(self.kernel, self.clamp), sx=x.s, sy=y.s, zx=x.z, zy=y.z,
            padded=int(self.padded),
        )  # fmt: skip
