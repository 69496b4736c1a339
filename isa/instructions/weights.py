"""The sub context fills the registers and tables of the tensor unit from SRAM."""

from __future__ import annotations

import numpy as np

from isa.execute.numerics import Float32, Int8, Int32
from isa.instructions.base import NO_SRAM, Instruction, Unit, instruction, read, register_bank, uint
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import Role, Space, SramRange
from isa.timing.formulas import Cost, preload_cycles

TABLE_BYTES = 256
PAIR_BYTES = 8  # of an output channel: int32 bias, float32 multiplier


def packed_pairs(bias: Int32, multiplier: Float32) -> Int8:
    """Bias and multiplier [o] as the vector registers hold them, [o, PAIR_BYTES]."""
    halves = (np.ascontiguousarray(bias, np.int32), np.ascontiguousarray(multiplier, np.float32))
    return np.concatenate([half.view(np.int8).reshape(-1, PAIR_BYTES // 2) for half in halves], axis=1)


def unpacked_pairs(pairs: Int8) -> tuple[Int32, Float32]:
    """The inverse of packed_pairs, of bytes in any shape."""
    columns = np.ascontiguousarray(pairs).reshape(-1, PAIR_BYTES)
    bias, multiplier = (np.ascontiguousarray(half) for half in np.split(columns, 2, axis=1))
    return bias.view(np.int32).reshape(-1), multiplier.view(np.float32).reshape(-1)


@instruction("preload", 0x20, Unit.SUB)
class Preload(Instruction):
    """Copy one weight tile into a bank of every slice's weight and vector registers. The tile holds, group after
    group, wbytes of int8 weights (output channel, input channel, row, column), then vbytes of (int32 bias,
    float32 multiplier) pairs.
    """

    src: SramRange = read("striped range that holds the tile", default=NO_SRAM)
    start: int = uint(32, "first byte of the tile in the striped range", default=0)
    wbytes: int = uint(14, "weight bytes a channel group")
    vbytes: int = uint(8, "bytes of bias and multiplier a channel group; 8 a channel", default=0)
    groups: int = uint(8, "channel groups: slice s takes group s mod groups", bias=1, default=1)
    bank: int = register_bank(Space.WEIGHTS, Role.WRITE, "weight register bank", default=0)

    @property
    def tile_bytes(self) -> int:
        """Bytes of the whole tile."""
        return self.groups * (self.wbytes + self.vbytes)

    def execute(self, machine: Machine) -> None:
        data = machine.striped(self.src)[self.start : self.start + self.tile_bytes]
        tile = data.reshape(self.groups, self.wbytes + self.vbytes)
        machine.weights[self.bank], machine.vector[self.bank] = tile[:, : self.wbytes], tile[:, self.wbytes :]

    def cost(self, npu: NpuConfig) -> Cost:
        return preload_cycles(self.wbytes + self.vbytes, npu)


@instruction("loadt", 0x21, Unit.SUB)
class LoadTable(Instruction):
    """Copy a table of 256 int8 entries, indexed by value + 128, into a table bank of every slice."""

    src: SramRange = read("striped range that holds the table", default=NO_SRAM)
    start: int = uint(32, "first byte of the table in the striped range", default=0)
    bank: int = register_bank(Space.TABLES, Role.WRITE, "table bank", default=0)

    def execute(self, machine: Machine) -> None:
        machine.tables[self.bank] = machine.striped(self.src)[self.start : self.start + TABLE_BYTES]

    def cost(self, npu: NpuConfig) -> Cost:
        return preload_cycles(TABLE_BYTES, npu)
