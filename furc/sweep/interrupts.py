"""Ctrl-C while a point is measured in this process ends the sweep, whatever becomes of the exception.

Libraries may drop a KeyboardInterrupt, as Python does in hooks, and furc forks to read a model (furc/isolated.py): the
same Ctrl-C ends the child, and the point would have an error that is not its own.
"""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType


class Interrupts(AbstractContextManager["Interrupts"]):
    """Raises KeyboardInterrupt when it is left, if there was one. Outside the main thread there is none."""

    def __enter__(self) -> Interrupts:
        self.came, self._before = False, signal.getsignal(signal.SIGINT)
        self._takes = callable(self._before) and threading.current_thread() is threading.main_thread()
        if self._takes:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._takes:
            signal.signal(signal.SIGINT, self._before)
        if self.came:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        if callable(self._before):
            self._before(number, frame)
