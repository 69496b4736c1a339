"""Text on the user's terminal: rich where there is one, the same words as plain stable lines where there is none.

Everything that a command prints goes through here: names come from models, and a terminal obeys what it is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.reading import STANDARD
from furc.report.tables import Table, plain
from furc.report.terminal import drawn
from isa.errors import ConfigError, printable

if TYPE_CHECKING:
    from furc.output import Kind, Outputs


def on_terminal(*, err: bool) -> bool:
    """True where people watch the stream."""
    return (sys.stderr if err else sys.stdout).isatty()


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """A text as it is, but for control characters, which are escaped."""
    click.echo(printable(text, keep="\n\t") + end, nl=False, err=err)


def show(table: Table, *, err: bool = False) -> None:
    """A table and an empty line."""
    if on_terminal(err=err):
        from rich.console import Console  # here: most runs have no terminal, and rich takes a tenth of a second

        console = Console(stderr=err)
        shown = drawn(table, console.width)
        console.print(shown)
        if shown.caption:
            console.print()  # rich ends a table with an empty line, but not a caption
    else:
        say(plain(table), err=err)


def say_named(text: Callable[[], str], argument: str) -> None:
    """A text about something that the user names. A name that nothing has is a wrong usage."""
    try:
        say(text(), end="")
    except ConfigError as error:
        raise click.BadParameter(error.message, param_hint=f"'{argument}'") from error


def write_text(outputs: Outputs, path: Path | None, kind: Kind, text: Callable[[], str]) -> None:
    """One text: to a file, or to stdout where there is none or it is "-"."""
    if path is None or str(path) == STANDARD:
        click.echo(text(), nl=False)  # as it is: it may be read by a program
        return
    outputs.check(path, kind)
    outputs.add(path, text(), kind)
    outputs.write()
    saved(path)


def saved(path: Path, more: str = "") -> None:
    """What was written."""
    say(f"The output has been saved to {path}{more}", err=True)
