"""furc opt: named passes on IR text; this is also how passes are tested."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, Request, takes_request


@declare("opt", short_help="Run named passes on IR text.")
@click.argument("irfile", type=FILE)
@click.option("-p", "--pass", "names", multiple=True, metavar="NAME",
              help="A pass to run (`furc passes`); several run in order, also as NAME,NAME. Repeatable.")  # fmt: skip
@click.option("-o", "--output", type=FILE, metavar="FILE",
              help="Write the text, its constants to an .npz of the same stem.  [default: text to stdout]")  # fmt: skip
@click.option("--verify", is_flag=True, help="Execute the graph behind each pass on a random input and compare.")
@takes_request
def command(request: Request, irfile: Path, names: tuple[str, ...], output: Path | None, verify: bool) -> None:
    """Run passes on IRFILE (.dfg .ldfg .cdfg .gir, - for stdin) and print the IR behind the last one.

    Without --pass: read, verify and print. Constants are read from the .npz of the same stem.
    """
    from furc.cli.ir_files import read_ir, side_file, write_ir
    from furc.cli.output import STDOUT, Outputs
    from furc.cli.random_inputs import random_inputs
    from isa.errors import Loc, SourceError
    from passes.ir.graph import Graph
    from passes.ir.text import show
    from passes.pipeline import GRAPH_PASSES, Listener, run_pass
    from passes.reference.verify import VerifyingListener

    wanted = [name.strip() for word in names for name in word.split(",")]
    for name in wanted:
        if name not in GRAPH_PASSES:
            raise click.BadParameter(f"no pass '{name}', they are {', '.join(GRAPH_PASSES)}", param_hint="'--pass'")
    graph = read_ir(irfile)
    if not isinstance(graph, Graph):
        raise SourceError("NotAGraph", "lir is a program, passes run on graphs", at=Loc(str(irfile)),
                          hint="give .dfg, .ldfg, .cdfg or .gir")  # fmt: skip
    options = request.options(batch=graph.batch)
    listener = Listener()
    if verify:
        listener = VerifyingListener(random_inputs(graph.inputs, seed=0), options)
        listener.take(graph)
    for name in wanted:
        graph = run_pass(name, GRAPH_PASSES[name], graph, options, listener)
    if output is None or str(output) == STDOUT:
        click.echo(show(graph), nl=False)
        return
    outputs = Outputs((irfile, side_file(irfile)))
    write_ir(outputs, output, graph)
    outputs.write()
