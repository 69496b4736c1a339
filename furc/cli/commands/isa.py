"""furc isa: the instructions of the machine with their documentation."""

from __future__ import annotations

import click

from furc.cli.command import command as declare
from furc.cli.display import say_named
from furc.registries import instructions_text


@declare("isa", short_help="The instructions of the machine.")
@click.argument("mnemonic", required=False)
def command(mnemonic: str | None) -> None:
    """List the instructions, or explain one: operands, their bits and defaults, what it does."""
    say_named(lambda: instructions_text(mnemonic), "MNEMONIC")
