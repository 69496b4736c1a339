"""Files that a command writes: all of them or none, each whole or as it was before."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import click

from isa.errors import FurcError, Loc

STDOUT = "-"


class OutputError(FurcError):
    """A file cannot be written."""


@dataclass(slots=True)
class Outputs:
    """What a command has made so far; nothing reaches the disk before `write`."""

    sources: tuple[Path, ...] = ()
    contents: dict[Path, bytes] = field(default_factory=dict)

    def add(self, path: Path, content: bytes | str) -> None:
        """Raises OutputError as `check`, and where another output has the path."""
        self.check(path)
        if path in self.contents:
            raise OutputError(
                "OutputTwice", "two outputs have this name", at=Loc(str(path)), hint="give each its own name"
            )
        self.contents[path] = content.encode() if isinstance(content, str) else content

    def check(self, *paths: Path | None) -> None:
        """Commands ask before they work. Raises OutputError where a path is an input, or cannot be written."""
        for path in paths:
            if path is not None:
                self._check(path)

    def _check(self, path: Path) -> None:
        at = Loc(str(path))
        if any(_same(path, source) for source in self.sources):
            raise OutputError("OutputIsInput", "this would overwrite what is read", at=at, hint="give another name")
        if path.is_dir():
            raise OutputError("OutputUnwritable", "this is a directory", at=at, hint="give the name of a file")
        if not path.parent.is_dir():
            raise OutputError("OutputUnwritable", "its directory does not exist", at=at, hint=f"mkdir {path.parent}")

    def write(self) -> None:
        """Every file under a temporary name first, then all renamed. Raises OutputError."""
        waiting: list[tuple[Path, Path]] = []
        try:
            for path, content in self.contents.items():
                waiting += _prepared(path, content)
            for beside, path in waiting:
                beside.replace(path)
        except (OSError, ValueError) as error:
            what = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise OutputError("OutputUnwritable", what, at=Loc(str(path))) from error
        finally:
            for beside, _ in waiting:
                beside.unlink(missing_ok=True)


def write_text(path: Path | None, text: str, sources: tuple[Path, ...] = ()) -> None:
    """One text: to a file, or to stdout where there is none or it is "-"."""
    if path is None or str(path) == STDOUT:
        click.echo(text, nl=False)
        return
    outputs = Outputs(sources)
    outputs.add(path, text)
    outputs.write()


def _prepared(path: Path, content: bytes) -> list[tuple[Path, Path]]:
    """Write beside the target; a pipe or a device cannot be replaced and is written at once."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return []
    beside = target.with_name(f".{target.name[:100]}.{os.urandom(4).hex()}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return [(beside, target)]


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False
