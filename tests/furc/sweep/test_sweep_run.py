"""The same table by one process, by several and by a cluster, and after any of them was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import pytest
from distributed import LocalCluster

from furc.cache import own_sources, this_furc
from furc.profile_files import profile_file
from furc.request import Request
from furc.sweep import Grid, Sweep, sweep
from furc.sweep import cluster as by_cluster
from furc.sweep import run as running
from furc.sweep.files import csv_bytes, parquet_bytes
from furc.sweep.grid import points
from furc.sweep.measure import Result, failed
from furc.sweep.models import read_models
from furc.sweep.processes import measured_by_processes
from isa.errors import FurcError
from isa.npu import target, with_constants

ROOT = Path(__file__).resolve().parents[3]
GRID = Grid(
    targets=("warboy",), batches=(1, 3), vary={"num_slices": [2, 64], "instruction_memory_bytes": [1024, 65536]}
)
WORDS = ("--target-npu", "warboy", "-b", 1, "-b", 3, "--vary", "num_slices=2,64", "--vary",
         "instruction_memory_bytes=1024,65536")  # fmt: skip
# A worker that ends itself at points of a batch of 3: only the first time, or, where that file exists, always.
DEADLY = """
import os, pathlib, signal, sys
import furc.sweep.worker as worker
real = worker.measure
def measure(model, request):
    if request.batch == 3 and (pathlib.Path("always").exists() or not pathlib.Path("died").exists()):
        pathlib.Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, request)
