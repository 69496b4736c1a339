"""furc profile: how long a model takes on the modelled machine, and where the cycles go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, Request, takes_request
from furc.cli.summary import TOP

if TYPE_CHECKING:
    from furc.report.profile import Profile

FORMATS = ("table", "json", "html", "trace")


@declare("profile", short_help="Time a binary or a model: table, JSON, HTML or trace.")
@click.argument("model", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    help="html: one file that opens offline. trace: Chrome trace JSON, for Perfetto.",
)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Where to write.  [default: stdout]")
@click.option("--top", type=click.IntRange(min=1), default=TOP, metavar="N", help="Operators in the table.")
@takes_request
def command(request: Request, model: Path, form: str, output: Path | None, top: int) -> None:
    """Time MODEL, an ENF or a model that is compiled first with the given options. No data is needed.

    Timing only depends on the program: the same ENF always gives the same numbers. In the table, cycles of an operator
    are load + compute + store; engines overlap, so that operators add up to more than the run.
    """
    from furc.cli.display import on_terminal
    from furc.cli.output import write_text
    from furc.cli.summary import show_profile

    profile = profile_of(model, request)
    if form == "table" and output is None and on_terminal(err=False):
        show_profile(profile, top)
        return
    write_text(output, _written(profile, form, top), (model,))


def profile_of(model: Path, request: Request) -> Profile:
    """Of a binary, or of a model, which is compiled first. Raises FurcError."""
    from furc.cli.summary import machine_of
    from furc.report.profile import is_enf, summarize
    from furc.report.recorded import record
    from isa import enf as enf_file

    if is_enf(model):
        _refuse_options(request)
        enf = enf_file.load(model)
        return summarize(record(enf, machine_of(enf, request.npu_config)))
    from furc.cli.build import build

    return summarize(record(build(model, request).enf, request.npu()))


def _refuse_options(request: Request) -> None:
    """A binary was compiled with its own."""
    asked = {
        "--target-npu": request.target_npu,
        "--batch": request.batch,
        "-c or --compiler-config": request.settings,
        "--input-shape": request.input_shapes,
        "--strict": request.strict,
    }
    for option, value in asked.items():
        if value:
            raise click.UsageError(f"{option} is for models: this ENF is compiled already")


def _written(profile: Profile, form: str, top: int) -> str:
    if form == "json":
        return json.dumps(profile.to_json(), indent=1) + "\n"
    if form == "html":
        from furc.report.profile_html import profile_html

        return profile_html(profile)
    if form == "trace":
        from furc.report.trace import chrome_trace

        return chrome_trace(profile)
    from furc.report.profile_table import host_table, operator_table, summary_table
    from furc.report.tables import plain

    return "\n".join(plain(t) for t in (summary_table(profile), operator_table(profile, top), host_table(profile)))
