"""furc run: run a binary on the modelled NPU, with data or without."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.pixels import pixel_options, refuse_without_images
from furc.cli.request import FILE, force_option, input_files, npu_config_option
from furc.data.arrays import Array, npz_bytes
from furc.data.inputs import ARRAY_SUFFIXES, read_inputs
from furc.data.pixels import Pixels
from furc.machine import machine_of
from furc.output import ARRAYS, ARRAYS_MARK, TRACE, Outputs
from furc.profile_files import profile_of, profile_tables, profile_text
from furc.report.tables import Column, Table, shape
from furc.runtime.session import Session
from isa import enf as enf_file

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
@force_option
def command(
    enf: Path,
    inputs: tuple[str, ...],
    pixels: Pixels | None,
    output: Path | None,
    seed: int,
    trace: Path | None,
    top: int,
    reference: bool,
    npu_config: Path | None,
    force: bool,
) -> None:
    """Run ENF on the modelled NPU and print what the run costs, where the cycles go, and its outputs.

    Where no option of images is given, they are taken as they were for calibration, if the model notes it.
    """
    files = input_files(inputs)
    if all(path.suffix in ARRAY_SUFFIXES for path in files.values()):
        refuse_without_images("--input")
    outputs = Outputs((enf, *files.values()), force)
    outputs.check(output, ARRAYS)
    outputs.check(trace, TRACE)
    binary = enf_file.load(enf)
    npu = machine_of(binary, npu_config)
    session = Session(binary, npu=npu, accelerate=not reference)
    feeds = read_inputs(session.inputs, files, seed, pixels, binary.pixels, functools.partial(say, err=True))
    results = session.run(feeds)
    measured = profile_of(binary, npu)
    if output is not None:
        outputs.add(output, npz_bytes(results, ARRAYS_MARK), ARRAYS)
    if trace is not None:
        outputs.add(trace, profile_text(measured, "trace"), TRACE)
    outputs.write()
    for table in (*profile_tables(measured, top), _table(results)):
        show(table)
    for path in outputs.contents:
        saved(path)


def _table(results: dict[str, Array]) -> Table:
    rows = tuple((name, str(a.dtype), shape(a.shape), *_numbers(a)) for name, a in results.items())
    numbers = (Column(word, right=True) for word in ("min", "max", "mean"))
    return Table(columns=(Column("output", long=True), Column("type"), Column("shape"), *numbers), rows=rows)


def _numbers(a: Array) -> tuple[str, str, str]:
    """The least, the largest, the mean; none of boxes where none is left."""
    return (f"{float(a.min()):g}", f"{float(a.max()):g}", f"{float(a.mean()):g}") if a.size else ("", "", "")
