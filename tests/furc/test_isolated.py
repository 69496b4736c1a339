"""Work in a process of its own: its result, its errors, and its end."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from furc.isolated import Died, Worker, isolated


def test_the_result_comes_back_whole() -> None:
    assert isolated(lambda: bytes(3_000_000)) == bytes(3_000_000)


def test_an_error_comes_back_as_itself() -> None:
    with pytest.raises(ZeroDivisionError):
        isolated(lambda: bytes(1 // 0))


def test_an_abort_is_survived() -> None:
    def abort() -> bytes:
        os.abort()

    with pytest.raises(Died):
        isolated(abort)


def test_what_does_not_end_is_ended() -> None:
    def sleep() -> bytes:
        time.sleep(60)
        return b""

    start = time.monotonic()
    with pytest.raises(Died):
        isolated(sleep, seconds=0.2)
    assert time.monotonic() - start < 5


def test_the_shape_inference_that_aborts_is_survived() -> None:
    """onnx's own, of a Slice of an axis of -5: std::clamp with its bounds the wrong way round."""
    ends = [numpy_helper.from_array(np.array([v]), name) for name, v in (("s", 0), ("e", 3), ("a", 1))]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, -5, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])], "g", [x], [y], ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    with contextlib.suppress(Died):  # a later onnx may do better
        isolated(lambda: bytes(onnx.shape_inference.infer_shapes(model).SerializeToString()))


def test_threads_that_fork_at_once_do_not_disturb_each_other() -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: isolated(lambda: bytes([i]) * 1000), range(40)))
    assert results == [bytes([i]) * 1000 for i in range(40)] and gc.isenabled()


def test_ctrl_c_in_the_hooks_of_a_fork_is_not_lost_and_leaves_no_child() -> None:
    """Python drops what its own hooks, of logging among others, do not expect."""
    script = "import os, signal\nfrom furc.isolated import isolated\n"
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
    script += "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))\n"
    script += "try: isolated(lambda: b'x')\nexcept KeyboardInterrupt: print('interrupted')\n"
    script += "try: os.waitpid(-1, os.WNOHANG)\nexcept ChildProcessError: print('alone')\n"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("interrupted\nalone\n", "")


def test_where_no_process_starts_memory_is_short_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    files = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", no_room)
    with pytest.raises(MemoryError, match="no process can be started: Cannot allocate memory"):
        isolated(lambda: b"")
    assert gc.isenabled() and len(os.listdir("/proc/self/fd")) == files


def work(request: bytes) -> bytes:
    match request:
        case b"abort":
            os.abort()
        case b"sleep":
            time.sleep(60)
        case b"fail":
            raise ZeroDivisionError
    return str(os.getpid()).encode() + request


def test_a_worker_does_many_things_in_one_process() -> None:
    with Worker(work) as worker:
        answers = {worker(bytes(size)).rstrip(bytes(1)) for size in (1, 10, 3_000_000)}
        assert len(answers) == 1 and answers != {str(os.getpid()).encode()}
        with pytest.raises(ZeroDivisionError):
            worker(b"fail")
        assert {worker(b"\0").rstrip(b"\0")} == answers


def test_a_worker_that_is_started_gets_ready_before_it_is_asked(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with Worker(lambda request: request + bytes(ready.exists())) as worker:
        worker.start(ready.touch)
        deadline = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ready.exists()
        assert worker(b"x") == b"x" + bytes(1)


def test_a_worker_that_does_not_get_ready_has_died() -> None:
    with Worker(work) as worker:
        worker.start(os.abort)
        with pytest.raises(Died):
            worker(b"x")
        assert worker(b"x").endswith(b"x")  # another one


@pytest.mark.parametrize("what", [b"abort", b"sleep"])
def test_a_worker_that_dies_is_followed_by_another(what: bytes) -> None:
    with Worker(work, seconds=0.5) as worker:
        before = worker(b"\0")
        with pytest.raises(Died):
            worker(what)
        assert worker(b"\0") != before


def test_a_worker_leaves_no_process_and_no_file_open() -> None:
    files = len(os.listdir("/proc/self/fd"))
    with Worker(work) as worker:
        process = int(worker(b"\0").rstrip(b"\0"))
    assert not os.path.exists(f"/proc/{process}") and len(os.listdir("/proc/self/fd")) == files


def test_no_worker_outlives_a_process_that_is_killed() -> None:
    """Two of them, the younger with the pipes of the older one: neither would see its requests end."""
    script = "import os, signal, time\nfrom furc.isolated import Worker\n"
    script += "a, b = (Worker(lambda _: str(os.getpid()).encode()) for _ in 'ab')\n"
    script += "print(a(b'x').decode(), b(b'x').decode(), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    workers = result.stdout.split()
    assert len(workers) == 2 and result.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while any(map(runs, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(runs, workers))


def runs(process: str) -> bool:
    """Not ended, though its entry may be left where nobody asks for its exit code."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
