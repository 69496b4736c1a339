"""Add, multiply and look up: one result for each element."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar

import numpy as np

from isa import instructions as isa
from isa.execute import numerics
from isa.execute.numerics import BinaryKind, BinaryScales
from isa.instructions import Instruction
from isa.instructions.weights import TABLE_BYTES
from isa.layout import Box, Window
from isa.npu import NpuConfig
from isa.operands import MAX_IMAGES, SramRange
from passes.ir.attributes import Clamp
from passes.ir.op import LOW, Activation, Array, Constant, Level, Lowering, Op, Packed, Read, Site, Value, op
from passes.ir.types import DType, TensorType, float32
from passes.ops.base import CHANNELS, IMAGES, ROWS, broadcast, broadcast_box, int8, quantized, table_rule

TABLE_TYPE = TensorType((TABLE_BYTES,), DType.I8)


@dataclass(eq=False, kw_only=True)
class Binary(Op):
    """Two int8 operands that broadcast as in NumPy."""

    a: Activation
    b: Activation
    clamp: Clamp = Clamp()

    timeless = ("clamp",)
    instruction: ClassVar[type[isa.Binary]]
    kind: ClassVar[BinaryKind]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (broadcast(self.a.type.shape, self.b.type.shape),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(a=self.a, b=self.b, result=self.result)
        yield from quantized(a=self.a, b=self.b, result=self.result)

    def scales(self) -> BinaryScales:
        a, b, y = self.a.type.q, self.b.type.q, self.result.type.q
        return BinaryScales(sa=a.s, za=a.z, sb=b.s, zb=b.z, sy=y.s, zy=y.z, lo=self.clamp.lo, hi=self.clamp.hi)

    def of(self, a: Array, b: Array) -> Array:
        """The op on any arrays: what fusing tables computes."""
        return numerics.binary(self.kind, a, b, self.scales())

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (self.of(read(self.a), read(self.b)),)

    def lower(self, low: Lowering) -> None:
        a, b = (low.expanded(v, shape_that_merges(v.type.shape, self.shapes()[0]), self.loc) for v in (self.a, self.b))
        low.emit(self.on({self.a: a, self.b: b}.__getitem__, (low.result(self.result),)), self.result)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS, CHANNELS

    def needs(self, operand: str, piece: Box) -> Box:
        return broadcast_box(getattr(self, operand), self.result, piece)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        s = self.scales()
        yield self.instruction(
            a=at.window(self.a), b=at.window(self.b), y=at.target(self), sa=s.sa, sb=s.sb, sy=s.sy, za=s.za, zb=s.zb,
            zy=s.zy, lo=s.lo, hi=s.hi,
        )  # fmt: skip


def shape_that_merges(shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...]:
    """The operand's shape under the axes of the result, repeated where axes that the machine folds into one differ.

    Axes between the first and the last two become one: there an operand has all of their extent or 1. So do images,
    where there are more than the machine addresses.
    """
    aligned = (1,) * (len(result) - len(shape)) + shape
    if result and result[0] > MAX_IMAGES and math.prod(shape) > 1:  # images become channels
        return result
    inner = slice(1, max(1, len(result) - 2))
    if all(extent == 1 for extent in aligned[inner]):
        return aligned
    return aligned[:1] + result[inner] + aligned[inner.stop :]


@op("add", levels=(Level.DFG, *LOW), vendor="LowLevelAdd")
@dataclass(eq=False, kw_only=True)
class Add(Binary):
    """a + b, requantized."""

    instruction = isa.Add
    kind = "add"


@op("sub", levels=(Level.DFG, *LOW), vendor="LowLevelSub")
@dataclass(eq=False, kw_only=True)
class Sub(Binary):
    """a - b, requantized: an addition of b with a negative scale."""

    instruction = isa.Add
    kind = "add"

    def scales(self) -> BinaryScales:
        return replace(super().scales(), sb=-self.b.type.q.s)


@op("mul", levels=(Level.DFG, *LOW), vendor="LowLevelMul")
@dataclass(eq=False, kw_only=True)
class Mul(Binary):
    """a * b, requantized."""

    instruction = isa.Mul
    kind = "mul"


@op("max", levels=(Level.DFG, *LOW), vendor="LowLevelMax")
@dataclass(eq=False, kw_only=True)
class Max(Binary):
    """The larger of a and b, requantized."""

    instruction = isa.Max
    kind = "max"


@op("min", levels=(Level.DFG, *LOW), vendor="LowLevelMin")
@dataclass(eq=False, kw_only=True)
class Min(Binary):
    """The smaller of a and b, requantized."""

    instruction = isa.Min
    kind = "min"


@op("sum", levels=(Level.DFG, *LOW), vendor="LowLevelSum")
@dataclass(eq=False, kw_only=True)
class Sum(Op):
    """The sum of several tensors, requantized once: partial sums are float32. They broadcast as in NumPy.

    divisor: what the sum is divided by; the mean of all where it is their number. scratch: SRAM offset of the partial
    sums, from gir on."""

    inputs: tuple[Activation, ...]
    divisor: int = 1
    clamp: Clamp = Clamp()
    scratch: int = 0

    timeless = ("divisor", "clamp", "scratch")

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (reduce(broadcast, (v.type.shape for v in self.inputs)),)

    def rules(self, level: Level) -> Iterator[str]:
        if not self.inputs:
            yield "nothing to add"
        if self.divisor < 1:
            yield f"divisor {self.divisor} is not positive"
        yield from int8(result=self.result, **{f"input{i}": v for i, v in enumerate(self.inputs)})
        yield from quantized(result=self.result, **{f"input{i}": v for i, v in enumerate(self.inputs)})

    def _scale(self) -> float:
        """Of the sum before it is divided."""
        return float32(self.result.type.q.s * self.divisor)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        total = np.zeros(self.shapes()[0], np.float32)
        for value in self.inputs:
            total = total + numerics.dequantize(read(value), value.type.q.s, value.type.q.z)
        return (numerics.quantize(total, self._scale(), self.result.type.q.z, self.clamp.lo, self.clamp.hi),)

    def lower(self, low: Lowering) -> None:
        made = self.shapes()[0]
        wide = {v: low.expanded(v, shape_that_merges(v.type.shape, made), self.loc) for v in self.inputs}
        low.emit(self.on(wide.__getitem__, (low.result(self.result),)), self.result)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS, CHANNELS

    def needs(self, operand: str, piece: Box) -> Box:
        raise AssertionError("operands that differ in shape need boxes of their own")

    def needs_of(self, operand: str, value: Value, piece: Box) -> Box:
        return broadcast_box(value, self.result, piece)

    def scratch_bytes(self, y: Window, npu: NpuConfig) -> int:
        sums = isa.partial_sums(y, 0).place
        return sums.layout.bytes_per_slice(sums.shape, npu.sram_access_bytes) if len(self.inputs) > 1 else 0

    def place_scratch(self, offset: int) -> None:
        self.scratch = offset

    def scratch_offset(self) -> int:
        return self.scratch

    def instructions(self, at: Site) -> Iterator[Instruction]:
        y, q, last = at.target(self), self.result.type.q, len(self.inputs) - 1
        sums = SramRange(self.scratch, self.scratch_bytes(y, at.npu))
        for index, value in enumerate(self.inputs):
            yield isa.Accumulate(
                x=at.window(value), y=y, acc=sums, sx=value.type.q.s, zx=value.type.q.z, sy=self._scale(), zy=q.z,
                lo=self.clamp.lo, hi=self.clamp.hi, first=int(index == 0), last=int(index == last),
            )  # fmt: skip


@op("table", levels=(Level.DFG, *LOW), vendor="LowLevelTable")
@dataclass(eq=False, kw_only=True)
class Table(Op):
    """Look every element up: table int8 [256], indexed by x + 128. Any function of one int8 tensor."""

    x: Activation
    table: Constant

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.x.type.shape,)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from table_rule("table", self.table)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (numerics.lookup(read(self.x), read(self.table)),)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS, CHANNELS

    def needs(self, operand: str, piece: Box) -> Box:
        return piece

    def packed_bytes(self, channels: int) -> int:
        return TABLE_BYTES

    def pack(self, read: Read, npu: NpuConfig) -> Packed:
        return Packed("table", read(self.table))

    def instructions(self, at: Site) -> Iterator[Instruction]:
        bank = at.table_bank()
        yield isa.LoadTable(src=at.striped(self.table), start=0, bank=bank)
        yield isa.Table(x=at.window(self.x), y=at.target(self), tbank=bank)
