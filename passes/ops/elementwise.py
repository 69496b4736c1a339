"""Add, multiply and look up: one result for each element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from isa import instructions as isa
from isa.execute import numerics
from isa.execute.numerics import BinaryScales
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from passes.ir.attributes import Clamp
from passes.ir.op import LOW, Activation, Array, Constant, Level, Lowering, Op, Packed, Read, Site, op
from passes.ir.types import DType, TensorType
from passes.ops.base import broadcast, broadcast_box, int8, quantized, table_rule

TABLE_BYTES = 256
TABLE_TYPE = TensorType((TABLE_BYTES,), DType.I8)


@dataclass(eq=False, kw_only=True)
class Binary(Op):
    """Two int8 operands that broadcast as in NumPy."""

    a: Activation
    b: Activation
    clamp: Clamp = Clamp()

    timeless = ("clamp",)
    instruction: ClassVar[type[isa.Add] | type[isa.Mul]]
    kind: ClassVar[Literal["add", "mul"]]

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
        a, b = (low.expanded(v, _shape_that_merges(v.type.shape, self.shapes()[0]), self.loc) for v in (self.a, self.b))
        low.emit(self.on({self.a: a, self.b: b}.__getitem__, (low.result(self.result),)), self.result)

    def cut_axes(self) -> tuple[int, ...]:
        return 0, 2

    def needs(self, operand: str, piece: Box) -> Box:
        return broadcast_box(getattr(self, operand), self.result, piece)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        s = self.scales()
        yield self.instruction(
            a=at.window(self.a), b=at.window(self.b), y=at.target(self), sa=s.sa, sb=s.sb, sy=s.sy, za=s.za, zb=s.zb,
            zy=s.zy, lo=s.lo, hi=s.hi,
        )  # fmt: skip


def _shape_that_merges(shape: tuple[int, ...], result: tuple[int, ...]) -> tuple[int, ...]:
    """The operand's shape under the axes of the result, repeated where axes that the machine folds into one differ.

    Axes between the first and the last two become one: there an operand has all of their extent or 1.
    """
    aligned = (1,) * (len(result) - len(shape)) + shape
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


@op("mul", levels=(Level.DFG, *LOW), vendor="LowLevelMul")
@dataclass(eq=False, kw_only=True)
class Mul(Binary):
    """a * b, requantized."""

    instruction = isa.Mul
    kind = "mul"


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
        return 0, 2

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
