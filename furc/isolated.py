"""Work that may end the process, in a process of its own.

onnx's C++ is built with assertions: its shape inference aborts on models that its checker passes, such as a Slice of an
axis of -5. A fork costs some milliseconds and needs no second import; where there is none, the work is done here.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pickle
import select
import signal
import struct
import threading
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from furc.interrupts import undisturbed

SECONDS = 20.0  # the largest models of the zoo take one
MORE_BYTES = 8 << 30  # address space beyond what the caller has
MOST_FILES = 1 << 16  # that are looked for: systems without a limit say numbers that take minutes to go through
_BLOCK = 1 << 20
_LENGTH = struct.Struct("<Q")
_FORKING = threading.Lock()  # two threads would undo each other's gc.disable, and hold each other's pipes open


class Died(Exception):
    """The process ended without a result."""


def isolated(work: Callable[[], bytes], seconds: float = SECONDS) -> bytes:
    """What `work` returns. Raises what it raises, Died where it ends the process or does not end, and MemoryError where
    the system has no room for a process."""
    with Worker(lambda _: work(), seconds) as worker:
        return worker(b"work")


class Worker:
    """A process for much small work of one kind: a fork for each would take longer than the work.

    Where a piece of work ends the process, or does not end, that piece raises Died and the next gets another process.
    """

    def __init__(self, work: Callable[[bytes], bytes], seconds: float = SECONDS) -> None:
        self._work, self._seconds = work, seconds
        self._process: _Process | None = None

    def __enter__(self) -> Worker:
        return self

    def start(self, ready: Callable[[], object]) -> None:
        """Begin now, not with the first request: what makes the process ready for it is done meanwhile."""
        if hasattr(os, "fork"):
            self._process = _begun(self._work, ready)

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, request: bytes) -> bytes:
        """What `work` returns for a request. Raises what it raises, Died and MemoryError."""
        if not hasattr(os, "fork"):
            return self._work(request)
        if self._process is None:
            self._process = _begun(self._work)
        answer = self._process.ask(request, time.monotonic() + self._seconds)
        if not answer:
            self._end()
            raise Died("it ended the process")
        result: bytes | Exception = pickle.loads(answer)  # of our own child
        if isinstance(result, Exception):
            raise result
        return result

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process(NamedTuple):
    """A child, and the ends of its pipes."""

    number: int
    answers: int
    requests: int

    def ask(self, request: bytes, deadline: float) -> bytes:
        """Its answer; nothing where it ends, or takes too long."""
        try:
            _write(self.requests, request)
        except BrokenPipeError:
            return b""
        return _message(self.answers, deadline)

    def end(self) -> None:
        os.close(self.answers)
        os.close(self.requests)
        os.kill(self.number, signal.SIGKILL)
        os.waitpid(self.number, 0)


def _begun(work: Callable[[bytes], bytes], ready: Callable[[], object] = lambda: None) -> _Process:
    """The child, and not without somebody to end it: Ctrl-C waits until the fork is done, and ends the child then."""
    made: list[_Process] = []
    try:
        with _FORKING, undisturbed():
            made.append(_forked(work, ready))
        return made[0]
    except BaseException:
        for process in made:
            process.end()
        raise


def _forked(work: Callable[[bytes], bytes], ready: Callable[[], object]) -> _Process:
    requests, answers = os.pipe(), os.pipe()
    collects = gc.isenabled()
    gc.disable()  # in the child for good: a session of ONNX Runtime that it throws away waits for threads it lacks
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child takes no lock of theirs
            child = os.fork()
        if not child:
            _serve(work, ready, requests[0], answers[1])
    except OSError as error:  # of memory and numbers of processes; the child itself never gets here
        for pipe in (*requests, *answers):
            os.close(pipe)
        raise MemoryError(f"no process can be started: {error.strerror}") from error
    finally:
        if collects:
            gc.enable()
    os.close(requests[0])
    os.close(answers[1])
    return _Process(child, answers[0], requests[1])


def _serve(work: Callable[[bytes], bytes], ready: Callable[[], object], reader: int, writer: int) -> NoReturn:
    """The child, until its requests end. It touches nothing that the parent's other threads may hold."""
    try:
        _prepare(reader, writer)
        ready()
        while request := _message(reader):
            _write(writer, pickle.dumps(_outcome(work, request)))
    finally:
        os._exit(0)


def _prepare(*pipes: int) -> None:
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        if stream not in pipes:
            os.dup2(nowhere, stream)
    low = 3
    for pipe in sorted(pipes):  # all else is the parent's: its other children would not see its pipes end
        os.closerange(low, pipe)
        low = max(low, pipe + 1)
    os.closerange(low, MOST_FILES)
    _limit_memory()


def _outcome(work: Callable[[bytes], bytes], request: bytes) -> bytes | Exception:
    try:
        return work(request)
    except Exception as error:
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """The error itself where it survives the way, else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(str(error))
    return error


def _limit_memory() -> None:
    try:
        import resource  # here: not every system has it

        with open("/proc/self/statm", "rb") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + MORE_BYTES
        if hard == resource.RLIM_INFINITY or wanted < hard:
            resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    except (ImportError, OSError, ValueError):
        pass  # a system without such limits


def _write(pipe: int, message: bytes) -> None:
    data = memoryview(_LENGTH.pack(len(message)) + message)
    while data:
        data = data[os.write(pipe, data) :]


def _message(pipe: int, deadline: float | None = None) -> bytes:
    """One message; nothing where the other side ends, or takes too long."""
    head = _exactly(pipe, _LENGTH.size, deadline)
    return _exactly(pipe, _LENGTH.unpack(head)[0], deadline) if head else b""


def _exactly(pipe: int, size: int, deadline: float | None) -> bytes:
    parts, left = list[bytes](), size
    while left:
        if deadline is not None and not _readable(pipe, deadline):
            return b""
        part = os.read(pipe, min(left, _BLOCK))
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _readable(pipe: int, deadline: float) -> bool:
    """Something comes, or the end, before the deadline."""
    waiting = select.poll()  # select knows files up to number 1023 only
    waiting.register(pipe, select.POLLIN)
    return bool(waiting.poll(max(0.0, deadline - time.monotonic()) * 1e3))
