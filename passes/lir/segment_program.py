"""Keep the program inside the instruction memory, or cut it into segments that load while running.

With use_program_loading, a segment fills half of the instruction memory: it starts by loading the next segment into
the other half, and ends with a jump there.

lir -> lir. Keeps: every instruction. Raises LowerError InsufficientInstructionMemory without use_program_loading."""

from __future__ import annotations

from isa.encoding import WORD_BYTES, body_words
from isa.errors import Loc, LowerError
from isa.instructions import Instruction, Jump, LoadProgram
from isa.npu import NpuConfig
from isa.operands import DramRange
from passes.ir.lir import Program, Run, Step
from passes.options import CompileOptions


def segment_program(program: Program, options: CompileOptions) -> Program:
    """Cut where it is allowed and needed; every run by itself."""
    npu = options.npu
    address = program.boundary
    for run in program.runs:
        total = sum(largest_bytes(step.instruction) for step in run.steps)
        if total > npu.instruction_memory_bytes:
            if not options.use_program_loading:
                raise _too_large(total, npu, program.graph.source)
            _cut(run, npu, address)
        address += run.dram_bytes(npu)
    return program


def _cut(run: Run, npu: NpuConfig, address: int) -> None:
    pieces = _pieces(run.steps, npu)
    steps: list[Step] = []
    starts = []
    half = npu.instruction_memory_bytes // 2
    for index, piece in enumerate(pieces):
        starts.append(len(steps))
        if index + 1 == len(pieces):
            steps += piece
            break
        other = (index + 1) % 2 * half
        address += half
        size = sum(largest_bytes(s.instruction) for s in pieces[index + 1]) + _overhead()
        steps.append(Step(LoadProgram(src=DramRange(address, min(size, half)), at=other), -1))
        steps += piece
        steps.append(Step(Jump(to=other), -1))
    run.steps, run.segments = steps, starts


def _too_large(total: int, npu: NpuConfig, source: str) -> LowerError:
    return LowerError(
        "InsufficientInstructionMemory",
        f"the program takes {total} B, the instruction memory has {npu.instruction_memory_bytes} B",
        at=Loc(source),
        hint="set use_program_loading: true in the compiler config (-c use_program_loading=true); "
        "instructions are then loaded while running, which costs some latency",
    )


def largest_bytes(instruction: Instruction) -> int:
    """Bytes of an instruction that waits for something: tags are not known yet."""
    return (2 + body_words(instruction.spec)) * WORD_BYTES


def _overhead() -> int:
    return largest_bytes(LoadProgram(src=DramRange(0, 0), at=0)) + largest_bytes(Jump(to=0))


def _pieces(steps: list[Step], npu: NpuConfig) -> list[list[Step]]:
    room = npu.instruction_memory_bytes // 2 - _overhead()
    pieces: list[list[Step]] = [[]]
    used = 0
    for step in steps:
        size = largest_bytes(step.instruction)
        if used + size > room:
            pieces.append([])
            used = 0
        pieces[-1].append(step)
        used += size
    return pieces
