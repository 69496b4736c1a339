"""Which command of gir each instruction of a program came from; the debug map of an ENF knows operators only."""

from __future__ import annotations

from passes.emit.emit_instructions import SILENT
from passes.ir.graph import Op
from passes.ir.lir import Program, Step
from passes.ir.lowlevel import LoadWeights, LowLevelConv2d, LowLevelTable

_OF_PROGRAM = ("loadp", "jump", "end")


def commands_of(program: Program) -> list[int]:
    """For each step the index of its op in program.graph.ops, -1 for what serves the program itself.

    Weight loads are issued early but stay in order, and so does everything else: two sequences, walked side by side.
    """
    ops = program.graph.ops
    loads = iter([i for i, op in enumerate(ops) if isinstance(op, LoadWeights)])
    others = iter([i for i, op in enumerate(ops) if not isinstance(op, (LoadWeights, *SILENT))])
    found: list[int] = []
    current, previous = -1, None
    for step in program.steps:
        mnemonic = step.instruction.mnemonic
        if mnemonic in _OF_PROGRAM:
            found.append(-1)
        elif mnemonic == "loadw":
            found.append(next(loads, -1))
        else:
            if previous is None or not _continues(ops[current], previous, step):
                current = next(others, -1)
            previous = step
            found.append(current)
    return found


def _continues(op: Op, previous: Step, step: Step) -> bool:
    """True where a step belongs to the same command as the one before it."""
    if isinstance(op, LowLevelTable):
        return previous.instruction.mnemonic == "loadt"
    return isinstance(op, LowLevelConv2d) and step.operator == previous.operator and step.instruction.mnemonic in (
        "loadt", "preload", "conv",
    )  # fmt: skip
