"""furc passes, furc ops, furc isa: the registries of the compiler with their documentation."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING

import click

from furc.cli.command import command as declare

if TYPE_CHECKING:
    from passes.ir.graph import Op

LEVELS = ("dfg", "ldfg", "cdfg", "gir")


@declare("passes", short_help="The passes, and what each does.")
@click.argument("name", required=False)
def passes(name: str | None) -> None:
    """List the passes in the order they run, or explain pass NAME."""
    from passes.pipeline import GRAPH_PASSES, STAGES

    if name is not None:
        run = GRAPH_PASSES.get(name)
        if run is None:
            raise click.BadParameter(f"no pass '{name}', they are {', '.join(GRAPH_PASSES)}", param_hint="'NAME'")
        click.echo(f"{name}\n\n{_text_of(run)}")
        return
    for stage in STAGES:
        click.echo(f"{stage.source} to {stage.target}" if stage.source != stage.target else f"on {stage.source}")
        for known, run in stage.passes:
            click.echo(f"  {known:<18} {_text_of(run).splitlines()[0]}")


@declare("ops", short_help="The ops of the IR, level by level.")
@click.argument("level", type=click.Choice(LEVELS), required=False)
@click.argument("name", required=False)
def ops(level: str | None, name: str | None) -> None:
    """List the ops of the IR with their operands and attributes: of LEVEL, or of all; NAME is one op."""
    from passes.ir import dfg, lowlevel  # importing them fills the registry
    from passes.ir.graph import REGISTRY, Level

    assert dfg and lowlevel

    found = [(at, op) for (at, mnemonic), op in REGISTRY.items() if level in (None, at) and name in (None, mnemonic)]
    if not found:
        raise click.BadParameter(f"no op '{name}' in {level}", param_hint="'NAME'")
    for at in Level:
        of_level = [op for where, op in found if where is at]
        click.echo(f"{at}\n" if of_level else "", nl=bool(of_level))
        for op in of_level:
            click.echo(_op(op))


@declare("isa", short_help="The instructions of the machine.")
@click.argument("mnemonic", required=False)
def isa(mnemonic: str | None) -> None:
    """List the instructions, or explain one: operands, their bits and defaults, what it does."""
    from isa.instructions import BY_MNEMONIC, TABLE

    if mnemonic is None:
        for spec in TABLE:
            click.echo(f"{spec.mnemonic:<10} {spec.unit:<8} {spec.meaning.split('. ')[0].rstrip('.')}")
        return
    if mnemonic not in BY_MNEMONIC:
        raise click.BadParameter(f"no instruction '{mnemonic}', they are {', '.join(BY_MNEMONIC)}",
                                 param_hint="'MNEMONIC'")  # fmt: skip
    from isa.assembly import default_of

    spec = BY_MNEMONIC[mnemonic]
    click.echo(f"{spec.mnemonic}: opcode 0x{spec.opcode:02x}, unit {spec.unit}\n\n{spec.meaning}\n")
    for operand in spec.operands:
        default = default_of(operand)
        told = f" [default: {default}]" if isinstance(default, int) else ""
        bits = sum(field.bits for field in operand.fields())
        click.echo(f"  {operand.name:<8} {bits:>3} bits  {operand.meaning}{told}")


def _op(op: type[Op]) -> str:
    from passes.ir.graph import op_fields

    operands = [f.name if f.kind == "one" else f"{f.name}{'?' if f.kind == 'optional' else '...'}"
                for f in op_fields(op) if f.kind != "attribute"]  # fmt: skip
    attributes = [f.name for f in op_fields(op) if f.kind == "attribute"]
    braces = f" {{{', '.join(attributes)}}}" if attributes else ""
    return f"  {op.mnemonic}({', '.join(operands)}){braces}\n    {inspect.cleandoc(op.__doc__ or '')}\n".replace(
        "\n\n", "\n"
    )


def _text_of(run: object) -> str:
    """The documentation of a pass: that of its module, for a pass is a file."""
    module = sys.modules[getattr(run, "__module__", "")]
    return inspect.cleandoc(module.__doc__ or "")
