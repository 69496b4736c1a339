"""furc calibrate-report: calibration methods side by side, as a table or one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, show
from furc.cli.progress import Bar
from furc.cli.request import FILE, force_option, input_shape_option, open_batch_option, shapes_of
from furc.cli.samples import METHODS, sample_options
from furc.data.samples import SampleSource
from furc.output import HTML, Outputs
from furc.quantize_files import Comparison, compare_methods_on, comparison_html, open_shapes
from furc.quantizer import MethodRow
from furc.report.tables import Column, Table
from isa.errors import counted

COMPARED = (*METHODS, "weighted")  # the vendor's ten, and what furc quantize does by default


@declare("calibrate-report", short_help="Compare calibration methods on a model.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.html", help="Write histograms, ranges and SQNR by layer too.")
@sample_options
@click.option("--method", "methods", multiple=True, type=click.Choice((*COMPARED, "auto"), case_sensitive=False),
              help="Compare this one. Repeatable.  [default: all but auto]")  # fmt: skip
@input_shape_option
@open_batch_option
@force_option
def command(
    data: SampleSource,
    model: Path,
    output: Path | None,
    methods: tuple[str, ...],
    input_shape: tuple[str, ...],
    batch: int | None,
    force: bool,
) -> None:
    """Quantize MODEL by each calibration method and compare the results with the float model.

    A part of the data is held out: methods are judged on samples that they have not seen.
    """
    outputs = Outputs((model,) if data.path is None else (model, data.path), force)
    outputs.check(output, HTML)
    shapes = open_shapes(model, shapes_of(input_shape), batch)
    with Bar() as bar:
        comparison = compare_methods_on(model, data, methods or COMPARED, shapes, bar)
    if output is not None:
        outputs.add(output, comparison_html(model, comparison, shapes), HTML)
    outputs.write()
    show(_table(comparison))
    if output is not None:
        saved(output)


def _table(comparison: Comparison) -> Table:
    words = ("output SQNR dB", "agreement %", "worst layer dB", "KiB", "s")
    columns = (Column("method"), *(Column(word, right=True) for word in words))
    seen, held = len(comparison.seen), len(comparison.held_out)
    judged = "judged on the same" if comparison.seen is comparison.held_out else f"judged on {counted(held, 'other')}"
    title = f"Calibrated on {counted(seen, 'sample')}, {judged}: the simulated NPU against the float model"
    return Table(title=title, columns=columns, rows=tuple(_row(row) for row in comparison.rows))


def _row(row: MethodRow) -> tuple[str, ...]:
    worst = f"{min(layer.db for layer in row.layers):.1f}" if row.layers else ""
    size, seconds = f"{row.bytes / 1024:.0f}", f"{row.seconds:.1f}"
    agreement = "" if row.agreement is None else f"{row.agreement:.1f}"
    return (row.method, f"{row.output_db:.2f}", agreement, worst, size, seconds)
