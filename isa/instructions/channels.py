"""The vector engine across channels: what is computed of all channels of a pixel at once."""

from __future__ import annotations

from typing import ClassVar

from isa.execute import numerics
from isa.instructions.base import Instruction, Unit, family, instruction, read, real, sint, write
from isa.layout import Window
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.timing.formulas import Cost, across_channels_cycles, elements_per_slice


@family
class AcrossChannels(Instruction):
    """x is read once a pass; slices that hold other channels of a pixel pass on what they have found."""

    passes: ClassVar[int]
    lookups: ClassVar[bool] = False

    x: Window = read("input, all channels")
    y: Window = write("result")

    def cost(self, npu: NpuConfig) -> Cost:
        layout, elements = self.x.layout, elements_per_slice(self.x)
        return across_channels_cycles(elements, self.passes, layout.co, self.lookups, npu)


@instruction("softmax", 0x58, Unit.MAIN)
class Softmax(AcrossChannels):
    """y = clamp(rint(e / sum(e) / sy) + zy, lo, hi), e = exp((x - max(x)) * sx) in 30 bits of fraction, over the
    channels.
    """

    passes = 3  # largest; exponentials and their sum; share
    lookups = True

    sx: float = real("scale of x")
    sy: float = real("scale of y")
    zy: int = sint(8, "zero point of y", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    def execute(self, machine: Machine) -> None:
        x = machine.read(self.x)
        machine.write(self.y, numerics.softmax(x, sx=self.sx, sy=self.sy, zy=self.zy, lo=self.lo, hi=self.hi))


@instruction("l2normalize", 0x59, Unit.MAIN)
class L2Normalize(AcrossChannels):
    """y = clamp(rint((x - zx) / sqrt(sum((x - zx)^2)) / sy) + zy, lo, hi), over the channels; zeros where the
    sum is zero.
    """

    passes = 2

    sy: float = real("scale of y")
    zx: int = sint(8, "zero point of x", default=0)
    zy: int = sint(8, "zero point of y", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    def execute(self, machine: Machine) -> None:
        x = machine.read(self.x)
        machine.write(self.y, numerics.l2_normalize(x, zx=self.zx, sy=self.sy, zy=self.zy, lo=self.lo, hi=self.hi))


@instruction("l2norm", 0x5A, Unit.MAIN)
class L2Norm(AcrossChannels):
    """y = clamp(rint(sqrt(sum((x - zx)^2)) * sx / sy) + zy, lo, hi), over the channels: y has one."""

    passes = 1

    sx: float = real("scale of x")
    sy: float = real("scale of y")
    zx: int = sint(8, "zero point of x", default=0)
    zy: int = sint(8, "zero point of y", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    def execute(self, machine: Machine) -> None:
        x = machine.read(self.x)
        made = numerics.l2_norm(x, sx=self.sx, zx=self.zx, sy=self.sy, zy=self.zy, lo=self.lo, hi=self.hi)
        machine.write(self.y, made)
