"""furc disasm: the instructions of a binary as text, with the operators they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, npu_config_option

if TYPE_CHECKING:
    from isa.enf import Enf
    from isa.instructions import Instruction


@declare("disasm", short_help="Print the instructions of a binary, annotated.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@npu_config_option
def command(file: Path, output: Path | None, npu_config: Path | None) -> None:
    """Print the instructions of FILE, an ENF or an encoded program, in the order they run.

    Each operator begins with a comment: its name, the shape of its result, its ONNX nodes. `furc asm` reads the text.
    """
    from furc.cli.output import write_text
    from furc.cli.summary import machine_of
    from furc.report.profile import is_enf
    from isa import enf as enf_file
    from isa.assembly import format_program
    from isa.encoding import decode_program
    from isa.errors import EncodeError, Loc, SourceError
    from isa.interpreter import fetch

    if is_enf(file):
        binary = enf_file.load(file)
        program = fetch(binary, machine_of(binary, npu_config))
        write_text(output, "\n".join(_annotated(binary, program)) + "\n", (file,))
        return
    try:
        code = file.read_bytes()
    except OSError as error:
        raise SourceError("SourceUnreadable", error.strerror or str(error), at=Loc(str(file)),
                          hint="give an ENF or a program that `furc asm` wrote") from error  # fmt: skip
    try:
        text = format_program(instruction for _, instruction in decode_program(code))
    except EncodeError as error:
        at = Loc(str(file), detail=error.at.detail)
        raise EncodeError(error.name, error.message, at=at,
                          hint="give an ENF or a program that `furc asm` wrote") from error  # fmt: skip
    write_text(output, text, (file,))


def _annotated(binary: Enf, program: list[Instruction]) -> Iterator[str]:
    from furc.report.tables import one_line, shape
    from isa.assembly import format_instruction

    name = one_line((binary.model_name,))[0]
    yield f"# {name} for {binary.target}, batch {binary.batch}: {len(program)} instructions"
    current = None
    for index, instruction in enumerate(program):
        owner = binary.operator_of[index] if index < len(binary.operator_of) else -1
        if owner != current:
            current = owner
            if owner >= 0:
                operator = binary.operators[owner]
                words = (f"{operator.name} #{owner}", shape(operator.shape), *operator.nodes)
                yield "\n# " + "  ".join(one_line(words))
            else:
                yield "\n# the program itself"
        yield format_instruction(instruction)
