"""Files are written under another name beside their target and renamed when they are whole. Who is killed meanwhile
leaves what it had written; the next writer removes it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".unfinished"
ABANDONED_SECONDS = 3600.0  # after which nobody can still be writing
_KEPT = 40  # characters of the target's name: file systems allow 255 bytes
_WRITER = re.compile(r"\.(\d{1,9})\.[0-9a-f]{8}\.unfinished")


def beside(target: Path) -> Path:
    """A name in the same directory that nothing has; it tells which process writes."""
    return target.with_name(f"{_start(target)}{os.getpid()}.{os.urandom(4).hex()}{SUFFIX}")


def remove_abandoned(target: Path) -> None:
    """What killed writers of a target left."""
    for path in left_in(target.parent):
        if path.name.startswith(_start(target)) and _WRITER.search(path.name) and is_abandoned(path):
            remove(path)


def left_in(folder: Path) -> Iterator[Path]:
    """All that is unfinished in a directory."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(SUFFIX))
    except OSError:
        return
    yield from (folder / name for name in names)


def is_abandoned(path: Path) -> bool:
    """Nobody can still be writing. Where another computer writes to a shared disk, it may: it then finds its file gone
    as if the disk were full."""
    writer = _WRITER.search(path.name)
    if writer is not None and not _is_running(int(writer[1])):
        return True
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def remove(path: Path) -> bool:
    """Whether it was there and is gone."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _start(target: Path) -> str:
    return f".{target.name[:_KEPT]}."


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # elsewhere os.kill would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True
