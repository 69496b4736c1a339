"""The contraction: one weight tile of a convolution, a matrix product or a transposed convolution."""

from __future__ import annotations

import numpy as np

from isa.execute import numerics
from isa.execute.numerics import Geometry, Int8, Int32
from isa.instructions.base import NO_SRAM, Unit, instruction, read, register_bank, sint, uint, update, write
from isa.instructions.sliding import Sliding
from isa.instructions.weights import unpacked_pairs
from isa.layout import LayoutKind, Place, Shape4, Window, whole
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import Role, Space, SramRange
from isa.timing.formulas import ConvWork, Cost, conv_cycles


@instruction("conv", 0x40, Unit.MAIN)
class Conv(Sliding):
    """Contract with the weights in the bank: acc += sum((x - zx) * (w - zw)); at the last one
    y = clamp(rint(float32(acc + bias) * multiplier) + zy, lo, hi), looked up in the table where asked.
    """

    x: Window = read("input box: all channels, the rows of this tile")
    y: Window = write("output box")
    acc: SramRange = update(
        "int32 partial sums, where the contraction takes several instructions", default=NO_SRAM, after="y"
    )
    up: int = uint(5, "zeros inserted between input elements plus one (transposed convolution)", bias=1, default=1)
    groups: int = uint(16, "convolution groups", bias=1, default=1)
    oc0: int = uint(16, "first output channel, counted inside each slice", default=0)
    ocn: int = uint(8, "output channels of this tile in each slice", bias=1, default=1)
    k0: int = uint(16, "first input channel of the contraction, counted inside the group", default=0)
    kn: int = uint(16, "input channels of the contraction", bias=1, default=1)
    zx: int = sint(8, "zero point of x, also the padding", default=0)
    zy: int = sint(8, "zero point of the requantized sum", default=0)
    lo: int = sint(8, "smallest int8 result", default=-128)
    hi: int = sint(8, "largest int8 result", default=127)
    first: int = uint(1, "1: partial sums start at zero", default=1)
    last: int = uint(1, "1: add bias, requantize and commit; 0: keep partial sums", default=1)
    lookup: int = uint(1, "1: the clamped result goes through the table", default=0)
    bank: int = register_bank(Space.WEIGHTS, Role.READ, "weight register bank", default=0)
    tbank: int = register_bank(Space.TABLES, Role.READ, "table bank", default=0)
    zw: int = sint(8, "zero point of the weights", default=0)

    @property
    def geometry(self) -> Geometry:
        return self._slid(self.up)

    def execute(self, machine: Machine) -> None:
        """Every slice column computes its own channels; docs/isa.md has the order of weights."""
        y, x = self.y, machine.read(self.x)
        acc = machine.read(self._partial()).view(np.int32) if not self.first else None
        columns = self.tile_channels()
        sums = [np.zeros(0, np.int32)] * y.layout.co
        for column, (rows, channels) in enumerate(columns):
            sums[column] = self._contract(x, machine.weights[self.bank][column], rows, channels)
        if not self.last:
            total = np.concatenate(sums, axis=1)
            machine.write(self._partial(), (total if acc is None else acc + total).view(np.int8))
            return
        result = machine.read(y)
        for column, (rows, channels) in enumerate(columns):
            earlier = 0 if acc is None else acc[:, column * self.ocn : (column + 1) * self.ocn]
            bias, multiplier = unpacked_pairs(machine.vector[self.bank][column])
            numerics.finite(multiplier[rows])
            biased = earlier + sums[column] + bias.reshape(1, -1, 1, 1)
            block = numerics.requantize(biased, multiplier, self.zy, self.lo, self.hi)
            if self.lookup:
                block = numerics.lookup(block, machine.tables[self.tbank])
            result[:, channels] = block[:, rows]
        machine.write(y, result)

    def cost(self, npu: NpuConfig) -> Cost:
        x, y = self.x, self.y
        work = ConvWork(
            kind=x.layout.kind,
            images=y.images_per_slice(),
            rows=y.rows_per_slice(),
            width=y.shape.w,
            channels=self.ocn,
            k=self.kn,
            kernel=(self.kh, self.kw),
            stride_w=self.sw,
            dilation_w=self.dw,
            up=self.up,
            channels_per_group=max(1, y.shape.c // self.groups),
            last=bool(self.last),
            first=bool(self.first),
            lookup=bool(self.lookup),
            opens=self.oc0 == 0 and self.k0 == 0,
            macs=self._useful_macs(),
        )
        return conv_cycles(work, npu)

    def tile_channels(self) -> list[tuple[list[int], list[int]]]:
        """For each slice column: rows of its weight tile that are real, and the output channels (in the box) they
        make."""
        y, oc0 = self.y, self.oc0
        per_slice = y.layout.channels(y.place.shape.c)
        columns = []
        for column in range(y.layout.co):
            made = [
                (row, column * per_slice + oc0 + row - y.box.c0) for row in range(self.ocn) if oc0 + row < per_slice
            ]
            real = [(row, channel) for row, channel in made if 0 <= channel < y.box.c]
            columns.append(([row for row, _ in real], [channel for _, channel in real]))
        return columns

    def _useful_macs(self) -> int:
        """Over all slices, without channels that no column has."""
        box, whole = self.y.box, self.y.place.shape
        per_slice = self.y.layout.channels(whole.c)
        start, stop = min(self.oc0, per_slice), min(self.oc0 + self.ocn, per_slice)

        def before(channel: int) -> int:
            """Channels of the tile in front of one: the same few of every column."""
            columns, rest = divmod(channel, per_slice)
            return columns * (stop - start) + min(max(rest, start), stop) - start

        made = before(box.c0 + box.c) - before(box.c0)
        return box.n * box.h * whole.w * made * self.kn * self.kh * self.kw // self.up**2

    def _contract(self, x: Int8, weights: Int8, rows: list[int], channels: list[int]) -> Int32:
        """Sums [n, ocn, oh, ow] of one slice column; rows that are no real channel stay zero."""
        shape, out = self.y.shape, (self.y.shape.h, self.y.shape.w)
        sums = np.zeros((shape.n, self.ocn, *out), np.int32)
        g = self.geometry
        w = weights.reshape(self.ocn, self.kn, *g.kernel)
        cin, cout = x.shape[1] // self.groups, shape.c // self.groups
        for group in sorted({channel // cout for channel in channels}):
            mine = [row for row, channel in zip(rows, channels, strict=True) if channel // cout == group]
            part = x[:, group * cin + self.k0 : group * cin + self.k0 + self.kn]
            sums[:, mine] = numerics.contract(part, w[mine], self.zx, g, out, zw=self.zw)
        return sums

    def _partial(self) -> Window:
        """Where the int32 partial sums of a tile lie: as int8 of four times the width, spread like y."""
        y = self.y
        layout = y.layout._replace(kind=LayoutKind.HCHCW)
        shape = Shape4(y.shape.n, y.layout.co * self.ocn, y.shape.h, 4 * y.shape.w)
        return whole(Place(self.acc.offset, layout, shape))
