"""Moves of tensors, and transfers, in kernel form: channels last in memory.

A move's loops count elements in (N, C, H, W) order. Each loop that runs along one axis of the source, and fills one
axis of the destination, is the same loop over memory of any order; a loop that runs through several axes is several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isa.execute.forwarding import ForwardingMachine, fetch, keep
from isa.execute.kernel_form import contiguous
from isa.instructions import Instruction, Load, Move, Store
from isa.layout import Shape4
from isa.machine import Machine

N, C, H, W = range(4)
IN_MEMORY = (N, H, W, C)


class Loop(NamedTuple):
    """One loop: how often, and how many source elements in (N, C, H, W) order a turn advances."""

    size: int
    step: int


@dataclass(frozen=True, slots=True)
class MoveKernel:
    """One prepared move. start, steps: in bytes of the source, channels last; sizes: of the loops, those of the
    destination's outermost axis in memory first."""

    move: Move
    start: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return (self.move,)

    def run(self, machine: Machine) -> None:
        source, y = contiguous(fetch(machine, self.move.x)).reshape(-1), self.move.y
        view = np.lib.stride_tricks.as_strided(source[self.start :], self.sizes, self.steps)
        n, c, h, w = y.shape
        keep(machine, y, contiguous(view).reshape(n, h, w, c))


@dataclass(frozen=True, slots=True)
class TransferKernel:
    """A load or a store, which hands on what is held."""

    transfer: Load | Store

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return (self.transfer,)

    def run(self, machine: Machine) -> None:
        transfer = self.transfer
        if not isinstance(machine, ForwardingMachine):
            transfer.execute(machine)
        elif isinstance(transfer, Load):
            machine.keep(transfer.dst, machine.fetch_dram(transfer.src))
        else:
            machine.keep_dram(transfer.dst, machine.fetch(transfer.src))


def prepare(move: Move) -> MoveKernel | None:
    """None where a loop runs through axes in a way that no loops over single axes give."""
    x, y = move.x.shape, move.y.shape
    by_axis = _by_destination([Loop(*pair) for pair in zip(move.sizes, move.steps, strict=True)], y)
    if by_axis is None or not 0 <= move.start < x.elements:
        return None
    corner = list(map(int, np.unravel_index(move.start, tuple(x))))
    low, high = list(corner), list(corner)  # how far the loops reach along each axis of the source
    bytes_of = dict(zip(IN_MEMORY, _strides([x[axis] for axis in IN_MEMORY]), strict=True))
    made: dict[int, list[tuple[int, int]]] = {axis: [] for axis in IN_MEMORY}
    for axis, loops in by_axis.items():
        for loop in loops:
            parts = _along_axes(loop, x)
            if parts is None:
                return None
            for size, source_axis, turns in parts:
                reach = (size - 1) * turns
                low[source_axis] += min(0, reach)
                high[source_axis] += max(0, reach)
                made[axis].append((size, turns * bytes_of[source_axis]))
    if min(low) < 0 or any(top >= extent for top, extent in zip(high, x, strict=True)):
        return None
    loops_in_memory = [pair for axis in IN_MEMORY for pair in made[axis]] or [(1, 0)]
    start = sum(at * bytes_of[axis] for axis, at in enumerate(corner))
    sizes, steps = zip(*loops_in_memory, strict=True)
    return MoveKernel(move, start, sizes, steps) if math.prod(sizes) == y.elements else None


def _by_destination(loops: Sequence[Loop], y: Shape4) -> dict[int, list[Loop]] | None:
    """The loops that fill each axis of the destination, outermost first; one that fills two is cut in two."""
    left = [loop for loop in loops if loop.size > 1]
    found: dict[int, list[Loop]] = {axis: [] for axis in range(4)}
    for axis in (W, H, C, N):
        missing = y[axis]
        while missing > 1 and left:
            size, step = left.pop()
            part = min(size, missing)
            if size % part or missing % part:
                return None
            found[axis].insert(0, Loop(part, step))
            missing //= part
            if size > part:
                left.append(Loop(size // part, step * part))
        if missing > 1:
            return None
    return found if not left else None


def _along_axes(loop: Loop, x: Shape4) -> list[tuple[int, int, int]] | None:
    """A loop as loops (size, axis of the source, elements of that axis a turn), outermost first."""
    size, step = loop
    if step == 0:
        return [(size, W, 0)]
    for axis, stride in enumerate(_strides(x)):
        if step % stride or x[axis] == 1:
            continue
        turns, extent = step // stride, x[axis]
        if abs(turns) * (size - 1) < extent:
            return [(size, axis, turns)]
        if turns == 1 and size % extent == 0:  # all of this axis, then on along the next one
            outer = _along_axes(Loop(size // extent, step * extent), x)
            return [*outer, (extent, axis, 1)] if outer is not None else None
    return None


def _strides(extents: Sequence[int]) -> list[int]:
    """Elements between neighbours along each axis, where the last is innermost."""
    return [math.prod(extents[axis + 1 :]) for axis in range(len(extents))]
