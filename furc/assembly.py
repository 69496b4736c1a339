"""Instructions as text: files assembled and taken apart, with the operators that instructions belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from furc.machine import machine_of
from furc.profiling.profile import is_enf
from furc.reading import PROGRAM_BYTES, TEXT_BYTES, read_at_most
from furc.report.tables import one_line, shape
from isa import enf as enf_file
from isa.assembly import format_instruction, format_program, parse_program
from isa.encoding import decode_program, encode_program
from isa.enf import Enf, NpuStep
from isa.errors import EncodeError, Loc, SourceError, counted
from isa.instructions import Instruction
from isa.program import fetch

ASSEMBLY = "give instructions as text, as `furc disasm` writes them"
PROGRAM = "give an ENF or a program that `furc asm` wrote"


class Assembled(NamedTuple):
    """An encoded program."""

    code: bytes
    instructions: int


def assemble_file(path: Path | str) -> Assembled:
    """The program in assembly text; "-" is stdin. Raises SourceError NotText, SourceUnreadable, and EncodeError."""
    source = "<stdin>" if str(path) == "-" else str(path)
    instructions = parse_program(_text(Path(path)), source)
    return Assembled(encode_program(instructions), len(instructions))


def disassemble_file(path: Path | str, npu_config: Path | None = None) -> str:
    """The instructions of an ENF in the order they run, with their operators, or of an encoded program.

    npu_config: the what-if machine that the ENF is for. Raises FurcError.
    """
    path, at = Path(path), Loc(str(path))
    if is_enf(path):
        binary = enf_file.load(path)
        return "\n".join(_annotated(binary, fetch(binary, machine_of(binary, npu_config)))) + "\n"
    try:
        code = read_at_most(path, PROGRAM_BYTES)
    except OSError as error:
        raise SourceError("SourceUnreadable", error.strerror or str(error), at=at, hint=PROGRAM) from error
    if not code:  # of a write that failed, as a rule: printing nothing would look like a program
        raise SourceError("NoProgram", "the file is empty", at=at, hint=PROGRAM)
    try:
        return format_program(instruction for _, instruction in decode_program(code))
    except EncodeError as error:
        raise EncodeError(error.name, error.message, at=Loc(str(path), detail=error.at.detail), hint=PROGRAM) from error


def _text(path: Path) -> str:
    try:
        return read_at_most(path, TEXT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise SourceError("NotText", f"byte {error.start} is not UTF-8", at=Loc(str(path)), hint=ASSEMBLY) from error
    except OSError as error:
        raise SourceError("SourceUnreadable", error.strerror or str(error), at=Loc(str(path)), hint=ASSEMBLY) from error


def _annotated(binary: Enf, programs: list[list[Instruction]]) -> Iterator[str]:
    name, count = one_line((binary.model_name,))[0], sum(map(len, programs))
    yield f"# {name} for {enf_file.made_for(binary)}, batch {binary.batch}: {counted(count, 'instruction')}"
    for number, (step, program) in enumerate(zip(binary.npu_steps, programs, strict=True)):
        if len(programs) > 1:
            yield f"\n# program {number} of {len(programs)}: {counted(len(program), 'instruction')}"
        yield from _program(binary, step, program)


def _program(binary: Enf, step: NpuStep, program: list[Instruction]) -> Iterator[str]:
    current = None
    for index, instruction in enumerate(program):
        owner = step.operator_of[index] if index < len(step.operator_of) else -1
        if owner != current:
            current = owner
            if owner >= 0:
                operator = binary.operators[owner]
                words = (f"{operator.name} #{owner}", shape(operator.shape), *operator.nodes)
                yield "\n# " + "  ".join(one_line(words))
            else:
                yield "\n# the program itself"
        yield format_instruction(instruction)
