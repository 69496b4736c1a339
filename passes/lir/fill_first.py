"""Fill weight registers and tables before data is re-laid, not behind it.

before: pad, loadt, preload, conv        after: loadt, preload, pad, conv

lir -> lir. The sub context does all of these in order. Re-laying waits for what the tensor unit still makes; the
registers of the next operator are free by then, and are filled meanwhile.
Keeps: every instruction; the order of those that fill, and of all others. Raises: nothing. Leaves alone: what is filled
with weights that are loaded behind what re-lays; every program, unless asked to hoist; programs that are loaded while
they run, for there no operator overlaps another."""

from __future__ import annotations

from isa.instructions import LoadTable, LoadWeights, Preload
from isa.instructions.move import Relay
from passes.ir.lir import Program, Step
from passes.options import CompileOptions


def fill_first(program: Program, options: CompileOptions) -> Program:
    """Let what re-lays wait until something else than filling comes."""
    for run in program.runs:
        run.steps = _filled_first(run.steps, options.npu.sram_access_bytes)
    return program


def _filled_first(steps: list[Step], access: int) -> list[Step]:
    done: list[Step] = []
    waiting: list[Step] = []  # what re-lays, and loads of weights behind it, which may take the room of what it reads
    for step in steps:
        if isinstance(step.instruction, Relay) or (waiting and isinstance(step.instruction, LoadWeights)):
            waiting.append(step)
            continue
        if not _fills_ahead(step, waiting, access):
            done += waiting
            waiting.clear()
        done.append(step)
    return done  # nothing waits: the last one is `end`


def _fills_ahead(step: Step, waiting: list[Step], access: int) -> bool:
    """True for what fills, with what was there before everything that waits."""
    if not isinstance(step.instruction, LoadTable | Preload):
        return False
    made = [touched for each in waiting for touched in each.instruction.writes(access)]
    return not any(one.overlaps(other) for one in step.instruction.reads(access) for other in made)
