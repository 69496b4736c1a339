"""Points measured by processes of this computer. One that dies takes nothing along: its point is measured again.

Each worker is a process that reads tasks and writes results (furc/sweep/worker.py), so that whose point it had is known
when it dies; a pool of concurrent.futures would only say that it is broken. A thread waits for each.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from furc.cache import ChangedError, this_furc
from furc.interrupts import heard
from furc.request import Request
from furc.sweep.grid import Point
from furc.sweep.measure import DIED, READY, Result, failed, measure
from furc.sweep.models import folder_for_models
from isa.errors import FurcError

WORKER = (sys.executable, "-P", "-m", "furc.sweep.worker")  # -P: not what lies in the current directory
ROOT = Path(__file__).resolve().parents[2]


def measured_here(points: Sequence[Point]) -> Generator[tuple[Point, Result], None, None]:
    """In this process, one after another."""
    with folder_for_models() as folder:
        for point in points:
            with heard():  # else a sweep goes on after Ctrl-C, with an error for this point
                result = measure(point.model.write(folder), point.request)
            yield point, result


def measured_by_processes(
    points: Sequence[Point], jobs: int, command: Sequence[str] | None = None
) -> Generator[tuple[Point, Result], None, None]:
    """As they are done. A point whose worker dies is measured once more, at the end and alone; then that is its result.

    Raises FurcError WorkerStart where no worker starts, ChangedError FurcChanged where one has other code.
    """
    died: list[Point] = []
    with folder_for_models() as folder:
        for todo, workers in ((points, min(jobs, len(points))), (died, 1)):
            with _Pool(workers, command or WORKER) as pool:
                for point, result in pool.run(list(todo), folder):
                    if isinstance(result, _Death) and todo is points:
                        died.append(point)
                    else:
                        yield point, failed(DIED, result.message) if isinstance(result, _Death) else result


class _Death(NamedTuple):
    """How a worker ended. code: as subprocess has it."""

    code: int

    @property
    def message(self) -> str:
        how = f"by signal {signal.Signals(-self.code).name}" if self.code < 0 else f"with exit code {self.code}"
        return f"the process that measured it ended {how}, twice; it may need more memory than there is"


class _Pool:
    """Workers, each started when there is a task for it, and all ended when this is left."""

    def __init__(self, jobs: int, command: Sequence[str]) -> None:
        self.jobs, self.command = jobs, command
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: list[_Worker] = []
        self._lock, self._closed = threading.Lock(), False

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.end()

    def run(self, points: list[Point], folder: Path) -> Iterator[tuple[Point, Result | _Death]]:
        if not points:
            return
        threads = ThreadPoolExecutor(self.jobs, "furc-sweep")
        try:
            asked = {threads.submit(self._measure, point, folder): point for point in points}
            for done in as_completed(asked):
                yield asked[done], done.result()
        finally:
            self._end()  # so that threads that wait for an answer get an end
            threads.shutdown(cancel_futures=True)

    def _measure(self, point: Point, folder: Path) -> Result | _Death:
        worker = self._taken()
        result = worker.ask(point.model.write(folder), point.request)
        if not isinstance(result, _Death):
            self._idle.put(worker)
        return result

    def _taken(self) -> _Worker:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            with self._lock:
                if self._closed:
                    raise FurcError("SweepStopped", "the sweep was stopped") from None
                self._all.append(_Worker(self.command))
                return self._all[-1]


class _Worker:
    """A process. One thread at a time talks to it."""

    def __init__(self, command: Sequence[str]) -> None:
        self._ready = False
        paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment,
                start_new_session=True,  # Ctrl-C is for this process, which ends its workers
            )  # fmt: skip
        except OSError as error:
            what = f"{command[0]}: {error.strerror or error}"
            raise FurcError("WorkerStart", what, hint="--jobs 1 needs no other process") from error

    def ask(self, model: Path, request: Request) -> Result | _Death:
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self._ready = self._ready or self._is_this_furc(pickle.load(self.process.stdout))
            pickle.dump((model, request), self.process.stdin)
            self.process.stdin.flush()
            result: Result = pickle.load(self.process.stdout)  # of our own child
            return result
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            code = self.process.wait()
            if not self._ready and code > 0:
                what = f"a process of the sweep ended at once, with exit code {code}"
                raise FurcError("WorkerStart", what, hint="python -m furc.sweep.worker says why") from None
            return _Death(code)

    @staticmethod
    def _is_this_furc(said: object) -> bool:
        """Whether a worker is one. Raises ChangedError where its code is another than this process has."""
        if isinstance(said, tuple) and said[:1] == (READY,) and said != (READY, this_furc()):
            what = "furc, or what it computes with, has changed since the sweep began"
            raise ChangedError("FurcChanged", what, hint="run the same command again: all points are measured anew")
        return said == (READY, this_furc())

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with suppress(OSError):  # what it was sent last may not have reached it
                if pipe is not None:
                    pipe.close()
