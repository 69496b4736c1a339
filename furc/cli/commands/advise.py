"""furc advise: what to change in a model, each change compiled and measured, the best first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from furc.advise import Advice, Applied, advise, applied
from furc.advise.accuracy import DECIDES
from furc.advise.advice import KINDS
from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.progress import Bar
from furc.cli.request import FILE, force_option, takes_request
from furc.cli.samples import METHODS, optional_sample_options
from furc.data.samples import SampleSource
from furc.output import MODEL, Outputs
from furc.quantizer import Task
from furc.report.advice_table import advice_table, closing, considered_table, paragraphs
from furc.request import Request
from isa.errors import ConfigError


@declare("advise", short_help="What to change in a model, each change compiled and measured.")
@click.argument("model", type=FILE)
@optional_sample_options
@click.option("--method", type=click.Choice((*METHODS, "weighted"), case_sensitive=False), default=DECIDES.method,
              help="How the model is quantized where accuracy is measured.")  # fmt: skip
@click.option("--task", type=click.Choice(tuple(map(str, Task))), default=str(Task.AUTO),
              help="What stands behind the outputs: nothing, softmax or sigmoid; errors count behind it.")  # fmt: skip
@click.option("--apply", "applied_to", type=FILE, metavar="OUT.onnx",
              help="Write the changed model, and what was cut off: OUT.rest.onnx behind it, OUT.before.onnx in front.",
              )  # fmt: skip
@click.option("--proposal", type=click.IntRange(min=1), metavar="N",
              help="Which one --apply takes.  [default: the best that changes the model]")  # fmt: skip
@click.option("--kind", "kinds", type=click.Choice(tuple(kind.KIND for kind in KINDS)), multiple=True,
              help="What to try. Repeatable.  [default: everything]")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="List what was tried and does not pay, too.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", help="How to print.")
@takes_request
@force_option
def command(
    request: Request, data: SampleSource | None, model: Path, method: str, task: str, applied_to: Path | None,
    proposal: int | None, kinds: tuple[str, ...], everything: bool, form: str, force: bool,
) -> None:  # fmt: skip
    """Say what to change in MODEL, float or quantized: where to cut head and tail, what to feed, other activation
    functions, other options of the compile.

    Every change is compiled and timed as `furc profile` times it; what is cut off counts on the host. With calibration
    data, a float model is quantized with each change and its outputs are compared with the float model's, in dB.
    """
    if proposal is not None and applied_to is None:
        raise click.UsageError("--proposal says which one --apply takes: give --apply OUT.onnx")
    outputs = Outputs((model,) if data is None or data.path is None else (model, data.path), force)
    if applied_to is not None:
        for path in (applied_to, *_beside(applied_to)):
            outputs.check(path, MODEL)
    options = replace(DECIDES, method=method)
    with Bar() as bar:
        advice = advise(model, request, data=data, task=Task(task), options=options, kinds=kinds, progress=bar)
    refused: ConfigError | None = None
    if applied_to is not None:
        try:
            _write(outputs, applied_to, applied(advice, proposal))  # before the table: its reader may stop early
        except ConfigError as error:
            refused = error  # what was found is shown all the same
    if form == "json":
        click.echo(advice.to_json())
    else:
        _show(advice, everything)
    if refused is not None:
        raise refused


def _show(advice: Advice, everything: bool) -> None:
    show(advice_table(advice))
    for text in paragraphs(advice):
        say(text)
    if everything and advice.considered:
        show(considered_table(advice))
    say(closing(advice, listed=everything))


def _beside(path: Path) -> tuple[Path, Path]:
    """Where what is cut off goes: in front of the model, and behind it."""
    return path.with_suffix(f".before{path.suffix}"), path.with_suffix(f".rest{path.suffix}")


def _write(outputs: Outputs, path: Path, found: Applied) -> None:
    before, rest = _beside(path)
    written = ((path, found.model), (before, found.before), (rest, found.rest))
    for file, model in written:
        if model is not None:
            outputs.add(file, model.SerializeToString(deterministic=True), MODEL)
    outputs.write()
    say(f"Applied: {found.proposal.title}", err=True)
    for file, model in written:
        if model is not None:
            saved(file)
        elif file.exists():
            say(f"{file} is of an earlier proposal: this one cuts nothing off there", err=True)
