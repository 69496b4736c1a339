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
from functools import partial
from typing import NoReturn, TypeVar

T = TypeVar("T")
SECONDS = 20.0  # the largest models of the zoo take one
MORE_BYTES = 8 << 30  # address space beyond what the caller has
_BLOCK = 1 << 20
_FORKING = threading.Lock()  # two threads would undo each other's gc.disable


class Died(Exception):
    """The process ended without a result."""


def isolated(work: Callable[[], bytes], seconds: float = SECONDS) -> bytes:
    """What `work` returns. Raises what it raises, and Died where it ends the process or does not end."""
    if not hasattr(os, "fork"):
        return work()
    reader, writer = os.pipe()
    child = _fork()
    if not child:
        os.close(reader)
        _work(work, writer)
    os.close(writer)
    try:
        data = _received(reader, time.monotonic() + seconds)
    finally:
        os.close(reader)
        if _is_running(child):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if not data:
        raise Died("it ended the process")
    result: bytes | Exception = pickle.loads(data)  # of our own child
    if isinstance(result, Exception):
        raise result
    return result


def _fork() -> int:
    with _FORKING:
        parent, collects = os.getpid(), gc.isenabled()
        gc.disable()  # in the child for good: a session of ONNX Runtime that it throws away waits for threads it lacks
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child takes no lock of theirs
                return os.fork()
        finally:
            if collects and os.getpid() == parent:
                gc.enable()


def _work(work: Callable[[], bytes], writer: int) -> NoReturn:
    """The child: it touches nothing that the parent's other threads may hold, and never returns."""
    try:
        _prepare()
        _write(writer, pickle.dumps(_outcome(work)))
    finally:
        os._exit(0)


def _prepare() -> None:
    faulthandler.disable()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _limit_memory()


def _outcome(work: Callable[[], bytes]) -> bytes | Exception:
    try:
        return work()
    except Exception as error:
        return _portable(error)


def _write(writer: int, content: bytes) -> None:
    data = memoryview(content)
    while data:
        data = data[os.write(writer, data) :]


class Worker:
    """A process for much small work of one kind: a fork for each would take longer than the work.

    Where a piece of work ends the process, or does not end, that piece raises Died and the next gets another process.
    """

    def __init__(self, work: Callable[[bytes], bytes], seconds: float = SECONDS) -> None:
        self._do, self._seconds = work, seconds
        self._child, self._reader, self._writer = 0, -1, -1

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def __call__(self, request: bytes) -> bytes:
        """What `work` returns for a request. Raises what it raises, and Died."""
        if not hasattr(os, "fork"):
            return self._do(request)
        if not self._child:
            self._begin()
        try:
            _write(self._writer, _LENGTH.pack(len(request)) + request)
            answer = _message(self._reader, time.monotonic() + self._seconds)
        except BrokenPipeError:
            answer = b""
        if not answer:
            self._end()
            raise Died("it ended the process")
        result: bytes | Exception = pickle.loads(answer)  # of our own child
        if isinstance(result, Exception):
            raise result
        return result

    def _begin(self) -> None:
        requests, answers = os.pipe(), os.pipe()
        self._child = _fork()
        if not self._child:
            os.close(requests[1])
            os.close(answers[0])
            _serve(self._do, requests[0], answers[1])
        os.close(requests[0])
        os.close(answers[1])
        self._reader, self._writer = answers[0], requests[1]

    def _end(self) -> None:
        if self._child:
            os.close(self._reader)
            os.close(self._writer)
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
            self._child = 0


_LENGTH = struct.Struct("<Q")


def _serve(work: Callable[[bytes], bytes], reader: int, writer: int) -> NoReturn:
    """The child, until its requests end."""
    try:
        _prepare()
        while request := _message(reader):
            answer = pickle.dumps(_outcome(partial(work, request)))
            _write(writer, _LENGTH.pack(len(answer)) + answer)
    finally:
        os._exit(0)


def _message(reader: int, deadline: float | None = None) -> bytes:
    """One message; nothing where the other side ends, or takes too long."""
    head = _exactly(reader, _LENGTH.size, deadline)
    return _exactly(reader, _LENGTH.unpack(head)[0], deadline) if head else b""


def _exactly(reader: int, size: int, deadline: float | None) -> bytes:
    parts, left = list[bytes](), size
    while left:
        if deadline is not None and not select.select([reader], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return b""
        part = os.read(reader, min(left, _BLOCK))
        if not part:
            return b""
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


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


def _received(reader: int, deadline: float) -> bytes:
    """All the child sends; nothing where it takes too long."""
    parts: list[bytes] = []
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return b""
        part = os.read(reader, _BLOCK)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _is_running(child: int) -> bool:
    """False once it is gone; then it is reaped."""
    for _ in range(50):
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.001)
    return True
