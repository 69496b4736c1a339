"""Runs the programs of a compiled model on a machine. Executing and timing are separate; either can be left out.

The clock (isa/timing) takes the same instructions and never sees the machine, so it cannot change a result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isa.enf.model import Enf
from isa.execute.accelerated import Accelerated
from isa.execute.dram_flow import dram_flow
from isa.execute.failure import CANNOT_RUN, cannot_run
from isa.execute.forwarding import ForwardingMachine
from isa.instructions import Instruction
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.program import fetch


def execute(program: Sequence[Instruction], machine: Machine) -> None:
    """Run every instruction as its class says. Raises RunError where one cannot run."""
    for index, instruction in enumerate(program):
        try:
            instruction.execute(machine)
        except CANNOT_RUN as error:
            raise cannot_run(index, instruction, error) from error


class Interpreter:
    """One machine with a program for each NPU step, ready for many runs: decoded once, kernels prepared once."""

    def __init__(self, enf: Enf, npu: NpuConfig, *, accelerate: bool = True) -> None:
        self.enf, self.npu = enf, npu
        self.programs = fetch(enf, npu)
        self._accelerated = [Accelerated(program, npu) for program in self.programs] if accelerate else []
        tidy = accelerate and all(program.dead is not None for program in self._accelerated)
        self.machine = self._tidy_machine() if tidy else Machine(npu, enf.dram_bytes)
        self.machine.dram[: len(enf.image)] = np.frombuffer(enf.image, np.int8)

    def _tidy_machine(self) -> Machine:
        flow = dram_flow(zip(self.enf.npu_steps, self.programs, strict=True))
        return ForwardingMachine(self.npu, self.enf.dram_bytes, flow)

    def begin(self) -> None:
        """Before the first step of another run, and before its inputs are written: spares what is left of the last."""
        if isinstance(self.machine, ForwardingMachine):
            self.machine.begin()

    def run(self, step: int = 0) -> None:
        """Execute the program of an NPU step, counted among NPU steps; its inputs are in DRAM before, its outputs
        after. The machine keeps what it holds from step to step."""
        if self._accelerated:
            self._accelerated[step].run(self.machine)
        else:
            execute(self.programs[step], self.machine)
