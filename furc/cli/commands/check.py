"""furc check: where every operator of a model will run, why, and what to change."""

from __future__ import annotations

from pathlib import Path

import click

from furc.check import Where, check_file
from furc.cli.command import EXIT_USER
from furc.cli.command import command as declare
from furc.cli.display import say, show
from furc.cli.request import FILE, takes_request
from furc.report.check_table import check_table, summary
from furc.report.placement_table import placement_table
from furc.request import Request


@declare("check", short_help="Where every operator of a model will run, why, and what to change.")
@click.argument("model", type=FILE)
@click.option("--all", "everything", is_flag=True, help="Show operators that run on the NPU as they are too.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", help="How to print.")
@takes_request
@click.pass_context
def command(context: click.Context, request: Request, model: Path, everything: bool, form: str) -> None:
    """Judge every operator of MODEL, float or quantized: NPU, rewritten, host or refused, with the limit it breaks.

    Nothing is quantized or compiled; times are estimates. Exit code 1 where an operator is refused,
    with --strict also where one is on the host.
    """
    report = check_file(model, request)
    if form == "json":
        click.echo(report.to_json())
    else:
        table = check_table(report, everything=everything)
        if table.rows:
            show(table)
        placements = placement_table(report.placements)
        if placements is not None:
            show(placements)
        say(summary(report))
    if not report.compiles or (request.strict and report.of(Where.HOST)):
        context.exit(EXIT_USER)