worker.measure = measure
worker.main()
"""


@pytest.fixture(scope="module")
def wanted(model: Path) -> Sweep:
    return sweep([model], GRID, jobs=1)


@pytest.fixture(scope="module")
def dask() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


def same(one: Sweep, other: Sweep) -> None:
    assert csv_bytes(one) == csv_bytes(other)
    assert parquet_bytes(one) == parquet_bytes(other)


def test_a_point_that_is_infeasible_is_a_row(wanted: Sweep) -> None:
    statuses = [(row.constants["instruction_memory_bytes"], row.status) for row in wanted.rows]
    assert statuses == [(1024, "InsufficientInstructionMemory"), (65536, "ok")] * 4, statuses
    assert all(bool(row.message) != row.ok for row in wanted.rows)
    assert wanted.rows[1].figures["latency_ms"] > wanted.rows[3].figures["latency_ms"] > 0


def test_a_point_is_what_furc_profile_says_of_it(model: Path) -> None:
    """Where SRAM is scarce operators go to the host, as they do in a compile."""
    grid = Grid(targets=("warboy",), vary={"sram_bytes_per_slice": [192, 256]})
    for row in sweep([model], grid, jobs=1).rows:
        npu = with_constants(target("warboy"), row.constants)
        assert row.figures["latency_ms"] == round(profile_file(model, Request(on=npu, cache=False)).latency_ms, 6)


def test_processes_give_the_same(model: Path, wanted: Sweep) -> None:
    same(sweep([model], GRID, jobs=2), wanted)


def test_a_cluster_gives_the_same(model: Path, wanted: Sweep, dask: LocalCluster) -> None:
    same(sweep([model], GRID, scheduler=dask.scheduler_address), wanted)


def test_what_is_measured_is_not_measured_again(model: Path, wanted: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    half = Grid(targets=GRID.targets, batches=(3,), vary=GRID.vary)
    sweep([model], half, Path(), jobs=1)
    told: list[tuple[str, int, int | None]] = []
    found = sweep([model], GRID, Path(), jobs=1, progress=lambda *now: told.append(now))
    assert found.reused == 4 and told == [("points", n, 8) for n in range(4, 9)]
    same(found, wanted)
    monkeypatch.setattr(running, "_measured", lambda missing, *_: pytest.fail("measured") if missing else iter_none())
    same(sweep([model], GRID, Path()), wanted)


def iter_none() -> Iterator[Any]:
    yield from ()


def test_a_model_that_changed_is_not_the_old_one(model: Path) -> None:
    grid = Grid(targets=("warboy",))
    Path("m.onnx").write_bytes(model.read_bytes())
    before = sweep(["m.onnx"], grid, Path(), jobs=1)
    proto = onnx.load("m.onnx")
    del proto.graph.node[-1], proto.graph.output[:]
    proto.graph.output.append(onnx.ValueInfoProto(name=proto.graph.node[-1].output[0]))
    Path("m.onnx").write_bytes(proto.SerializeToString())
    after = sweep(["m.onnx"], grid, Path(), jobs=1)
    assert after.reused == 0 and after.rows != before.rows


def test_a_model_that_is_none_is_rows_with_its_error(model: Path) -> None:
    Path("bad.onnx").write_bytes(b"nothing")
    found = sweep(["bad.onnx", model], Grid(batches=(1, 2)), jobs=1)
    assert [row.status for row in found.rows] == ["NotOnnx", "NotOnnx", "ok", "ok"]
    assert "/tmp" not in found.rows[0].message


class TestKilled:
    @pytest.mark.parametrize("jobs", [1, 2])
    def test_the_sweep_goes_on_where_it_was(self, model: Path, wanted: Sweep, jobs: int) -> None:
        Path("out").mkdir()
        words = [sys.executable, "-m", "furc", "sweep", model, *WORDS, "--jobs", jobs, "-o", "out"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([str(w) for w in words], env=environment, stderr=subprocess.DEVNULL, text=True)
        journal = Path("out/journal.jsonl")
        until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
        process.wait()
        assert not Path("out/sweep.csv").exists()
        until(lambda: not any(is_running(int(child)) for child in children))  # they end with what began them
        found = sweep([model], GRID, "out", jobs=1)
        assert found.reused >= 2
        same(found, wanted)

    def test_a_worker_takes_nothing_along(self, model: Path, wanted: Sweep) -> None:
        todo = points(read_models([model]), GRID)
        found = {point.key: result for point, result in measured_by_processes(todo, 2, deadly())}
        assert Path("died").exists() and set(found) == {point.key for point in todo}
        assert [found[point.key]["status"] for point in todo] == [row.status for row in wanted.rows]

    def test_a_point_that_kills_twice_is_a_row_and_is_tried_again_next_time(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("always").touch()
        monkeypatch.setattr("furc.sweep.processes.WORKER", deadly())
        grid = Grid(targets=("warboy",), batches=(1, 3))
        found = sweep([model], grid, Path(), jobs=2)
        assert [row.status for row in found.rows] == ["ok", "WorkerDied"]
        assert "SIGKILL" in found.rows[1].message
        Path("always").unlink()
        again = sweep([model], grid, Path(), jobs=2)
        assert again.reused == 1 and all(row.ok for row in again.rows)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_that_is_lost_on_the_way_ends_the_sweep(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*_: object) -> Result:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return failed("NotOnnx", "as it looks when a child was ended too")

    monkeypatch.setattr("furc.sweep.processes.measure", measure)
    with pytest.raises(KeyboardInterrupt):
        sweep([model], GRID, Path(), jobs=1)
    assert Path("journal.jsonl").read_bytes().count(b"\n") == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def deadly() -> tuple[str, ...]:
    return (sys.executable, "-P", "-c", DEADLY)


def until(condition: Any, seconds: float = 60.0) -> None:
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.01)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestCannotBegin:
    def test_workers_that_do_not_start(self, model: Path) -> None:
        todo = points(read_models([model]), GRID)
        for command in ((sys.executable, "-c", "raise SystemExit(3)"), ("/no/such/python",)):
            with pytest.raises(FurcError, match="WorkerStart") as caught:
                list(measured_by_processes(todo, 2, command))
            assert caught.value.hint

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_no_place_for_copies_of_models(self, model: Path, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on a file system that is read-only as a whole."""
        monkeypatch.setattr(tempfile, "tempdir", "/dev/null")
        with pytest.raises(FurcError, match="NoRoomForModel") as caught:
            sweep([model], GRID, jobs=jobs)
        assert "TMPDIR" in caught.value.hint

    @pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nowhere", "foo://x:1", ""])
    def test_a_scheduler_that_is_not_there(self, model: Path, address: str) -> None:
        with pytest.raises(FurcError, match="NoScheduler") as caught:
            sweep([model], GRID, scheduler=address)
        assert "--scheduler" in caught.value.hint

    def test_a_process_with_another_furc(self, model: Path) -> None:
        script = "import furc.sweep.worker as worker\nworker.this_furc = lambda: 'another'\nworker.main()"
        with pytest.raises(FurcError, match="FurcChanged") as caught:
            list(measured_by_processes(points(read_models([model]), GRID), 2, [sys.executable, "-c", script]))
        assert "since the sweep began" in caught.value.message

    def test_a_worker_with_another_furc(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        [read] = read_models([model])
        [point] = points([read], Grid(targets=("warboy",)))
        here = this_furc()
        assert by_cluster.measure_sent(read, point.request, "another")["status"] == "DifferentFurc"
        assert by_cluster.measure_sent(read, point.request, here)["status"] == "ok"
        monkeypatch.setattr("furc.cache.version", lambda name: "99" if name == "onnx" else version(name))
        assert by_cluster.measure_sent(read, point.request, here)["status"] == "DifferentFurc"

    def test_a_worker_beside_an_upgrade(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """That it runs older code than its files hold is told as all that it says of itself, as a result."""
        [read] = read_models([model])
        [point] = points([read], Grid(targets=("warboy",)))
        here = this_furc()
        monkeypatch.setattr("furc.cache._IMPORTED", 0.0)
        own_sources.cache_clear()
        assert by_cluster.measure_sent(read, point.request, here)["status"] == "FurcChanged"

    def test_a_worker_without_room(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        [read] = read_models([model])
        [point] = points([read], Grid(targets=("warboy",)))
        monkeypatch.setattr(by_cluster, "_folder", lambda: Path("/dev/null"))
        found = by_cluster.measure_sent(read, point.request, this_furc())
        assert found["status"] == "NoRoomForModel" and "/dev/null" in str(found["message"])


def test_a_defect_of_furc_is_a_row_too(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("furc.sweep.measure.profile_file", lambda *_: 1 / 0)
    [row] = sweep([model], Grid(targets=("warboy",)), jobs=1).rows
    assert row.status == "InternalError" and "ZeroDivisionError" in row.message and "report it" in row.message
