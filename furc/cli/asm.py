"""furc asm: assembly text to encoded instructions."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE


@declare("asm", short_help="Assemble text to encoded instructions.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.bin", help="Write the encoded program.")
@click.option("--check", is_flag=True, help="Only check that the text assembles.")
def command(file: Path, output: Path | None, check: bool) -> None:
    """Assemble FILE (- for stdin) as `furc disasm` prints it; docs/isa.md has the instructions."""
    if (output is None) != check:
        raise click.UsageError("give one of -o and --check")
    from furc.cli.output import Outputs
    from isa.assembly import parse_program
    from isa.encoding import encode_program

    source = "<stdin>" if str(file) == "-" else str(file)
    instructions = parse_program(_text(file), source)
    code = encode_program(instructions)
    if output is not None:
        outputs = Outputs((file,))
        outputs.add(output, code)
        outputs.write()
    click.echo(f"{len(instructions)} instructions, {len(code)} bytes", err=True)


def _text(file: Path) -> str:
    from isa.errors import Loc, SourceError

    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode()
    except UnicodeDecodeError as error:
        raise SourceError("NotText", f"byte {error.start} is not UTF-8", at=Loc(str(file))) from error
    except OSError as error:
        raise SourceError("SourceUnreadable", error.strerror or str(error), at=Loc(str(file))) from error
