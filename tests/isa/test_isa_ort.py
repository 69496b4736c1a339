"""Where the threads of ONNX Runtime's sessions run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from isa import ort

pytestmark = pytest.mark.skipif(
    not Path("/proc/thread-self").exists() or ort.cores() < 2, reason="takes two cores that the system tells of"
)


@pytest.fixture
def two() -> Iterator[ThreadPoolExecutor]:
    """A thread that may use two cores: what it is held to ends with it."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(os.sched_setaffinity, 0, _cores()).result()
        yield pool


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))[:2]


def _model() -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)])
    return bytes(model.SerializeToString())


def test_each_thread_but_the_callers_has_a_core_of_its_own(two: ThreadPoolExecutor) -> None:
    session = two.submit(ort.kernels, _model()).result()
    assert session.pinned == {_cores()[1]}


def test_fewer_threads_than_cores_go_where_the_system_puts_them(two: ThreadPoolExecutor) -> None:
    assert two.submit(lambda: ort.kernels(_model(), few=1)).result().pinned == frozenset()


def test_the_caller_may_run_everywhere_again(two: ThreadPoolExecutor) -> None:
    session = two.submit(ort.kernels, _model()).result()
    two.submit(session.step_aside).result()
    assert two.submit(_cores).result() == _cores()


def test_a_caller_that_may_use_no_other_core_stays(two: ThreadPoolExecutor) -> None:
    session = two.submit(ort.kernels, _model()).result()
    two.submit(os.sched_setaffinity, 0, session.pinned).result()
    two.submit(session.step_aside).result()
    assert two.submit(os.sched_getaffinity, 0).result() == session.pinned


def test_the_caller_leaves_the_core_of_a_thread(two: ThreadPoolExecutor) -> None:
    session, both = two.submit(ort.kernels, _model()).result(), _cores()

    def core() -> int:
        """That the caller is on, put to begin with on that of the session's thread, free to leave."""
        os.sched_setaffinity(0, session.pinned)
        os.sched_setaffinity(0, both)
        session.step_aside()
        return int(Path("/proc/thread-self/stat").read_text().rpartition(")")[2].split()[36])  # proc_pid_stat(5)

    assert two.submit(core).result() not in session.pinned
