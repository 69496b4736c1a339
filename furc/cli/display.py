"""Text on the user's terminal: rich where there is one, the same words as plain stable lines where there is none."""

from __future__ import annotations

import sys

import click

from furc.report.tables import Table, drawn, plain


def on_terminal(*, err: bool) -> bool:
    """True where people watch the stream."""
    return (sys.stderr if err else sys.stdout).isatty()


def show(table: Table, *, err: bool = False) -> None:
    """A table and an empty line."""
    if on_terminal(err=err):
        from rich.console import Console

        Console(stderr=err).print(drawn(table))
    else:
        click.echo(plain(table), err=err)
