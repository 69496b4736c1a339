"""The product of two activations: rows of one against columns of the other, for each image and channel."""

from __future__ import annotations

from isa.execute import numerics
from isa.instructions.base import Unit, instruction, read
from isa.instructions.elementwise import Binary
from isa.layout import Window
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.timing.formulas import Cost, matmul_cycles


@instruction("matmul", 0x44, Unit.MAIN)
class MatMul(Binary):
    """y[n, c, h, w] = clamp(rint(float32(sum over k of (a[n, c, h, k] - za) * (b[n, c, k, w] - zb)) * (sa * sb / sy))
    + zy, lo, hi), sums in int32.
    """

    a: Window = read("left operand [n, c, h, k]; an axis n or c of extent 1 is repeated")
    b: Window = read("right operand [n, c, k, w]; an axis n or c of extent 1 is repeated")

    def execute(self, machine: Machine) -> None:
        machine.write(self.y, numerics.multiply_matrices(machine.read(self.a), machine.read(self.b), self.scales))

    def cost(self, npu: NpuConfig) -> Cost:
        y, depth = self.y, self.a.shape.w
        products = y.images_per_slice() * y.channels_per_slice()
        made = matmul_cycles(products, y.rows_per_slice(), depth, y.shape.w, npu)
        return made._replace(macs=y.shape.elements * depth)
