"""furc bench: latency and throughput on the modelled device, and how fast the model of it runs here."""

from __future__ import annotations

import json
from pathlib import Path

import click

from furc.bench import WORKLOADS, bench
from furc.cli.command import command as declare
from furc.cli.display import say
from furc.cli.request import FILE, for_models, force_option, takes_request
from furc.output import JSON, Outputs
from furc.request import Request


@declare("bench", short_help="Latency and throughput of the device, speed of the simulator.")
@click.argument("model", type=FILE)
@click.option("-n", "--queries", type=click.IntRange(min=1), default=10, metavar="N", help="Runs on this computer.")
@click.option("--workload", type=click.Choice(tuple(WORKLOADS)), default="L",
              help="L: one query at a time. T: the host prepares the next while the NPU has this one.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the random data.")
@click.option("-o", "--output", type=FILE, metavar="FILE.json", help="Write the numbers as JSON.")
@takes_request
@force_option
def command(
    request: Request, model: Path, queries: int, workload: str, seed: int, output: Path | None, force: bool
) -> None:
    """Benchmark MODEL, an ENF or a model that is compiled first.

    Queries per second and latency are those of the modelled device, which takes the same time for every query; the
    simulator's own speed on this computer is given beside them.
    """
    for_models(request, model)
    outputs = Outputs((model,), force)
    outputs.check(output, JSON)
    result = bench(model, request, queries=queries, workload=workload, seed=seed)
    if output is not None:
        outputs.add(output, json.dumps(result.to_json(), indent=1) + "\n", JSON)
    outputs.write()
    say(result.to_text(), end="")
