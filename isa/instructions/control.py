"""What the command processor does itself."""

from __future__ import annotations

from isa.instructions.base import Instruction, Unit, instruction, program_offset
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import Role
from isa.timing.formulas import Cost, control_cycles


class Control(Instruction):
    """Changes which instruction comes next, and no data: executing it is the interpreter's fetching."""

    __slots__ = ()

    def execute(self, machine: Machine) -> None:
        pass

    def cost(self, npu: NpuConfig) -> Cost:
        return control_cycles(npu)


@instruction("end", 0x00, Unit.CONTROL)
class End(Control):
    """Wait for every unit and stop."""


@instruction("jump", 0x01, Unit.CONTROL)
class Jump(Control):
    """Go on at another offset of instruction memory, once what was issued before is complete, loads apart."""

    to: int = program_offset(Role.READ, "byte offset in instruction memory")

    def cost(self, npu: NpuConfig) -> Cost:
        return control_cycles(npu, switches=True)
