"""furc run: run a binary on the modelled NPU, with data or without."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare
from furc.cli.pixels import Pixels, pixel_options
from furc.cli.request import FILE, npu_config_option

if TYPE_CHECKING:
    from furc.cli.arrays import Array
    from furc.report.tables import Table

TOP = 10


@declare("run", short_help="Run a binary on data and print what it costs.")
@click.argument("enf", type=FILE)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=FILE",
    help="Data of an input: .npy, .npz (the entry NAME, or the only one), an image or a directory of them, which "
    "become the input as the options below say. Repeatable.  [default: random data]",
)
@pixel_options
@click.option("--output", "-o", type=FILE, metavar="FILE.npz", help="Write the outputs by name.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the random data.")
@click.option("--trace", type=FILE, metavar="FILE.json", help="Write the run as a Chrome trace, for Perfetto.")
@click.option("--top", type=click.IntRange(min=1), default=TOP, metavar="N", help="Operators in the table.")
@click.option(
    "--reference",
    is_flag=True,
    help="Execute by the plain NumPy reference, without accelerated kernels: the same results, slower.",
)
@npu_config_option
def command(
    enf: Path,
    inputs: tuple[str, ...],
    pixels: Pixels,
    output: Path | None,
    seed: int,
    trace: Path | None,
    top: int,
    reference: bool,
    npu_config: Path | None,
) -> None:
    """Run ENF on the modelled NPU and print its outputs, what the run costs, and where the cycles go."""
    from furc.cli.arrays import npz_bytes
    from furc.cli.display import show
    from furc.cli.feeds import read_feeds
    from furc.cli.output import Outputs
    from furc.cli.summary import machine_of, show_profile
    from furc.report.profile import profile
    from furc.report.trace import chrome_trace
    from furc.runtime.session import Session
    from isa import enf as enf_file

    files = dict(named_file(text) for text in inputs)
    outputs = Outputs((enf, *files.values()))
    outputs.check(output, trace)
    binary = enf_file.load(enf)
    npu = machine_of(binary, npu_config)
    session = Session(binary, npu=npu, accelerate=not reference)
    results = session.run(read_feeds(session.inputs, files, seed, pixels))
    measured = profile(binary, npu=npu)
    if output is not None:
        outputs.add(output, npz_bytes(results))
    if trace is not None:
        outputs.add(trace, chrome_trace(measured))
    outputs.write()
    show_profile(measured, top)
    show(_table(results))
    for path in outputs.contents:
        click.echo(f"The output has been saved to {path}", err=True)


def named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or not name or not file:
        raise click.BadParameter(f"'{text}' is not NAME=FILE", param_hint="'--input'")
    return name, Path(file)


def _table(results: dict[str, Array]) -> Table:
    from furc.report.tables import Column, Table, shape

    rows = tuple(
        (name, str(a.dtype), shape(a.shape), f"{float(a.min()):g}", f"{float(a.max()):g}", f"{float(a.mean()):g}")
        for name, a in results.items()
    )
    numbers = (Column(word, right=True) for word in ("min", "max", "mean"))
    return Table(columns=(Column("output", long=True), Column("type"), Column("shape"), *numbers), rows=rows)
