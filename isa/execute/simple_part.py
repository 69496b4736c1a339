"""What parts have in common that are one instruction and need nothing but tensors."""

from __future__ import annotations

from collections.abc import Sequence

from isa.execute.kernel_form import UInt8
from isa.instructions import Instruction
from isa.layout import Window
from isa.machine import Int8, Machine


class SimplePart:
    """A base of them."""

    def __init__(self, instruction: Instruction, reads: tuple[Window, ...], writes: Window) -> None:
        self.instructions: Sequence[Instruction] = (instruction,)
        self.reads, self.writes = reads, writes
        self.looks_up = self.feeds_itself = False

    def bind(self, machine: Machine) -> bool:
        return False

    def feed(self, x: UInt8) -> UInt8:
        return x

    def table(self, machine: Machine) -> Int8 | None:
        return None
