"""Texts and programs from files, pipes and stdin, which may never end."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

STANDARD = "-"  # in place of a file: stdin, or stdout
TEXT_BYTES = 1 << 28  # more than the text of any network at any level
PROGRAM_BYTES = 1 << 24  # no encoded program is longer


def calls_itself(path: Path, suffix: str, first: bytes) -> bool:
    """Whether a file is of a kind by its name, or by its first bytes. Never waits: a pipe is only by its name."""
    if path.suffix == suffix:
        return True
    try:
        if not path.is_file():
            return False  # opening a pipe waits for who writes to it
        with open(path, "rb") as file:
            return file.read(len(first)) == first
    except (OSError, ValueError):
        return False


def read_at_most(path: Path, most: int) -> bytes:
    """All of a file, or of stdin for "-". Raises OSError, also where there is more."""
    if str(path) == STANDARD:
        data = sys.stdin.buffer.read(most + 1)
    else:
        size = path.stat().st_size if path.is_file() else most
        with path.open("rb") as file:
            data = file.read(min(size, most) + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"more than {most} bytes")
    return data
