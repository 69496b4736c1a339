"""furc opt: named passes on IR text; this is also how passes are tested."""

from __future__ import annotations

from pathlib import Path

import click

from furc.build import run_passes
from furc.cli.command import command as declare
from furc.cli.display import say
from furc.cli.request import FILE, force_option, takes_request
from furc.inspection import PASS_NAMES
from furc.ir_files import side_file, write_ir
from furc.output import CONSTANTS, IR_TEXT, Outputs
from furc.reading import STANDARD
from furc.request import Request
from passes.ir.graph import Graph
from passes.ir.lir_text import show_program
from passes.ir.text import show


@declare("opt", short_help="Run named passes on IR text.")
@click.argument("irfile", type=FILE)
@click.option("-p", "--pass", "names", multiple=True, metavar="NAME",
              help="A pass to run (`furc passes`); several run in order, also as NAME,NAME. Repeatable.")  # fmt: skip
@click.option("-o", "--output", type=FILE, metavar="FILE",
              help="Write the text, its constants to FILE.npz.  [default: text to stdout]")  # fmt: skip
@click.option("--verify", is_flag=True, help="Execute the graph after each pass on a random input and compare.")
@takes_request
@force_option
def command(
    request: Request, irfile: Path, names: tuple[str, ...], output: Path | None, verify: bool, force: bool
) -> None:
    """Run passes on IRFILE (.dfg .ldfg .cdfg .gir, - for stdin) and print the IR after the last one.

    Without --pass: read, verify and print. Constants are read from the .npz of the same name (model.ldfg.npz).
    """
    wanted = [name.strip() for word in names for name in word.split(",")]
    for name in wanted:
        if name not in PASS_NAMES:
            raise click.BadParameter(f"no pass '{name}', they are {', '.join(PASS_NAMES)}", param_hint="'--pass'")
    outputs = Outputs((irfile, side_file(irfile)), force)
    to_file = output if output is not None and str(output) != STANDARD else None
    if to_file is not None:
        outputs.check(to_file, IR_TEXT)
        outputs.check(side_file(to_file), CONSTANTS)
    made = run_passes(irfile, wanted, request, verify=verify)
    if to_file is None:
        say(show(made) if isinstance(made, Graph) else show_program(made), end="")
        return
    write_ir(outputs, to_file, made)
    outputs.write()
