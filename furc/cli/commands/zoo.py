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


@declare("zoo", short_help="List or write published networks with seeded weights.")
@click.argument("name", required=False)
@click.option("-o", "--output", type=FILE, metavar="FILE.onnx", help="Where to write.  [default: NAME.onnx]")
@click.option("--input-size", type=click.IntRange(min=1), metavar="N",
              help="Rows and columns of the input, in pixels.  [default: the network's usual ones]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the weights.")
@force_option
def command(name: str | None, output: Path | None, input_size: int | None, seed: int, force: bool) -> None:
    """Write network NAME as a float ONNX model; without NAME, list the networks.

    Weights are noise: good for timing and code size, never for accuracy.
    """
    if name is None:
        if output is not None or input_size is not None:
            raise click.UsageError("-o and --input-size need the NAME of a network")
        show(_table())
        return
    zoo.describe(name)  # an unknown name is told before its file is looked at
    path, outputs = output or Path(f"{name}.onnx"), Outputs(force=force)
    outputs.check(path, MODEL)
    model = zoo.build(name, input_size=input_size, seed=seed)
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
