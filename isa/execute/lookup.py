"""Tables, looked up as bytes: nothing at hand does it faster than the standard library."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.execute import numerics
from isa.execute.channels_last import channels_last, channels_second
from isa.execute.numerics import Int8
from isa.instructions import Instruction, Table
from isa.machine import Machine


def look_up(x: NDArray[np.uint8], table: Int8) -> Int8:
    """table[x], table int8 [256]. The result cannot be written."""
    found: Int8 = np.frombuffer(x.tobytes().translate(table.tobytes()), np.int8)
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
        found = numerics.lookup(channels_last(machine.read(self.table.x)), machine.tables[self.table.tbank])
        machine.write(self.table.y, channels_second(found))


def prepare(table: Table) -> TableKernel:
    """Any table."""
    return TableKernel(table)
