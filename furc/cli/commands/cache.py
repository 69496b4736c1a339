"""furc cache: what the compiler cache holds, and how to empty it."""

from __future__ import annotations

import click

from furc.cache import MOST_BYTES, default_cache
from furc.cli.command import command as declare
from furc.cli.display import say
from furc.report.tables import count
from isa.errors import counted


@declare("cache", short_help="Show or clear the compiler cache.")
@click.option("--clear", is_flag=True, help="Remove every entry.")
def command(clear: bool) -> None:
    """Show the compiler cache: where it is, its entries and their size. Old entries go by themselves beyond 4 GiB."""
    cache = default_cache()
    entries = cache.entries()
    size = sum(entry.bytes for entry in entries)
    if clear:
        say(f"removed {counted(cache.clear(), 'entry', 'entries')}, {count(size)} B, from {cache.directory}")
    else:
        held = counted(len(entries), "entry", "entries")
        say(f"{cache.directory}: {held}, {count(size)} B of at most {count(MOST_BYTES)} B")
