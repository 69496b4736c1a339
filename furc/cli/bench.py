"""furc bench: latency and throughput on the modelled device, and how fast the model of it runs here."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, Request, takes_request

if TYPE_CHECKING:
    from furc.report.profile import Profile
    from furc.runtime.session import Array, Session

WORKLOADS = {"L": "latency", "T": "throughput"}


@declare("bench", short_help="Latency and throughput of the device, speed of the simulator.")
@click.argument("model", type=FILE)
@click.option("-n", "--queries", type=click.IntRange(min=1), default=10, metavar="N", help="Runs on this computer.")
@click.option("--workload", type=click.Choice(tuple(WORKLOADS)), default="L",
              help="L: one query at a time. T: the host prepares the next while the NPU has this one.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the random data.")
@click.option("-o", "--output", type=FILE, metavar="FILE.json", help="Write the numbers as JSON.")
@takes_request
def command(request: Request, model: Path, queries: int, workload: str, seed: int, output: Path | None) -> None:
    """Benchmark MODEL, an ENF or a model that is compiled first.

    Queries per second and latency are those of the modelled device, which takes the same time for every query; the
    simulator's own speed on this computer is given beside them.
    """
    from furc.cli.output import Outputs
    from furc.cli.profile import profile_of
    from furc.runtime.session import Session, random_inputs

    measured = profile_of(model, request)
    recorded = measured.recorded
    session = Session(recorded.enf, npu=recorded.npu)
    feeds = random_inputs(recorded.enf, seed)
    session.run(feeds)  # kernels are prepared at the first run
    seconds = [_timed(session, feeds) for _ in range(queries)]
    result = _result(measured, workload, seconds)
    outputs = Outputs((model,))
    if output is not None:
        outputs.add(output, json.dumps(result, indent=1) + "\n")
    outputs.write()
    _print(measured, result)


def _timed(session: Session, feeds: dict[str, Array]) -> float:
    begin = time.perf_counter()
    session.run(feeds)
    return time.perf_counter() - begin


def _result(measured: Profile, workload: str, seconds: list[float]) -> dict[str, object]:
    """Every number with its unit in the key."""
    period = measured.latency_ms if workload == "L" else max(measured.npu_ms, measured.host_ms)
    ordered = sorted(1e3 * s for s in seconds)
    return {
        "model": measured.model,
        "target": measured.target,
        "batch": measured.batch,
        "workload": WORKLOADS[workload],
        "queries_per_second": round(1e3 / period, 3) if period else 0.0,
        "images_per_second": round(1e3 * measured.batch / period, 3) if period else 0.0,
        "latency_ms": round(measured.latency_ms, 6),
        "npu_ms": round(measured.npu_ms, 6),
        "host_ms": round(measured.host_ms, 6),
        "simulator": {
            "queries": len(ordered),
            "min_ms": round(ordered[0], 3),
            "median_ms": round(ordered[len(ordered) // 2], 3),
            "mean_ms": round(sum(ordered) / len(ordered), 3),
            "max_ms": round(ordered[-1], 3),
        },
    }


def _print(measured: Profile, result: dict[str, object]) -> None:
    own = result["simulator"]
    assert isinstance(own, dict)
    click.echo(f"This benchmark was modelled with {result['workload']}-workload: {measured.model} on "
               f"{measured.target}, batch {measured.batch}")  # fmt: skip
    click.echo(f"{result['queries_per_second']} queries per second, {result['images_per_second']} images per second")
    click.echo(f"latency {result['latency_ms']} ms: NPU {result['npu_ms']} ms, host {result['host_ms']} ms")
    click.echo(f"simulator on this computer, {own['queries']} queries: median {own['median_ms']} ms, "
               f"min {own['min_ms']} ms, max {own['max_ms']} ms")  # fmt: skip
