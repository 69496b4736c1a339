"""What every command shares: how it is declared, and how an error reaches the user. Nothing else renders errors."""

from __future__ import annotations

import difflib
import errno
import functools
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from furc.cli.display import say
from furc.interrupts import undisturbed
from isa.errors import FurcError

EXIT_USER, EXIT_INTERNAL = 1, 70  # usage errors: click's 2
REPORT = "internal error, please report it with the command line and `furc --version`"
MORE_MEMORY = "use a smaller model or batch, or a computer with more memory"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # of stdout: files have errors of their own
MORE_ROOM = "what takes the output is full; write it somewhere else"
SETTINGS = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 110}
_DEBUG = "furc.debug"


class Command(click.Command):
    """A command that also takes --debug."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(debug_option())


class Entry(NamedTuple):
    """A command that is not imported yet: the module that has it, and its line in the list of all."""

    module: str
    short_help: str


class LazyGroup(click.Group):
    """The group of all commands: imports the one that is used, in the order that it lists them. Errors end here."""

    def __init__(self, *args: Any, entries: Mapping[str, Entry], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.entries:
            return None
        with undisturbed():
            found: click.Command = import_module(self.entries[cmd_name].module).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.entries and not ctx.resilient_parsing:
            near = difflib.get_close_matches(args[0], self.entries, 1)
            if near:
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.short_help) for name, entry in self.entries.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [(name, entry.short_help) for name, entry in self.entries.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=text) for name, text in found] + click.Command.shell_complete(
            self, ctx, incomplete
        )

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except FurcError as error:
            if ctx.meta.get(_DEBUG):
                say(traceback.format_exc(), err=True)
            click.echo(str(error), err=True)
            ctx.exit(EXIT_USER)
        except MemoryError as error:
            if ctx.meta.get(_DEBUG):
                say(traceback.format_exc(), err=True)
            say(f"error[OutOfMemory]: {_one_line(error)}\n  hint: {MORE_MEMORY}", err=True)
            ctx.exit(EXIT_USER)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # whoever read our output has left; click ends quietly
            if is_full_stdout(error):
                say_full_stdout(error)
                ctx.exit(EXIT_USER)
            say(traceback.format_exc() if ctx.meta.get(_DEBUG) else _one_line(error), err=True)
            click.echo(REPORT if ctx.meta.get(_DEBUG) else f"{REPORT}; --debug shows where", err=True)
            ctx.exit(EXIT_INTERNAL)


def is_full_stdout(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in NO_ROOM and error.filename is None


def say_full_stdout(error: BaseException) -> None:
    assert isinstance(error, OSError)
    say(f"error[OutputUnwritable]: {error.strerror}\n  hint: {MORE_ROOM}", err=True)


def debug_option() -> click.Option:
    """--debug, of the group and of every command."""
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_remember,
        help="Show a traceback where something goes wrong.",
    )


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a furc command."""
    make = functools.partial(click.command, cls=Command, context_settings=SETTINGS)
    declared: Callable[[Callable[..., Any]], click.Command] = make(name, **attributes)
    return declared


def _remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.meta[_DEBUG] = True


def _one_line(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__
