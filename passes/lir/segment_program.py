"""Keep the program inside the instruction memory, or cut it into segments that load while running.

With use_program_loading, each operator is a segment in one half of the instruction memory (several, where it is
longer than that): it starts by loading the next segment into the other half, and ends with a jump there.

lir -> lir. Keeps: every instruction. Raises LowerError InsufficientInstructionMemory without use_program_loading."""

from __future__ import annotations

from isa.encoding import WORD_BYTES, body_words
from isa.errors import Loc, LowerError
from isa.instructions import Instruction, Jump, LoadProgram, Unit
from isa.layout import align
from isa.npu import NpuConfig
from isa.operands import DramRange
from passes.ir.lir import Program, Run, Step
from passes.options import CompileOptions


def segment_program(program: Program, options: CompileOptions) -> Program:
    """Cut where it is allowed; every run by itself."""
    npu = options.npu
    for run, address in program.placed(npu):
        if options.use_program_loading:
            _cut(run, npu, address)
        else:
            _check_fits(run, npu, program.graph.source)
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
        address += align(_reserved(piece), npu.dram_alignment_bytes)
        size = min(_reserved(pieces[index + 1]), half)
        steps.append(Step(LoadProgram(src=DramRange(address, size), at=other), -1))
        steps += piece
        steps.append(Step(Jump(to=other), -1))
    run.steps, run.segments = steps, starts


def _check_fits(run: Run, npu: NpuConfig, source: str) -> None:
    total = sum(largest_bytes(step.instruction) for step in run.steps)
    if total > npu.instruction_memory_bytes:
        raise _too_large(total, npu, source)


def _reserved(piece: list[Step]) -> int:
    return sum(largest_bytes(step.instruction) for step in piece) + _overhead()


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
    """Steps cut before the first instruction of each operator on the tensor unit, and where a half is full."""
    room = npu.instruction_memory_bytes // 2 - _overhead()
    pieces: list[list[Step]] = [[]]
    used, operator = 0, -1
    for step in steps:
        size = largest_bytes(step.instruction)
        opens = step.instruction.unit in (Unit.MAIN, Unit.SUB) and step.operator != operator
        if used + size > room or (opens and operator >= 0):
            pieces.append([])
            used = 0
        operator = step.operator if opens else operator
        pieces[-1].append(step)
        used += size
    return pieces
