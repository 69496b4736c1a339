"""The files of a data folder: all of them, or an error, since a figure over a part of the data looks like any other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from isa.errors import Loc, SourceError


def files_below(folder: Path) -> list[Path]:
    """Every file in a folder and those below, in order of names.

    Links to folders are followed: data sets are put together of them. Not those that lead back to a folder they are in.
    Raises SourceError FolderUnreadable.
    """
    return sorted(_files(folder, frozenset()))


def _files(folder: Path, above: frozenset[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = [(folder / entry.name, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise SourceError(
            "FolderUnreadable", error.strerror or str(error), at=Loc(str(folder)),
            hint="make it readable, or take it out of the data",
        ) from error  # fmt: skip
    for path, is_folder in found:
        if is_folder:
            yield from _files(path, above | {real})
        else:
            yield path
