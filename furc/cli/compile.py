"""furc compile: a quantized model, or IR text, to a binary or any level on the way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.request import FILE, Request, takes_request

if TYPE_CHECKING:
    from furc.cli.build import Built
    from furc.cli.output import Outputs
    from furc.cli.progress import StepReporter
    from passes.ir.graph import Graph
    from passes.ir.lir import Program
    from passes.options import CompileOptions
    from passes.pipeline import Listener

LEVELS = ("dfg", "ldfg", "cdfg", "gir", "lir", "enf")


def _pass_name(_: click.Context, __: click.Parameter, value: str | tuple[str, ...] | None) -> object:
    """Checked here, for the names are not known before the compiler is imported."""
    names = (value,) if isinstance(value, str) else value or ()
    if names:
        from passes.pipeline import GRAPH_PASSES

        for name in names:
            if name not in GRAPH_PASSES:
                raise click.BadParameter(f"no pass '{name}', they are {', '.join(GRAPH_PASSES)}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for besides the binary."""

    target_ir: str
    dot_graph: Path | None
    analyze_memory: Path | None
    print_after: tuple[str, ...]
    stop_after: str | None
    verify: bool

    @property
    def binary_only(self) -> bool:
        """True where a binary from the cache will do."""
        looks_inside = self.dot_graph or self.analyze_memory or self.print_after or self.stop_after or self.verify
        return self.target_ir == "enf" and not looks_inside


@declare("compile", short_help="Compile a quantized model to a binary, or to any level of IR.")
@click.argument("source", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE", help="The result.  [default: output.<target-ir>]")
@click.option(
    "--target-ir",
    type=click.Choice(LEVELS),
    default="enf",
    help="The level to stop at. Above enf: text, with its constants in an .npz of the same stem.",
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
    help="Execute the graph behind every pass on a random input and compare: a wrong pass is named. Slow.",
)
@click.option(
    "--print-after",
    multiple=True,
    metavar="PASS",
    callback=_pass_name,
    help="Print the IR behind a pass (`furc passes`). Repeatable.",
)
@click.option("--stop-after", metavar="PASS", callback=_pass_name, help="Write the IR behind a pass and end.")
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
    verbose: bool,
) -> None:
    """Compile SOURCE, a quantized model (.onnx) or IR text (.dfg .ldfg .cdfg .gir .lir), to a binary.

    The steps and their times, the budget (instruction memory, SRAM, DRAM, each used and limit with the largest
    consumers) and the operators left on the host go to stderr.
    """
    from furc.cli.build import sources_of
    from furc.cli.output import Outputs
    from furc.cli.progress import StepReporter

    if analyze_memory and target_ir != "enf":
        raise click.UsageError("--analyze-memory needs the binary: leave --target-ir at enf")
    wanted = Wanted(
        target_ir=target_ir,
        dot_graph=dot_graph,
        analyze_memory=analyze_memory,
        print_after=print_after,
        stop_after=stop_after,
        verify=verify,
    )
    first = "onnx to dfg" if source.suffix != ".dfg" else "dfg to dfg"
    reporter = StepReporter(first, verbose=verbose)
    outputs = Outputs(sources_of(source))
    try:
        _Run(request, source, output, wanted, reporter, outputs).run()
    finally:
        reporter.close()


class _Run:
    """One invocation."""

    def __init__(
        self,
        request: Request,
        source: Path,
        output: Path | None,
        wanted: Wanted,
        reporter: StepReporter,
        outputs: Outputs,
    ) -> None:
        self.request, self.source, self.output, self.wanted = request, source, output, wanted
        self.reporter, self.outputs = reporter, outputs

    def run(self) -> None:
        from furc.cli.build import cached, keep, key_for

        beside = self.output.with_suffix(".npz") if self.output is not None and self._gives_text else None
        self.outputs.check(self.output, beside, self.wanted.dot_graph, self.wanted.analyze_memory)
        key = key_for(self.source, self.request)
        built = cached(key) if self.wanted.binary_only else None
        if built is not None:
            click.echo("Found in the compiler cache (--no-cache compiles again)", err=True)
        else:
            built = self._compiled()
            if built is None:
                return
            keep(key, built)
        self._finish(built)

    def _compiled(self) -> Built | None:
        """The binary; None where text was asked for, which is then written."""
        from furc.cli.build import linked, load, lowered
        from furc.cli.ir_files import is_ir
        from furc.cli.tap import Stopped, Tap

        if not is_ir(self.source):
            self.reporter.reading()  # most of the first step
        content, options = load(self.source, self.request)
        tap = Tap(self.reporter, self.wanted.print_after, self.wanted.stop_after, self.wanted.dot_graph is not None)
        listener = self._verified(content, options, tap)
        try:
            if not self._gives_text:
                built = linked(content, options, listener)
                self._dot(tap.dot or _dot_of(content))
                self._memory(built, options)
                return built
            text = lowered(content, options, self._target(), listener)
        except Stopped as stopped:
            text = stopped.graph
        self._dot(tap.dot or _dot_of(text))
        self._text(text)
        return None

    @property
    def _gives_text(self) -> bool:
        return self.wanted.target_ir != "enf" or self.wanted.stop_after is not None

    def _target(self) -> str:
        return "gir" if self.wanted.stop_after else self.wanted.target_ir

    def _verified(self, content: Graph | Program, options: CompileOptions, tap: Listener) -> Listener:
        from furc.cli.random_inputs import random_inputs
        from passes.ir.lir import Program
        from passes.reference.verify import VerifyingListener

        if not self.wanted.verify or isinstance(content, Program):
            return tap
        listener = VerifyingListener(random_inputs(content.inputs, seed=0), options, then=tap)
        listener.take(content)
        return listener

    def _dot(self, text: str) -> None:
        if self.wanted.dot_graph is not None:
            self.outputs.add(self.wanted.dot_graph, text)

    def _memory(self, built: Built, options: CompileOptions) -> None:
        if self.wanted.analyze_memory is not None and built.program is not None:
            from furc.report.memory_html import memory_html
            from furc.report.recorded import record

            self.outputs.add(self.wanted.analyze_memory, memory_html(built.program, record(built.enf, options.npu)))

    def _text(self, content: Graph | Program) -> None:
        from furc.cli.ir_files import side_file, write_ir
        from passes.ir.lir import Program

        level = "lir" if isinstance(content, Program) else str(content.level)
        path = self.output or Path(f"output.{level}")
        write_ir(self.outputs, path, content)
        self.outputs.write()
        self.reporter.ended()
        beside = f", its constants to {side_file(path)}" if side_file(path) in self.outputs.contents else ""
        click.echo(f"The output has been saved to {path}{beside}", err=True)

    def _finish(self, built: Built) -> None:
        from furc.cli.display import show
        from furc.report.budget import budget_tables
        from isa import enf as enf_file

        path = self.output or Path("output.enf")
        self.outputs.add(path, enf_file.write(built.enf))
        self.outputs.write()
        self.reporter.ended()
        for table in budget_tables(built.budget):
            show(table, err=True)
        click.echo(f"The output has been saved to {path}", err=True)


def _dot_of(content: Graph | Program) -> str:
    from furc.report.dot import dot
    from passes.ir.lir import Program

    return dot(content.graph if isinstance(content, Program) else content)
