"""The vector engine on what lies under a kernel."""

from __future__ import annotations

from isa.execute import numerics
from isa.instructions.base import Unit, family, instruction, real, sint, uint
from isa.instructions.sliding import Sliding
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.timing.formulas import Cost, elements_per_slice, pool_cycles


@family
class Pool(Sliding):
    """Each channel for itself."""

    def cost(self, npu: NpuConfig) -> Cost:
        return pool_cycles(elements_per_slice(self.y), (self.kh, self.kw), self.sw, npu)


@instruction("maxpool", 0x50, Unit.MAIN)
class MaxPool(Pool):
    """y = clamp(max over the kernel, lo, hi); padding never wins."""

    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    def execute(self, machine: Machine) -> None:
        x, out = machine.read(self.x), (self.y.shape.h, self.y.shape.w)
        machine.write(self.y, numerics.max_pool(x, self.geometry, out, self.lo, self.hi))


@instruction("avgpool", 0x51, Unit.MAIN)
class AveragePool(Pool):
    """y = clamp(rint(sum(x - zx) * (sx / (sy * count))) + zy, lo, hi), in float32."""

    sx: float = real("scale of x")
    sy: float = real("scale of y")
    zx: int = sint(8, "zero point of x", default=0)
    zy: int = sint(8, "zero point of y", default=0)
    padded: int = uint(1, "1: padding counts in the divisor", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)

    def execute(self, machine: Machine) -> None:
        result = numerics.average_pool(
            machine.read(self.x), self.geometry, (self.y.shape.h, self.y.shape.w), sx=self.sx, zx=self.zx, sy=self.sy,
            zy=self.zy, padded=bool(self.padded), lo=self.lo, hi=self.hi,
        )  # fmt: skip
        machine.write(self.y, result)
