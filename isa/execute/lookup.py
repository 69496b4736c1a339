"""Tables, looked up as bytes: nothing at hand does it faster than the standard library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isa.execute import numerics
from isa.execute.forwarding import fetch, keep
from isa.execute.kernel_form import UInt8, contiguous, plus_128
from isa.execute.numerics import Int8
from isa.instructions import Instruction, Table
from isa.machine import Machine


def look_up(x: UInt8, table: Int8) -> UInt8:
    """table[x] plus 128, table int8 [256]. x: contiguous."""
    by_byte = plus_128(table).tobytes()
    found: UInt8 = np.frombuffer(bytearray(x).translate(by_byte), np.uint8)  # bytes would ask each whether it changed
    return found.reshape(x.shape)


def clamped(table: Int8, lo: int, hi: int) -> Int8:
    """The table of clamping to lo..hi, then looking up."""
    if lo == numerics.INT8_LOW and hi == numerics.INT8_HIGH:
        return table
    return table[np.clip(np.arange(256), lo + 128, hi + 128)]


@dataclass(frozen=True, slots=True)
class TableKernel:
    """A table on all of a tensor."""

    table: Table

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return (self.table,)

    def run(self, machine: Machine) -> None:
        x = contiguous(fetch(machine, self.table.x))
        keep(machine, self.table.y, look_up(x, machine.tables[self.table.tbank]))
