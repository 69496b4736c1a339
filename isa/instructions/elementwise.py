"""The vector engine on one element at a time: sums, products, lookups."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from isa.execute import numerics
from isa.execute.numerics import BinaryKind, BinaryScales
from isa.instructions.base import (
    Instruction,
    Unit,
    family,
    instruction,
    read,
    real,
    register_bank,
    sint,
    uint,
    update,
    write,
)
from isa.layout import LayoutKind, Place, Window, whole
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import Role, Space, SramRange
from isa.timing.formulas import Cost, accumulate_cycles, elements_per_slice, elementwise_cycles


@family
class Binary(Instruction):
    """Two operands, each with its own scale and zero point."""

    kind: ClassVar[BinaryKind]

    a: Window = read("left operand; an axis of extent 1 is repeated")
    b: Window = read("right operand; an axis of extent 1 is repeated")
    y: Window = write("result")
    sa: float = real("scale of a")
    sb: float = real("scale of b")
    sy: float = real("scale of y")
    za: int = sint(8, "zero point of a", default=0)
    zb: int = sint(8, "zero point of b", default=0)
    zy: int = sint(8, "zero point of y", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    @property
    def scales(self) -> BinaryScales:
        return BinaryScales(
            sa=self.sa, za=self.za, sb=self.sb, zb=self.zb, sy=self.sy, zy=self.zy, lo=self.lo, hi=self.hi
        )

    def execute(self, machine: Machine) -> None:
        result = numerics.binary(self.kind, machine.read(self.a), machine.read(self.b), self.scales)
        machine.write(self.y, np.ascontiguousarray(np.broadcast_to(result, self.y.shape)))

    def cost(self, npu: NpuConfig) -> Cost:
        return elementwise_cycles(elements_per_slice(self.y), 2, False, npu)


@instruction("add", 0x48, Unit.MAIN)
class Add(Binary):
    """y = clamp(rint(((a - za) * sa + (b - zb) * sb) / sy) + zy, lo, hi), in float32."""

    kind = "add"


@instruction("mul", 0x49, Unit.MAIN)
class Mul(Binary):
    """y = clamp(rint(((a - za) * sa) * ((b - zb) * sb) / sy) + zy, lo, hi), in float32."""

    kind = "mul"


@instruction("max", 0x4B, Unit.MAIN)
class Max(Binary):
    """y = clamp(rint(max((a - za) * sa, (b - zb) * sb) / sy) + zy, lo, hi), in float32."""

    kind = "max"


@instruction("min", 0x4C, Unit.MAIN)
class Min(Binary):
    """y = clamp(rint(min((a - za) * sa, (b - zb) * sb) / sy) + zy, lo, hi), in float32."""

    kind = "min"


@instruction("accum", 0x4D, Unit.MAIN)
class Accumulate(Instruction):
    """acc += (x - zx) * sx in float32; at the last one y = clamp(rint(acc / sy) + zy, lo, hi). So a sum of several
    tensors is rounded once.
    """

    x: Window = read("one more operand; an axis of extent 1 is repeated")
    y: Window = write("result, of the shape and layout of the partial sums")
    acc: SramRange = update("float32 partial sums, spread like y")
    sx: float = real("scale of x")
    sy: float = real("scale of y")
    zx: int = sint(8, "zero point of x", default=0)
    zy: int = sint(8, "zero point of y", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)
    first: int = uint(1, "1: partial sums start at zero", default=1)
    last: int = uint(1, "1: requantize and commit; 0: keep partial sums", default=1)

    def execute(self, machine: Machine) -> None:
        term = numerics.dequantize(machine.read(self.x), self.sx, self.zx)
        total = np.ascontiguousarray(np.broadcast_to(term, self.y.shape))
        partial = partial_sums(self.y, self.acc.offset)
        if not self.first:
            total = machine.read(partial).view(np.float32) + total
        if self.last:
            machine.write(self.y, numerics.quantize(total, self.sy, self.zy, self.lo, self.hi))
        else:
            machine.write(partial, total.view(np.int8))

    def cost(self, npu: NpuConfig) -> Cost:
        kept = (0 if self.first else 4) + (1 if self.last else 4)
        return accumulate_cycles(elements_per_slice(self.y), kept, npu)


def partial_sums(y: Window, offset: int) -> Window:
    """Where four bytes for each element of y lie, spread like y: as int8 of four times the width."""
    layout = y.layout._replace(kind=LayoutKind.HCHCW)
    return whole(Place(offset, layout, y.shape._replace(w=4 * y.shape.w)))


@instruction("table", 0x4A, Unit.MAIN)
class Table(Instruction):
    """y = table[x + 128]."""

    x: Window = read("input")
    y: Window = write("result")
    tbank: int = register_bank(Space.TABLES, Role.READ, "table bank", default=0)

    def execute(self, machine: Machine) -> None:
        machine.write(self.y, numerics.lookup(machine.read(self.x), machine.tables[self.tbank]))

    def cost(self, npu: NpuConfig) -> Cost:
        return elementwise_cycles(elements_per_slice(self.y), 1, True, npu)
