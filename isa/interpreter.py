"""Fetch, decode, execute: runs a program on a machine. Executing and timing are separate; either can be left out.

The clock (isa/timing) takes the same instructions and never sees the machine, so it cannot change a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isa.encoding import decode
from isa.enf import Enf
from isa.enf_container import COMPILE_AGAIN
from isa.enf_program import check_program
from isa.errors import EncodeError, EnfError, Loc
from isa.execute.accelerated import Accelerated
from isa.execute.failure import CANNOT_RUN, cannot_run
from isa.execute.reference import EFFECTS
from isa.instructions import Instruction
from isa.machine import Machine
from isa.npu import NpuConfig


def fetch(enf: Enf, npu: NpuConfig) -> list[Instruction]:
    """The instructions of a program in the order the command processor meets them, up to `end`.

    Follows jumps through an instruction memory that `loadp` fills, so what runs is what was loaded.
    Raises EnfError BadProgram where the program leaves its memory or never ends.
    """
    memory = bytearray(npu.instruction_memory_bytes)
    first = enf.segments[0]
    _fill(memory, first.offset, enf.image[first.address : first.address + first.bytes])
    limit = sum(segment.bytes for segment in enf.segments) // 4  # no instruction is shorter than a word
    at, executed = first.offset, list[Instruction]()
    while len(executed) <= limit:
        instruction, behind = _decoded(memory, at, enf.model_name)
        executed.append(instruction)
        if instruction.mnemonic == "end":
            check_program(executed, npu, enf.dram_bytes, Loc(enf.model_name))
            return executed
        if instruction.mnemonic == "loadp":
            src = instruction.dram_range("src")
            _fill(memory, instruction.number("at"), enf.image[src.address : src.address + src.bytes])
        at = instruction.number("to") if instruction.mnemonic == "jump" else at + behind
    raise EnfError("BadProgram", f"no end after {limit} instructions", at=Loc(enf.model_name), hint=COMPILE_AGAIN)


def _decoded(memory: bytearray, at: int, model: str) -> tuple[Instruction, int]:
    try:
        return decode(bytes(memory[at : at + 1024]))
    except EncodeError as error:
        what = f"byte {at} of instruction memory: {error.message}"
        raise EnfError("BadProgram", what, at=Loc(model), hint=COMPILE_AGAIN) from error


def _fill(memory: bytearray, at: int, data: bytes) -> None:
    if at + len(data) > len(memory):
        raise EnfError(
            "BadProgram",
            f"a segment of {len(data)} B at {at} exceeds the instruction memory of {len(memory)} B",
            hint=COMPILE_AGAIN,
        )
    memory[at : at + len(data)] = data


def execute(program: Sequence[Instruction], machine: Machine) -> None:
    """Run every instruction by its reference. Raises RunError where one cannot run."""
    for index, instruction in enumerate(program):
        effect = EFFECTS.get(instruction.mnemonic)
        if effect is None:
            continue  # control: the order is already that of execution
        try:
            effect(machine, instruction)
        except CANNOT_RUN as error:
            raise cannot_run(index, instruction, error) from error


class Interpreter:
    """A program made ready for many runs: decoded once, kernels prepared once."""

    def __init__(self, enf: Enf, npu: NpuConfig, *, accelerate: bool = True) -> None:
        self.enf, self.npu = enf, npu
        self.program = fetch(enf, npu)
        self.machine = Machine(npu, enf.dram_bytes)
        self.machine.dram[: len(enf.image)] = np.frombuffer(enf.image, np.int8)
        self._accelerated = Accelerated(self.program) if accelerate else None

    def run(self) -> None:
        """Execute the program once; inputs are in DRAM before, outputs after."""
        if self._accelerated is not None:
            self._accelerated.run(self.machine)
        else:
            execute(self.program, self.machine)
