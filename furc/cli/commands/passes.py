"""furc passes: the passes of the compiler with their documentation."""

from __future__ import annotations

import click

from furc.cli.command import command as declare
from furc.cli.display import say_named
from furc.registries import passes_text


@declare("passes", short_help="The passes, and what each does.")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the passes in the order they run, or explain pass NAME."""
    say_named(lambda: passes_text(name), "NAME")
