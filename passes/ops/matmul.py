"""The product of two activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from isa import instructions as isa
from isa.execute import numerics
from isa.execute.numerics import BinaryScales
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from passes.ir.attributes import Clamp
from passes.ir.op import LOW, Activation, Array, Level, Op, Read, Site, Value, op
from passes.ops.base import CHANNELS, IMAGES, ROWS, broadcast, four_axes, int8, quantized


@op("matmul", levels=(Level.DFG, *LOW), vendor="LowLevelMatMul")
@dataclass(eq=False, kw_only=True)
class MatMul(Op):
    """a [n, c, h, k] times b [n, c, k, w] for each n and c, requantized; n and c of extent 1 are repeated."""

    a: Activation
    b: Activation
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        a, b = self.a.type.shape, self.b.type.shape
        return ((*broadcast(a[:-2], b[:-2]), a[-2], b[-1]),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(a=self.a, b=self.b, result=self.result)
        yield from four_axes(a=self.a, b=self.b, result=self.result)
        yield from quantized(a=self.a, b=self.b, result=self.result)
        if self.a.type.shape[-1] != self.b.type.shape[-2]:
            yield f"{list(self.a.type.shape)} times {list(self.b.type.shape)} does not go together"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """Images and channels grow on both sides or where the other side repeats one; rows on the left alone."""
        found = set(axes.values())
        if len(found) != 1:
            return None
        axis = found.pop()
        if axis in (IMAGES, CHANNELS):
            others = [v for v in (self.a, self.b) if v not in axes]
            return axis if all(v.type.shape[axis] == 1 for v in others) else None
        return axis if axis == ROWS and self.b not in axes else None

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        a, b, y = self.a.type.q, self.b.type.q, self.result.type.q
        scales = BinaryScales(sa=a.s, za=a.z, sb=b.s, zb=b.z, sy=y.s, zy=y.z, lo=self.clamp.lo, hi=self.clamp.hi)
        return (numerics.multiply_matrices(read(self.a), read(self.b), scales),)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, CHANNELS, ROWS

    def needs(self, operand: str, piece: Box) -> Box:
        value = self.a if operand == "a" else self.b
        shape, made = value.type.shape4, self.result.type.shape4
        box = shape.box
        if shape.n == made.n:
            box = box._replace(n0=piece.n0, n=piece.n)
        if shape.c == made.c:
            box = box._replace(c0=piece.c0, c=piece.c)
        return box._replace(h0=piece.h0, h=piece.h) if operand == "a" else box

    def instructions(self, at: Site) -> Iterator[Instruction]:
        a, b, y = self.a.type.q, self.b.type.q, self.result.type.q
        yield isa.MatMul(
            a=at.window(self.a), b=at.window(self.b), y=at.target(self), sa=a.s, sb=b.s, sy=y.s, za=a.z, zb=b.z,
            zy=y.z, lo=self.clamp.lo, hi=self.clamp.hi,
        )  # fmt: skip
