"""furc calibrate-report: calibration methods side by side, as a table or one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.float_models import DataOptions, data_options
from furc.cli.quantize import METHODS
from furc.cli.request import FILE, shapes_of

if TYPE_CHECKING:
    from furc.quantizer import MethodRow
    from furc.report.tables import Table

HELD_OUT = 8  # samples that the methods are judged on, at most a quarter


@declare("calibrate-report", short_help="Compare calibration methods on a model.")
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, metavar="FILE.html", help="Write histograms, ranges and SQNR by layer too.")
@data_options
@click.option("--method", "methods", multiple=True, type=click.Choice((*METHODS, "auto"), case_sensitive=False),
              help="Compare this one. Repeatable.  [default: all but auto]")  # fmt: skip
@click.option("--input-shape", multiple=True, metavar="NAME=1,3,640,640",
              help="The shape of an input that the model leaves open. Repeatable.")  # fmt: skip
def command(
    data: DataOptions, model: Path, output: Path | None, methods: tuple[str, ...], input_shape: tuple[str, ...]
) -> None:
    """Quantize MODEL by each calibration method and compare the results with the float model.

    A part of the data is held out: methods are judged on samples that they have not seen.
    """
    from furc.cli.display import show
    from furc.cli.float_models import read_float_model, read_samples
    from furc.cli.output import Outputs
    from furc.cli.progress import Bar
    from furc.quantizer import Observer, QuantizeOptions, compare_methods, report_html, tensor_ranges
    from furc.quantizer.optimize import optimize_graph
    from furc.runtime.runner import npu_runner_for

    shapes = shapes_of(input_shape)
    loaded = read_float_model(model)
    samples = read_samples(loaded, shapes, data)
    held = max(1, min(HELD_OUT, len(samples) // 4))
    seen, unseen = samples[held:] or samples, samples[:held]
    outputs = Outputs((model,) if data.path is None else (model, data.path))
    outputs.check(output)
    with Bar() as bar:
        rows = compare_methods(
            loaded,
            seen,
            unseen,
            methods=methods or METHODS,
            options=QuantizeOptions(input_shapes=shapes),
            progress=bar,
            run=npu_runner_for,
        )
    if output is not None:
        observer = Observer(optimize_graph(loaded, shapes))
        observer.observe(seen)
        outputs.add(output, report_html(model.name, rows, tensor_ranges(observer), measured_on="the simulated NPU"))
    outputs.write()
    show(_table(rows, len(seen), held))
    if output is not None:
        click.echo(f"The output has been saved to {output}", err=True)


def _table(rows: list[MethodRow], seen: int, held: int) -> Table:
    from furc.report.tables import Column, Table

    words = ("output SQNR dB", "agreement %", "worst layer dB", "KiB", "s")
    columns = (Column("method"), *(Column(word, right=True) for word in words))
    title = f"Calibrated on {seen} samples, judged on {held} others: the simulated NPU against the float model"
    return Table(title=title, columns=columns, rows=tuple(_row(row) for row in rows))


def _row(row: MethodRow) -> tuple[str, ...]:
    worst = f"{min(layer.db for layer in row.layers):.1f}" if row.layers else ""
    size, seconds = f"{row.bytes / 1024:.0f}", f"{row.seconds:.1f}"
    return (row.method, f"{row.output_db:.2f}", f"{row.agreement:.1f}", worst, size, seconds)
