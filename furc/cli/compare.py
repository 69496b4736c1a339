"""furc compare: what the NPU computes against what ONNX Runtime computes, tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import show
from furc.cli.request import FILE, Request, takes_request
from furc.report.tables import Column, Table, count, nodes


@declare("compare", short_help="Compare the NPU with ONNX Runtime, tensor by tensor.")
@click.argument("model", type=FILE)
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE",
              help="Data for an input: .npy, .npz or an image. Seeded noise where an input has none.")  # fmt: skip
@click.option("--seed", type=int, default=0, help="Of the noise.")
@click.option("--all", "everything", is_flag=True, help="List every tensor, not only those that differ.")
@takes_request
def command(request: Request, model: Path, inputs: tuple[str, ...], seed: int, everything: bool) -> None:
    """Run quantized MODEL on the NPU and on ONNX Runtime, and compare every int8 tensor that the NPU makes.

    ONNX Runtime runs its integer kernels for Conv and Gemm and the QDQ form for the rest; see docs/numerics.md.
    """
    from furc.cli.feeds import read_feeds
    from furc.cli.run import named_file
    from furc.frontend import load_onnx
    from furc.frontend.onnx.reading import read_proto
    from furc.report.compare import compare
    from isa.enf import ModelTensor

    graph = load_onnx(model, input_shapes=request.input_shapes)
    tensors = [ModelTensor(v.name, v.type.dtype.numpy.name, v.type.shape) for v in graph.inputs]
    feeds = read_feeds(tensors, dict(named_file(text) for text in inputs), seed)
    rows = compare(read_proto(model), feeds, request.options(batch=1))
    shown = tuple(
        (row.operator, row.tensor, nodes(row.nodes), count(row.elements), count(row.different), str(row.worst))
        for row in rows
        if everything or row.different
    )
    columns = (
        Column("operator"), Column("tensor"), Column("onnx nodes"), Column("elements", right=True),
        Column("different", right=True), Column("worst, LSB", right=True),
    )  # fmt: skip
    if shown:
        show(Table(title="Tensors on the NPU against ONNX Runtime", columns=columns, rows=shown))
    equal = sum(not row.different for row in rows)
    elements, different = sum(row.elements for row in rows), sum(row.different for row in rows)
    worst = max((row.worst for row in rows), default=0)
    click.echo(f"{equal} of {len(rows)} tensors equal ONNX Runtime bit for bit;")
    click.echo(f"{count(different)} of {count(elements)} elements differ, by at most {worst} LSB")
