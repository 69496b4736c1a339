"""furc diff: two binaries, models or profiles layer by layer."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import on_terminal, show, write_text
from furc.cli.request import FILE, for_models, force_option, takes_request
from furc.diff_files import DIFF_FORMATS, diff_files, diff_tables, diff_text
from furc.output import DIFF, HTML, TABLES, Outputs
from furc.request import Request

TOP = 20
KINDS = {"table": TABLES, "json": DIFF, "html": HTML}


@declare("diff", short_help="Compare two binaries, models or profiles, layer by layer.")
@click.argument("before", type=FILE)
@click.argument("after", type=FILE)
@click.option("--format", "form", type=click.Choice(DIFF_FORMATS), default="table",
              help="html: one file that opens offline.")  # fmt: skip
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@click.option("--top", type=click.IntRange(min=1), default=TOP, metavar="N", help="Layers in the table.")
@takes_request
@force_option
def command(request: Request, before: Path, after: Path, form: str, output: Path | None, top: int, force: bool) -> None:
    """Compare BEFORE with AFTER: each an ENF, a profile as `furc profile --format json` writes it, or a model that is
    compiled first with the given options. To compare two settings of one model, compile it twice.

    A layer is all operators that share nodes of the model: what was split or fused differently stands beside what it
    became. Its cycles are those in which the run waits for it, so that layers add up to the run.
    """
    for_models(request, before, after)
    outputs = Outputs((before, after), force)
    if form == "table" and output is None and on_terminal(err=False):
        for table in diff_tables(diff_files(before, after, request), top):
            show(table)
        return
    write_text(outputs, output, KINDS[form], lambda: diff_text(diff_files(before, after, request), form, top))
