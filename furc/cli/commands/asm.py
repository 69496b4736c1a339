"""furc asm: assembly text to encoded instructions."""

from __future__ import annotations

from pathlib import Path

import click

from furc.assembly import assemble_file
from furc.cli.command import command as declare
from furc.cli.display import say
from furc.cli.request import FILE, force_option
from furc.output import PROGRAM, Outputs
from isa.errors import counted


@declare("asm", short_help="Assemble text to encoded instructions.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.bin", help="Write the encoded program.")
@click.option("--check", is_flag=True, help="Only check that the text assembles.")
@force_option
def command(file: Path, output: Path | None, check: bool, force: bool) -> None:
    """Assemble FILE (- for stdin) as `furc disasm` prints it; docs/isa.md has the instructions."""
    if (output is None) != check:
        raise click.UsageError("give one of -o and --check")
    outputs = Outputs((file,), force)
    outputs.check(output, PROGRAM)
    assembled = assemble_file(file)
    if output is not None:
        outputs.add(output, assembled.code, PROGRAM)
        outputs.write()
    say(f"{counted(assembled.instructions, 'instruction')}, {counted(len(assembled.code), 'byte')}", err=True)
