"""furc profile: how long a model takes on the modelled machine, and where the cycles go."""

from __future__ import annotations

import json
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import on_terminal, show, write_text
from furc.cli.request import FILE, for_models, force_option, takes_request
from furc.headroom import headroom
from furc.output import HTML, JSON, TABLES, TRACE, Outputs
from furc.profile_files import FORMATS, profile_file, profile_tables, profile_text
from furc.report.tables import plain
from furc.request import Request

TOP = 20
KINDS = {"table": TABLES, "json": JSON, "html": HTML, "trace": TRACE}


@declare("profile", short_help="Time a binary or a model: table, JSON, HTML or trace.")
@click.argument("model", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    help="html: one file that opens offline. trace: Chrome trace JSON, for Perfetto.",
)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@click.option("--top", type=click.IntRange(min=1), default=TOP, metavar="N", help="Operators in the table.")
@click.option(
    "--headroom", "compares", is_flag=True,
    help="Compare with the best schedule that the hardware would allow.",
)  # fmt: skip
@takes_request
@force_option
def command(
    request: Request, model: Path, form: str, output: Path | None, top: int, compares: bool, force: bool
) -> None:
    """Time MODEL, an ENF or a model that is compiled first with the given options. No data is needed.

    Timing only depends on the program: the same ENF always gives the same numbers. In the table, cycles of an operator
    are load + compute + store; engines overlap, so that operators add up to more than the run.
    """
    for_models(request, model)
    if compares:
        _headroom(request, model, form, output, force)
        return
    if form == "table" and output is None and on_terminal(err=False):
        for table in profile_tables(profile_file(model, request), top):
            show(table)
        return
    outputs = Outputs((model,), force)
    write_text(outputs, output, KINDS[form], lambda: profile_text(profile_file(model, request), form, top))


def _headroom(request: Request, model: Path, form: str, output: Path | None, force: bool) -> None:
    if form not in ("table", "json"):
        raise click.UsageError(f"--headroom is a table or JSON, not {form}")
    if form == "table" and output is None and on_terminal(err=False):
        show(headroom(model, request).table())
        return
    outputs = Outputs((model,), force)

    def text() -> str:
        found = headroom(model, request)
        return json.dumps(found.to_json(), indent=1) + "\n" if form == "json" else plain(found.table())

    write_text(outputs, output, KINDS[form], text)
