"""Points measured by the workers of a Dask cluster. Models go there by content; no worker needs the files.

A task that dies with its worker is Dask's to repeat elsewhere, which it gives up after some workers; each model is a
task too, whose argument is the content, so that the scheduler can give it to another worker.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Generator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from furc.cache import COMPUTING, ChangedError, this_furc
from furc.optional import needed
from furc.request import Request
from furc.sweep.grid import Point
from furc.sweep.measure import DIED, Result, failed, measure
from furc.sweep.models import ModelFiles
from isa.errors import ConfigError, FurcError, Loc, SourceError

CONNECT_SECONDS = 15.0
AHEAD = 8  # points that wait at each thread, so that none waits for us
_LOST = ("cancelled", "lost")
# What a worker says of itself and not of a point, with what to do; a result too, for its classes may be others.
_UNFIT = {
    "DifferentFurc": f"install the same versions of furc, {', '.join(COMPUTING)} on every worker",
    "FurcChanged": "start the workers again: they run the code of before",
    "NoRoomForModel": "set TMPDIR of the workers to a folder with room",
}
_WRITING = threading.Lock()


def measured_by_cluster(points: Sequence[Point], address: str) -> Generator[tuple[Point, Result], None, None]:
    """As they are done.

    Raises ConfigError MissingPackage, NoScheduler, and FurcError WorkerUnusable, DifferentFurc, FurcChanged,
    NoRoomForModel and ClusterLost.
    """
    distributed = needed("distributed", "sweep", "--scheduler")
    client = _connected(distributed, address)
    try:
        yield from _measured(distributed, client, points)
    finally:
        client.close()


def measure_sent(model: ModelFiles, request: Request, furc: str) -> Result:
    """On a worker. furc: `this_furc` of who asks, which must be the same there."""
    try:
        if furc != this_furc():
            return failed("DifferentFurc", "the furc of a worker, or what it computes with, is another one than here")
        with _WRITING:
            file = model.write(_folder())
    except (ChangedError, SourceError) as error:
        return failed(error.name, error.message)
    return measure(file, request)


def _connected(distributed: ModuleType, address: str) -> Any:
    try:
        host, port = distributed.comm.get_address_host_port(address)
        socket.create_connection((host, port), CONNECT_SECONDS).close()  # a client that fails tries on for a minute
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: of an address without a scheme that it knows
        what = f"no Dask scheduler answers: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise ConfigError(
            "NoScheduler", what, at=Loc(address), hint="start one with `dask scheduler`, or leave out --scheduler"
        ) from error


def _measured(
    distributed: ModuleType, client: Any, points: Sequence[Point]
) -> Generator[tuple[Point, Result], None, None]:
    models = {point.model.digest: _sent(client, point.model) for point in points}
    waiting = iter(points)
    asked: dict[Any, Point] = {}

    def ask(count: int) -> list[Any]:
        futures = []
        for point in islice(waiting, count):
            model = models[point.model.digest]
            key = f"furc-point-{point.key}"
            futures.append(client.submit(measure_sent, model, point.request, this_furc(), key=key))
            asked[futures[-1]] = point
        return futures

    threads = sum(client.nthreads().values())
    running = distributed.as_completed(ask(AHEAD * max(threads, 1)), loop=client.loop)
    for future in running:
        point = asked.pop(future)
        yield point, _result(distributed, future)
        running.update(ask(1))


def _sent(client: Any, model: ModelFiles) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # once a model, and so that it can be sent again
        return client.submit(_itself, model, key=f"furc-model-{model.digest}")


def _itself(model: ModelFiles) -> ModelFiles:
    return model


def _result(distributed: ModuleType, future: Any) -> Result:
    if future.status in _LOST:
        what = "the scheduler, or its memory of this sweep, is gone"
        raise FurcError("ClusterLost", what, hint="run the same command again: what is done is kept")
    if future.status == "error":
        error = future.exception()
        if isinstance(error, distributed.KilledWorker):
            return failed(DIED, "the workers that measured it ended; it may need more memory than there is")
        what = f"a worker cannot measure: {type(error).__name__}: {error}"
        raise FurcError("WorkerUnusable", what, hint="install this furc, and what it needs, on the workers")
    result: Result = future.result()
    status = str(result["status"])
    if status in _UNFIT:
        raise FurcError(status, str(result["message"]), hint=_UNFIT[status])
    return result


@cache
def _folder() -> Path:
    """Of this process, for models that were sent to it; goes with the process."""
    folder = tempfile.mkdtemp(prefix="furc-sweep-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
