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
import threading
import time
import warnings
from collections.abc import Callable
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
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        _limit_memory()
        try:
            result: bytes | Exception = work()
        except Exception as error:
            result = _portable(error)
        data = memoryview(pickle.dumps(result))
        while data:
            data = data[os.write(writer, data) :]
    finally:
        os._exit(0)


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
