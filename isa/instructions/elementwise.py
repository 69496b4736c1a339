"""The vector engine on one element at a time: sums, products, lookups."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np

from isa.execute import numerics
from isa.execute.numerics import BinaryScales
from isa.instructions.base import Instruction, Unit, family, instruction, read, real, register_bank, sint, write
from isa.layout import Window
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import Role, Space
from isa.timing.formulas import Cost, elements_per_slice, elementwise_cycles


@family
class Binary(Instruction):
    """Two operands, each with its own scale and zero point."""

    kind: ClassVar[Literal["add", "mul"]]

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

    def execute(self, machine: Machine) -> None:
        scales = BinaryScales(
            sa=self.sa, za=self.za, sb=self.sb, zb=self.zb, sy=self.sy, zy=self.zy, lo=self.lo, hi=self.hi
        )
        result = numerics.binary(self.kind, machine.read(self.a), machine.read(self.b), scales)
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
