"""furc disasm: the instructions of a binary as text, with the operators they belong to."""

from __future__ import annotations

from pathlib import Path

import click

from furc.assembly import disassemble_file
from furc.cli.command import command as declare
from furc.cli.display import write_text
from furc.cli.request import FILE, force_option, npu_config_option
from furc.output import ASSEMBLY, Outputs


@declare("disasm", short_help="Print the instructions of a binary, annotated.")
@click.argument("file", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@npu_config_option
@force_option
def command(file: Path, output: Path | None, npu_config: Path | None, force: bool) -> None:
    """Print the instructions of FILE, an ENF or an encoded program, in the order they run.

    Each operator begins with a comment: its name, the shape of its result, its ONNX nodes. `furc asm` reads the text.
    """
    write_text(Outputs((file,), force), output, ASSEMBLY, lambda: disassemble_file(file, npu_config))
