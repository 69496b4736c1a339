"""How long work says what it is at."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]  # what is done, how many are done, of how many if that is known


def silent(what: str, done: int, total: int | None) -> None:
    """For who does not ask."""
