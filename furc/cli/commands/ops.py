"""furc ops: the ops of the IR with their documentation."""

from __future__ import annotations

import click

from furc.cli.command import command as declare
from furc.cli.display import say_named
from furc.registries import ops_text
from passes.ir.op import Level


@declare("ops", short_help="The ops of the IR, level by level.")
@click.argument("level", type=click.Choice(tuple(map(str, Level))), required=False)
@click.argument("name", required=False)
def command(level: str | None, name: str | None) -> None:
    """List the ops of the IR with their operands and attributes: of LEVEL, or of all; NAME is one op."""
    say_named(lambda: ops_text(level, name), "NAME")
