"""How long SRAM tensors are needed, where every read finds what was written there last.

A program is tidy when every window it reads lies inside a place that it has written since anything else was written
there, and of every striped range it reads bytes that were loaded since then. The compiler's programs are; of a
hostile one `lifetimes` says that it is not, and it runs on the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.instructions import Conv, Instruction, LoadTable, LoadWeights, Preload
from isa.instructions.weights import TABLE_BYTES
from isa.layout import Place, Window, whole
from isa.operands import Operand, OperandValue, Range, Role, SramRange, sram_bytes


def lifetimes(items: Sequence[Sequence[Instruction]], access_bytes: int) -> list[tuple[Place, ...]] | None:
    """For each item of work, the places that nothing reads after it before all of them is written anew; None for a
    program that is not tidy.

    An item is one instruction, or the tiles of a whole convolution with their preloads."""
    state, last = _State(access_bytes), dict[Place, int]()
    dead: list[list[Place]] = [[] for _ in items]
    for index, instructions in enumerate(items):
        if len(instructions) == 1 and _comes_in_pieces(instructions[0]):
            return None
        reads, writes = _accesses(instructions)
        if not all(map(state.knows, reads)):
            return None
        last |= {access.what.place: index for access in reads if isinstance(access.what, Window)}
        for access in writes:
            state.write(access)
            if isinstance(access.what, Window):
                place = access.what.place
                if access.what == whole(place) and last.get(place, index) < index:
                    dead[last[place]].append(place)
                last[place] = index
    for place, index in last.items():
        dead[index].append(place)
    return [tuple(places) for places in dead]


def places_of(instructions: Sequence[Instruction]) -> set[Place]:
    """The tensors that an item reads or writes."""
    reads, writes = _accesses(instructions)
    return {access.what.place for access in (*reads, *writes) if isinstance(access.what, Window)}


class _Access(NamedTuple):
    """A window, or the first so many bytes of a striped range."""

    what: Window | SramRange
    bytes: int = 0


def _comes_in_pieces(instruction: Instruction) -> bool:
    """Whether it may keep partial sums or write a part of its result: not all it does to SRAM is in its operands."""
    sums = (value for operand, value in operands_of(instruction) if operand.role is Role.UPDATE)
    return isinstance(instruction, Conv) or any(isinstance(s, SramRange) and s.bytes_per_slice for s in sums)


def _accesses(instructions: Sequence[Instruction]) -> tuple[list[_Access], list[_Access]]:
    """What an item reads and what it writes, each once. Partial sums are written, and read by nobody else."""
    reads, writes = dict[_Access, None](), dict[_Access, None]()
    for instruction in instructions:
        for operand, value in operands_of(instruction):
            if isinstance(value, Window):
                (reads if operand.role is Role.READ else writes)[_Access(value)] = None
            elif isinstance(value, SramRange) and operand.role is Role.READ:
                reads[_Access(value, _read_bytes(instruction))] = None
            elif isinstance(value, SramRange):
                writes[_Access(value, instruction.src.bytes if isinstance(instruction, LoadWeights) else 0)] = None
    return list(reads), list(writes)


def operands_of(instruction: Instruction) -> Iterator[tuple[Operand, OperandValue]]:
    """Each with its value."""
    yield from zip(instruction.spec.operands, instruction.values, strict=True)


def _read_bytes(instruction: Instruction) -> int:
    """How far into its striped range an instruction reads."""
    if isinstance(instruction, Preload):
        return instruction.start + instruction.tile_bytes
    assert isinstance(instruction, LoadTable), instruction
    return instruction.start + TABLE_BYTES


class _State:
    """What of SRAM is known at a point of a program."""

    def __init__(self, access_bytes: int) -> None:
        self.access_bytes = access_bytes
        self.made: dict[Place, NDArray[np.bool_]] = {}  # which elements [n, c, h] of a place were written
        self.loaded: dict[SramRange, int] = {}  # bytes that were loaded

    def knows(self, read: _Access) -> bool:
        """Whether what is read was written, and nothing else was written there since."""
        what = read.what
        if isinstance(what, SramRange):
            return self.loaded.get(what, 0) >= read.bytes
        return what.place in self.made and bool(self.made[what.place][what.box.spans].all())

    def write(self, access: _Access) -> None:
        """What overlaps is known no longer."""
        what = access.what
        target = what.place if isinstance(what, Window) else what
        written = sram_bytes(target, self.access_bytes)
        for place in [p for p in self.made if p != target and self._overlaps(p, written)]:
            del self.made[place]
        for span in [r for r in self.loaded if r != target and self._overlaps(r, written)]:
            del self.loaded[span]
        if isinstance(what, SramRange):
            self.loaded[what] = access.bytes
        else:
            made = self.made.setdefault(what.place, np.zeros(what.place.shape[:3], np.bool_))
            made[what.box.spans] = True

    def _overlaps(self, what: Place | SramRange, written: Range) -> bool:
        return sram_bytes(what, self.access_bytes).overlaps(written)
