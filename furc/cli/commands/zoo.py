"""furc zoo: graphs of published networks with seeded weights, for timing and code size."""

from __future__ import annotations

from pathlib import Path

import click

from furc import zoo
from furc.cli.command import command as declare
from furc.cli.display import saved, show
from furc.cli.request import FILE, force_option
from furc.output import MODEL, Outputs
from furc.report.tables import Column, Table, shape
from furc.zoo.int8 import in_int8


@declare("zoo", short_help="List or write published networks with seeded weights.")
@click.argument("name", required=False)
@click.option(
    "-o", "--output", type=FILE, metavar="FILE.onnx", help="Where to write.  [default: NAME.onnx or NAME_i8.onnx]"
)
@click.option("--input-size", type=click.IntRange(min=1), metavar="N",
              help="Rows and columns of the input, in pixels.  [default: the network's usual ones]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the weights.")
@click.option("--int8", is_flag=True, help="Quantized with made-up ranges: to be compiled as it is.")
@force_option
def command(name: str | None, output: Path | None, input_size: int | None, seed: int, int8: bool, force: bool) -> None:
    """Write network NAME as a float ONNX model, or in INT8; without NAME, list the networks.

    Weights are noise: good for timing and code size, never for accuracy.
    """
    if name is None:
        if output is not None or input_size is not None or int8:
            raise click.UsageError("-o, --input-size and --int8 need the NAME of a network")
        show(_table())
        return
    zoo.describe(name)  # an unknown name is told before its file is looked at
    path, outputs = output or Path(f"{name}_i8.onnx" if int8 else f"{name}.onnx"), Outputs(force=force)
    outputs.check(path, MODEL)
    model = zoo.build(name, input_size=input_size, seed=seed)
    if int8:
        model = in_int8(model)
    outputs.add(path, model.SerializeToString(deterministic=True), MODEL)
    outputs.write()
    saved(path)


def _table() -> Table:
    cards = [zoo.describe(name) for name in zoo.names()]
    rows = tuple(
        (c.name, shape(c.input_shape), f"{c.macs / 1e9:.2f}", f"{c.params / 1e6:.2f}", c.source, c.note) for c in cards
    )
    columns = (
        Column("network"), Column("input"), Column("GMACs", right=True), Column("params, M", right=True),
        Column("source", long=True), Column("note", long=True),
    )  # fmt: skip
    return Table(columns=columns, rows=rows)
