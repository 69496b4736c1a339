"""Fast execution: what ONNX Runtime's integer kernels compute to the bit runs on them, the rest as it is.

Tests hold every result equal to what the instructions do one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from isa.execute import average_pool, lookup, max_pool, pad_part, qlinear_binary, relay
from isa.execute.conv_group import ConvGroup, group_convolutions
from isa.execute.failure import CANNOT_RUN, cannot_run
from isa.execute.forwarding import ForwardingMachine
from isa.execute.fusion import fused
from isa.execute.lifetimes import lifetimes
from isa.execute.parts import Fused, Item, Part
from isa.execute.qlinear_conv import is_exact
from isa.instructions import Add, AveragePool, Instruction, Load, Max, MaxPool, Min, Move, Mul, Pad, Store, Table
from isa.machine import Machine
from isa.npu import NpuConfig


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
    AveragePool: average_pool.prepare,
    Pad: pad_part.prepare,
}
# The same for what is faster in NumPy, by itself.
KERNELS: dict[type[Instruction], Callable[[Any], Item | None]] = {
    Table: lookup.TableKernel,
    Move: relay.prepare,
    Load: relay.TransferKernel,
    Store: relay.TransferKernel,
}


class Accelerated:
    """A program as work items, grouped once."""

    def __init__(self, program: Sequence[Instruction], npu: NpuConfig) -> None:
        self.program = program
        work = group_convolutions(program, npu) if is_exact() else list(program)
        items = [item_of(item) for item in work]
        self.dead = lifetimes([item.instructions for item in items], npu.sram_access_bytes)
        self.items = items if self.dead is None else fused(items, self.dead)

    def run(self, machine: Machine) -> None:
        """Execute every item in order. Raises RunError where one cannot run."""
        forwarding = machine if isinstance(machine, ForwardingMachine) else None
        for item, dead in zip(self.items, self.dead or [()] * len(self.items), strict=True):
            try:
                item.run(machine)
            except CANNOT_RUN as error:
                culprit = item.instructions[-1]
                index = next(i for i, instruction in enumerate(self.program) if instruction is culprit)
                raise cannot_run(index, culprit, error) from error
            if dead and forwarding:
                forwarding.release(dead)


def item_of(work: Instruction | ConvGroup) -> Item:
    """The fastest way to execute something by itself."""
    if isinstance(work, ConvGroup):
        return Fused.alone(work)
    if part := _part(work):
        return Fused.alone(part)
    prepare = KERNELS.get(type(work))
    return (prepare(work) if prepare else None) or AsItIs(work)


def _part(instruction: Instruction) -> Part | None:
    prepare = PARTS.get(type(instruction))
    try:
        return prepare(instruction) if prepare else None
    except CANNOT_RUN:  # what a hostile file says is told where it runs, with its place
        return None
