"""Ctrl-C where it would do harm, or get lost. Only the main thread gets signals: in others nothing is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C does what it does when this is left: a C++ module that it meets while it is imported ends the process, and
    in the hooks of a fork Python drops it, with a traceback."""
    with _noted(at_once=False):
        yield


@contextmanager
def heard() -> Iterator[None]:
    """Ctrl-C does what it does, and raises KeyboardInterrupt when this is left, whatever became of the first one.

    Libraries may drop it, as Python does in hooks, and furc forks to read a model (furc/isolated.py): the same Ctrl-C
    ends the child, and the work would have an error that is not its own.
    """
    with _noted(at_once=True) as came:
        try:
            yield
        finally:
            if came:
                raise KeyboardInterrupt


@contextmanager
def _noted(*, at_once: bool) -> Iterator[list[int]]:
    """A list that is filled when it comes. at_once: who handled it before does so then, else when this is left."""
    before, came = signal.getsignal(signal.SIGINT), list[int]()
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if at_once:
            before(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
        if came and not at_once:
            before(signal.SIGINT, None)
