"""What an instruction costs on its unit, and to the command processor. The formulas are in isa/timing/formulas.py."""

from __future__ import annotations

from isa.encoding import instruction_bytes
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.timing.formulas import Cost, issuing_cycles

__all__ = ["Cost", "cost", "issue_cycles"]


def cost(insn: Instruction, npu: NpuConfig) -> Cost:
    """The cost of an instruction on its unit."""
    return insn.cost(npu)


def issue_cycles(insn: Instruction, npu: NpuConfig) -> float:
    """Cycles the command processor takes to hand an instruction to its unit."""
    return issuing_cycles(instruction_bytes(insn), npu)
