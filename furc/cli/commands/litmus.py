"""furc litmus: does a float model make it all the way? Optimize, quantize, compile, run once."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, say
from furc.cli.leaving import warn_of_model
from furc.cli.request import FILE, force_option, takes_request
from furc.litmus import Dump, litmus
from furc.output import DUMP, Outputs
from furc.request import Request
from isa.errors import FurcError


@declare("litmus", short_help="Check that a float model makes it all the way.")
@click.argument("model", type=FILE)
@click.option("--skip-quantization", is_flag=True, help="MODEL is quantized already.")
@click.option("--dump", type=FILE, metavar="PREFIX",
              help="Write PREFIX.zip, or PREFIX where it ends so: versions, the graph, the memory analysis, a trace.",
              )  # fmt: skip
@takes_request
@force_option
def command(request: Request, model: Path, skip_quantization: bool, dump: Path | None, force: bool) -> None:
    """Check that MODEL runs on the NPU: load and optimize it, quantize it on noise, compile it, run it once.

    Accuracy is not looked at: calibration is 8 samples of noise.
    """
    outputs = Outputs((model,), force)
    path = _archive(dump) if dump is not None else None
    outputs.check(path, DUMP)
    warn_of_model(model, request)
    made = Dump()
    try:
        measured = litmus(model, request, quantized=skip_quantization, step=_say, dump=made)
    except FurcError as error:
        if error.name == "AlreadyQuantized":  # the hint is one for furc quantize
            error.hint = "give --skip-quantization, or the float model it was made from"
        raise
    finally:  # what the steps before made is there to be looked at
        if path is not None and made.parts:
            outputs.add(path, made.archive(), DUMP)
            outputs.write()
            saved(path)
    say(f"{measured.model} on {measured.target}: latency {measured.latency_ms:.3f} ms, of which NPU "
        f"{measured.npu_ms:.3f} ms")  # fmt: skip


def _archive(dump: Path) -> Path:
    """A prefix may have a version in it, as net-1.0; another kind of file is not what is written."""
    if dump.suffix == ".zip":
        return dump
    if dump.suffix[1:2].isalpha():
        instead = dump.with_suffix(".zip")
        raise click.UsageError(f"--dump writes a zip archive, and {dump} is named as {dump.suffix[1:]}: give {instead}")
    return dump.with_name(f"{dump.name}.zip")


def _say(number: int, what: str, worked: bool) -> None:
    """What passed; an error says for itself what did not, after the step it happened in."""
    say(f"[Step {number}] {'Passed' if worked else 'Failed'}: {what}", err=not worked)
