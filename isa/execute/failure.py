"""What an effect raises where an instruction cannot run. Only files that furc did not write do this."""

from __future__ import annotations

from isa.enf.container import COMPILE_AGAIN
from isa.errors import RunError, first_line
from isa.instructions import Instruction

CANNOT_RUN = (ValueError, IndexError, AssertionError, ArithmeticError, MemoryError)


def cannot_run(index: int, instruction: Instruction, error: BaseException) -> RunError:
    """index: of the instruction, in execution order."""
    what = f"instruction {index} ({instruction.mnemonic}) cannot run: {first_line(error)}"
    return RunError("BadInstruction", what, hint=COMPILE_AGAIN)
