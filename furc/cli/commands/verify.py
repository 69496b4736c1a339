"""furc verify: what the NPU computes against a reference, tensor by tensor, operator by operator."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import saved, say, show
from furc.cli.request import FILE, force_option, input_files, takes_request
from furc.output import MODEL, TFLITE_PART, Outputs
from furc.report.tables import Column, Table, count, nodes
from furc.request import Request
from furc.verify import Against, Checked, Error, Verification, minimal, minimal_tflite, verify_file
from isa.errors import Loc, RunError, counted

NAMES = {Against.ONNXRUNTIME: "ONNX Runtime", Against.LITERT: "LiteRT"}


@declare("verify", short_help="Compare the NPU with ONNX Runtime or LiteRT, layer by layer.")
@click.argument("model", type=FILE)
@click.option("--against", type=click.Choice([a.value for a in Against]), default=Against.ONNXRUNTIME.value,
              help="Whose numbers are right. litert: of a TFLite model, by LiteRT's reference kernels.")  # fmt: skip
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE",
              help="Data for an input: .npy, .npz or an image. Seeded noise where an input has none.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, help="Of the noise.")
@click.option("--limit", type=click.IntRange(min=0), default=1, metavar="LSB", help="What an operator may add.")
@click.option(
    "--minimal",
    "smallest",
    type=FILE,
    metavar="OUT",
    help="Where an operator adds more, write the smallest part that shows it: ONNX, and TFLite against LiteRT.",
)
@click.option("--all", "everything", is_flag=True, help="List every tensor, not only those that differ.")
@takes_request
@force_option
def command(
    request: Request, model: Path, against: str, inputs: tuple[str, ...], seed: int, limit: int, smallest: Path | None,
    everything: bool, force: bool,
) -> None:  # fmt: skip
    """Run quantized MODEL on the NPU and on a reference, and compare every int8 tensor that the NPU makes.

    "arrived" is the error in the whole run. Part of it came from above, with the operands; "added" is what the operator
    does to the reference's own operands. Exit code 1 where an operator adds more than the limit. ONNX Runtime runs its
    integer kernels for Conv, Gemm and MatMul and the QDQ form for the rest; see docs/numerics.md.
    """
    outputs = Outputs((model,), force)
    if smallest is not None:
        outputs.check(smallest, TFLITE_PART if against == Against.LITERT else MODEL)
    files = input_files(inputs)
    found = verify_file(model, request, files, seed, Against(against), functools.partial(say, err=True))
    _show(found, everything)
    bad = found.first_bad(limit)
    if smallest is not None and bad is None:
        say(f"no operator adds more than {limit} LSB: there is nothing to write")
    elif smallest is not None:
        _write_part(outputs, smallest, Against(against), model, request, files, seed, limit)
    if bad is not None:
        raise _too_bad(bad, model, limit, len(found.bad(limit)))


def _write_part(
    outputs: Outputs, path: Path, against: Against, model: Path, request: Request, files: dict[str, Path], seed: int,
    limit: int,
) -> None:  # fmt: skip
    """The smallest part that shows it, in the form of the reference."""
    if against is Against.LITERT:
        found = minimal_tflite(model, request, files, seed, limit)
        assert found is not None, "it was just seen that an operator adds more"
        outputs.add(path, found[0].data, TFLITE_PART)
        words = f", {counted(found[0].operators, 'operator')}"
    else:
        part = minimal(model, request, files, seed, limit)
        assert part is not None, "it was just seen that an operator adds more"
        outputs.add(path, part[0].SerializeToString(), MODEL)
        words = f", {counted(len(part[0].graph.node), 'node')}"
    outputs.write()
    saved(path, words)


def _show(found: Verification, everything: bool) -> None:
    rows = tuple(_row(row) for row in found.tensors if everything or row.arrived.different or row.added.different)
    columns = (
        Column("operator"), Column("tensor", long=True), Column("onnx nodes", long=True),
        Column("elements", right=True, spare=1), Column("arrived: different", right=True), Column("LSB", right=True),
        Column("SQNR, dB", right=True), Column("from above, LSB", right=True, spare=2),
        Column("added: different", right=True), Column("LSB", right=True),
    )  # fmt: skip
    name = NAMES[found.against]
    if rows:
        show(Table(title=f"Tensors on the NPU against {name}", columns=columns, rows=rows))
    equal = sum(not row.arrived.different for row in found.tensors)
    elements = sum(row.elements for row in found.tensors)
    different = sum(row.arrived.different for row in found.tensors)
    say(f"{equal} of {len(found.tensors)} tensors equal {name} bit for bit;")
    say(f"{count(different)} of {count(elements)} elements differ, by at most {found.worst_arrived} LSB;")
    say(f"one operator adds at most {found.worst_added} LSB")


def _row(row: Checked) -> tuple[str, ...]:
    return (
        row.operator, row.tensor, nodes(row.nodes), count(row.elements), *_cells(row.arrived),
        f"{row.arrived.sqnr_db:.1f}", str(row.above.worst), *_cells(row.added),
    )  # fmt: skip


def _cells(error: Error) -> tuple[str, str]:
    return count(error.different), str(error.worst)


def _too_bad(bad: Checked, model: Path, limit: int, others: int) -> RunError:
    message = f"{bad.operator} adds {bad.added.worst} LSB to '{bad.tensor}', in {bad.added.different} of {bad.elements}"
    also = (f"{others} operators add more than {limit} LSB; this is the first",) if others > 1 else ()
    return RunError(
        "ResultsDiffer", message, at=Loc(str(model), bad.nodes), also=also,
        hint="--minimal OUT writes the part that shows it; --limit says what is allowed",
    )  # fmt: skip
