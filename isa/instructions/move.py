"""The sub context re-lays data in SRAM while the main context computes."""

from __future__ import annotations

import math

import numpy as np

from isa.errors import RunError
from isa.instructions.base import Instruction, Unit, family, instruction, read, sint, uint, write
from isa.layout import Window
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.timing.formulas import Cost, elements_per_slice, move_cycles

MOVE_AXES = 6


@family
class Relay(Instruction):
    """From one tensor of SRAM into another."""

    x: Window = read("source")
    y: Window = write("destination")

    def cost(self, npu: NpuConfig) -> Cost:
        return move_cycles(elements_per_slice(self.y), npu)


@instruction("move", 0x28, Unit.SUB)
class Move(Relay):
    """Re-lay data: the destination box in (N, C, H, W) order takes source element start + sum(index * step), where
    source elements are numbered in (N, C, H, W) order of the source box. Copies, reshapes, transposes, slices
    with steps, repeats and nearest-neighbour resizes are all one move.
    """

    start: int = sint(32, "source element of the first destination element", default=0)
    size0: int = uint(32, "extent of loop 0, outermost first", default=1)
    step0: int = sint(32, "source elements a step of loop 0 advances", default=0)
    size1: int = uint(32, "extent of loop 1, outermost first", default=1)
    step1: int = sint(32, "source elements a step of loop 1 advances", default=0)
    size2: int = uint(32, "extent of loop 2, outermost first", default=1)
    step2: int = sint(32, "source elements a step of loop 2 advances", default=0)
    size3: int = uint(32, "extent of loop 3, outermost first", default=1)
    step3: int = sint(32, "source elements a step of loop 3 advances", default=0)
    size4: int = uint(32, "extent of loop 4, outermost first", default=1)
    step4: int = sint(32, "source elements a step of loop 4 advances", default=0)
    size5: int = uint(32, "extent of loop 5, outermost first", default=1)
    step5: int = sint(32, "source elements a step of loop 5 advances", default=0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Extents of the loops, outermost first."""
        return (self.size0, self.size1, self.size2, self.size3, self.size4, self.size5)

    @property
    def steps(self) -> tuple[int, ...]:
        """Source elements that a step of each loop advances."""
        return (self.step0, self.step1, self.step2, self.step3, self.step4, self.step5)

    def execute(self, machine: Machine) -> None:
        source, y, sizes, steps = machine.read(self.x).reshape(-1), self.y, self.sizes, self.steps
        reach = [(size - 1) * step for size, step in zip(sizes, steps, strict=True)]
        first, last = self.start + sum(min(0, r) for r in reach), self.start + sum(max(0, r) for r in reach)
        if not 0 <= first <= last < source.size or math.prod(sizes) != y.shape.elements:  # as_strided checks nothing
            what = f"elements {first}..{last} of {source.size} for {math.prod(sizes)} of {y.shape.elements} results"
            raise RunError("MoveOutsideSource", what)
        view = np.lib.stride_tricks.as_strided(source[self.start :], sizes, steps)  # int8: steps are bytes
        machine.write(y, view.reshape(y.shape))


@instruction("pad", 0x29, Unit.SUB)
class Pad(Relay):
    """Put the source into the destination box and set the rest of the box to one value."""

    dc: int = uint(16, "channel of the destination box where the source starts", default=0)
    dh: int = uint(16, "row where it starts", default=0)
    dw: int = uint(16, "column where it starts", default=0)
    value: int = sint(8, "int8 value of everything else", default=0)

    def execute(self, machine: Machine) -> None:
        x, (c, h, w) = machine.read(self.x), (self.dc, self.dh, self.dw)
        values = np.full(self.y.shape, self.value, np.int8)
        values[:, c : c + x.shape[1], h : h + x.shape[2], w : w + x.shape[3]] = x
        machine.write(self.y, values)
