"""Fast execution: what ONNX Runtime's integer kernels compute to the bit runs on them, the rest as it is.

Tests hold every result equal to what the instructions do one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from isa.execute import lookup, max_pool, pad_part, qlinear_binary, relay
from isa.execute.conv_group import ConvGroup, group_convolutions
from isa.execute.failure import CANNOT_RUN, cannot_run
from isa.execute.forwarding import ForwardingMachine
from isa.execute.fusion import Fusion, Member
from isa.execute.lifetimes import lifetimes
from isa.execute.parts import Fused, Part
from isa.execute.qlinear_conv import is_exact
from isa.instructions import Add, Instruction, Max, MaxPool, Min, Move, Mul, Pad, Table
from isa.layout import Place
from isa.machine import Machine
from isa.npu import NpuConfig


class Item(Protocol):
    """Some instructions of a program, executed as one."""

    @property
    def instructions(self) -> Sequence[Instruction]: ...

    def run(self, machine: Machine) -> None: ...


@dataclass(frozen=True, slots=True)
class AsItIs:
    """An instruction that executes itself."""

    instruction: Instruction

    @property
    def instructions(self) -> Sequence[Instruction]:
        return (self.instruction,)

    def run(self, machine: Machine) -> None:
        self.instruction.execute(machine)


# For each class of instruction what makes a part of it, or None where the instruction is beyond that.
PARTS: dict[type[Instruction], Callable[[Any], Part | None]] = {
    Add: qlinear_binary.prepare,
    Mul: qlinear_binary.prepare,
    Max: qlinear_binary.prepare,
    Min: qlinear_binary.prepare,
    MaxPool: max_pool.prepare,
    Pad: pad_part.prepare,
}
# The same for what is faster in NumPy, by itself.
KERNELS: dict[type[Instruction], Callable[[Any], Item | None]] = {Table: lookup.prepare, Move: relay.prepare}


class Accelerated:
    """A program as work items, grouped once."""

    def __init__(self, program: Sequence[Instruction], npu: NpuConfig) -> None:
        self.program = program
        work = group_convolutions(program, npu) if is_exact() else list(program)
        parts = [item if isinstance(item, ConvGroup) else _part(item) for item in work]
        items = [_instructions(item) for item in work]
        self.dead = lifetimes(items, npu.sram_access_bytes)
        members = _fused(parts, items, self.dead) if self.dead is not None else {}
        self.items = [
            members.get(index) or (Fused.alone(part) if part is not None else _alone(item))
            for index, (part, item) in enumerate(zip(parts, work, strict=True))
        ]

    def run(self, machine: Machine) -> None:
        """Execute every item in order. Raises RunError where one cannot run."""
        for item, dead in zip(self.items, self.dead or [()] * len(self.items), strict=True):
            try:
                item.run(machine)
            except CANNOT_RUN as error:
                culprit = item.instructions[-1]
                index = next(i for i, instruction in enumerate(self.program) if instruction is culprit)
                raise cannot_run(index, culprit, error) from error
            if isinstance(machine, ForwardingMachine):
                machine.release(dead)


def item_of(instruction: Instruction) -> Item:
    """The fastest way to execute one instruction by itself."""
    part = _part(instruction)
    return Fused.alone(part) if part is not None else _alone(instruction)


def _fused(
    parts: Sequence[Part | None], items: Sequence[Sequence[Instruction]], dead: Sequence[Sequence[Place]]
) -> dict[int, Member]:
    fusion = Fusion(dead)
    for index, (part, instructions) in enumerate(zip(parts, items, strict=True)):
        if part is not None:
            fusion.part(index, part)
        else:
            fusion.other(instructions)
    fusion.close()
    return fusion.members


def _part(instruction: Instruction) -> Part | None:
    prepare = PARTS.get(type(instruction))
    try:
        return prepare(instruction) if prepare else None
    except CANNOT_RUN:  # what a hostile file says is told where it runs, with its place
        return None


def _alone(instruction: Instruction | ConvGroup) -> Item:
    assert not isinstance(instruction, ConvGroup)
    prepare = KERNELS.get(type(instruction))
    return (prepare(instruction) if prepare else None) or AsItIs(instruction)


def _instructions(item: Instruction | ConvGroup) -> Sequence[Instruction]:
    return item.instructions if isinstance(item, ConvGroup) else (item,)
