"""What must hold of lir: every run ends, segments cut it, operators exist, operands fit the machine.

Tags and races are checked on a finished timeline (isa/timing/races.py) and when a program is fetched
(isa/program.py)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from isa.errors import Loc, VerifyError, counted
from isa.instructions import End
from isa.npu import NpuConfig
from isa.operands import DRAM_UNIT_BYTES
from isa.program import operand_rules
from passes.ir.levels import MOST_FINDINGS
from passes.ir.lir import Program, Run


def verify_program(program: Program, npu: NpuConfig) -> None:
    """Raises VerifyError InvalidIr with up to five findings."""
    problems = [*_operator_rules(program), *(p for run in program.runs for p in _run_rules(run, npu))]
    if problems:
        at = Loc(program.graph.source, detail="lir")
        raise VerifyError("InvalidIr", problems[0], at=at, also=tuple(problems[1:MOST_FINDINGS]))


def _operator_rules(program: Program) -> Iterator[str]:
    if program.boundary < 0 or program.boundary % DRAM_UNIT_BYTES:
        yield f"boundary 0x{program.boundary:x} is no address"
    known = len(program.operators)
    outside = next((step.operator for step in program.steps() if not -1 <= step.operator < known), None)
    commands = len(program.graph.ops)
    if any(not -1 <= step.command < commands for step in program.steps()):
        yield f"a command is outside -1..{commands - 1}"
    if outside is not None:
        yield f"operator {outside} is outside -1..{known - 1}"


def _run_rules(run: Run, npu: NpuConfig) -> Iterator[str]:
    ends = [i for i, step in enumerate(run.steps) if isinstance(step.instruction, End)]
    if ends != [len(run.steps) - 1]:
        yield f"`end` is instruction {ends[0]} of {len(run.steps)}" if ends else "a run without `end`"
    rising = all(a < b for a, b in pairwise(run.segments))
    if not rising or run.segments[:1] != [0] or run.segments[-1] >= max(1, len(run.steps)):
        yield f"segments {run.segments} do not cut {counted(len(run.steps), 'instruction')}"
    seen: set[int] = set()  # the tiles of an operator share their windows
    for index, step in enumerate(run.steps):
        for operand in step.instruction.places:  # numbers are bounded by their fields
            value = getattr(step.instruction, operand.name)
            if id(value) not in seen:
                seen.add(id(value))
                for problem in operand_rules(value, npu, npu.dram_bytes):
                    yield f"instruction {index}, {step.instruction.mnemonic}.{operand.name}: {problem}"
