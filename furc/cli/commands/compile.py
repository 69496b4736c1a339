"""furc compile: a quantized model, or IR text, to a binary or any level on the way."""

from __future__ import annotations

from pathlib import Path

import click

from furc.build import LEVELS, Built, sources_of
from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.leaving import warn_of_graph
from furc.cli.progress import StepReporter
from furc.cli.request import FILE, force_option, takes_request
from furc.inspection import PASS_NAMES, Inspection, inspect
from furc.ir_files import side_file, write_ir
from furc.output import BINARY, CONSTANTS, DOT, HTML, IR_TEXT, Outputs
from furc.report.budget_table import budget_tables
from furc.request import Request
from isa import enf as enf_file
from passes.manager import IR
from passes.pipeline import level_of


def _pass_name(_: click.Context, __: click.Parameter, value: str | tuple[str, ...] | None) -> object:
    for name in (value,) if isinstance(value, str) else value or ():
        if name not in PASS_NAMES:
            raise click.BadParameter(f"no pass '{name}', they are {', '.join(PASS_NAMES)}")
    return value


@declare("compile", short_help="Compile a quantized model to a binary, or to any level of IR.")
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The result.  [default: output.<target-ir>]")
@click.option(
    "--target-ir",
    type=click.Choice(LEVELS),
    default="enf",
    help="The level to stop at. Above enf: text, with its constants in an .npz of the same name (model.ldfg.npz).",
)
@takes_request
@click.option(
    "--dot-graph",
    type=FILE,
    metavar="FILE",
    help="Write the graph for Graphviz: ldfg where it is reached, else the level reached.",
)
@click.option(
    "--analyze-memory", type=FILE, metavar="FILE.html", help="Write SRAM over modelled time as one HTML file."
)
@click.option(
    "--verify",
    is_flag=True,
    help="Execute the graph after every pass on a random input and compare: a wrong pass is named. Slow.",
)
@click.option(
    "--print-after",
    multiple=True,
    metavar="PASS",
    callback=_pass_name,
    help="Print the IR after a pass (`furc passes`). Repeatable.",
)
@click.option("--stop-after", metavar="PASS", callback=_pass_name, help="Write the IR after a pass and end.")
@force_option
@click.option("-v", "--verbose", is_flag=True, help="Show each pass with its time.")
def command(
    request: Request,
    source: Path,
    output: Path | None,
    target_ir: str,
    dot_graph: Path | None,
    analyze_memory: Path | None,
    verify: bool,
    print_after: tuple[str, ...],
    stop_after: str | None,
    force: bool,
    verbose: bool,
) -> None:
    """Compile SOURCE, a quantized model (.onnx, .tflite) or IR text (.dfg .ldfg .cdfg .gir .lir), to a binary.

    The steps and their times, the budget (instruction memory, SRAM, DRAM, each used and limit with the largest
    consumers) and the operators left on the host go to stderr.
    """
    if analyze_memory and target_ir != "enf":
        raise click.UsageError("--analyze-memory needs the binary: leave --target-ir at enf")
    wanted = Inspection(
        level=target_ir,
        draw=dot_graph is not None,
        memory=analyze_memory is not None,
        print_after=print_after,
        stop_after=stop_after,
        verify=verify,
    )
    outputs = Outputs(sources_of(source), force)
    _check(outputs, output, wanted)
    outputs.check(dot_graph, DOT)
    outputs.check(analyze_memory, HTML)
    first = "onnx to dfg" if source.suffix != ".dfg" else "dfg to dfg"
    with StepReporter(first, verbose=verbose) as reporter:
        found = inspect(
            source, request, wanted, reporter, lambda text: say(text, end=""), reporter.reading, warn_of_graph
        )
        if dot_graph is not None:
            outputs.add(dot_graph, found.drawing, DOT)
        if analyze_memory is not None and found.memory:
            outputs.add(analyze_memory, found.memory, HTML)
        if found.from_cache:
            say("Found in the compiler cache (--no-cache compiles again)", err=True)
        if found.verified:
            say(f"Verified: every output is the same after {', '.join(found.verified)}", err=True)
        elif verify:  # from gir on
            say("Nothing to verify: no pass from here on makes a graph, which could be executed", err=True)
        if found.content is not None:
            _write_text(outputs, output, found.content, reporter)
        if found.built is not None:
            _write_binary(outputs, output, found.built, reporter)


def _check(outputs: Outputs, output: Path | None, wanted: Inspection) -> None:
    """Before the work begins. Where a pass ends it, the level of the result is not known yet."""
    if not wanted.gives_text:
        outputs.check(output or Path("output.enf"), BINARY)
    elif output is not None or wanted.stop_after is None:
        path = output or Path(f"output.{wanted.level}")
        outputs.check(path, IR_TEXT)
        outputs.check(side_file(path), CONSTANTS)
    if output is not None and wanted.stop_after is None:
        _check_name(output, wanted.level)


def _check_name(output: Path, level: str) -> None:
    """The name says to the next command what is in it."""
    named = output.suffix.removeprefix(".")
    if named in LEVELS and named != level:
        what = f"{output} is named as {named}, and {level} is what is written"
        raise click.UsageError(f"{what}: give {output.with_suffix(f'.{level}')}, or --target-ir {named}")


def _write_text(outputs: Outputs, output: Path | None, content: IR, reporter: StepReporter) -> None:
    path = output or Path(f"output.{level_of(content)}")
    write_ir(outputs, path, content)
    outputs.write()
    reporter.ended()
    saved(path, f", its constants to {side_file(path)}" if side_file(path) in outputs.contents else "")


def _write_binary(outputs: Outputs, output: Path | None, built: Built, reporter: StepReporter) -> None:
    path = output or Path("output.enf")
    outputs.add(path, enf_file.write(built.enf), BINARY)
    outputs.write()
    reporter.ended()
    for table in budget_tables(built.budget):
        show(table, err=True)
    saved(path)
