"""furc info: what is in a binary, and every constant of the modelled machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import show
from furc.cli.request import FILE
from furc.compiler_config import config_keys
from furc.info import binary_facts, constants_of, machines, operators_of
from furc.machine import DEFAULT_TARGET
from furc.report.tables import Column, Table
from isa.npu import TARGETS
from passes.dfg.legality import OperatorSet


@declare("info", short_help="What is in a binary; the machines and their constants.")
@click.argument("enf", type=FILE, required=False)
@click.option("--npu", "show_npu", is_flag=True, help="List the constants of a machine and where each comes from.")
@click.option("--operators", "show_operators", is_flag=True, help="List the operators that the NPU accelerates.")
@click.option("--operator-set", type=click.Choice([str(one) for one in OperatorSet]),
              default=str(OperatorSet.SEED28), help="Of --operators, as the compiler config calls it.")  # fmt: skip
@click.option("--target-npu", type=click.Choice(TARGETS), default=DEFAULT_TARGET, help="The machine of --npu.")
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", help="How to print.")
def command(
    enf: Path | None, show_npu: bool, show_operators: bool, operator_set: str, target_npu: str, form: str
) -> None:  # fmt: skip
    """Show what is in ENF, a compiled binary; without one, furc's version and the machines it knows.

    `furc info config` lists the keys of the compiler config.
    """
    if enf is not None and show_npu:
        raise click.UsageError("--npu is about machines: leave out the ENF")
    if show_operators and (enf is not None or show_npu):
        raise click.UsageError("--operators is about all binaries: leave out the ENF and --npu")
    if enf == Path("config") and not enf.exists():
        _show_config(form)
        return
    facts: Mapping[str, object] = binary_facts(enf) if enf else constants_of(target_npu) if show_npu else machines()
    words = ["value", *(["source"] if show_npu else [])]
    if show_operators:
        facts, words = operators_of(operator_set), ["on the NPU", "conditions", "where one fails", "source"]
    if form == "json":
        click.echo(json.dumps(facts, indent=1))
        return
    spare = {"source": 1} if show_operators else {}  # a dozen documents; what breaks and what to do comes first
    columns = (Column(""), *(Column(word, long=True, spare=spare.get(word, 0)) for word in words))
    parts = {n: v if (show_npu or show_operators) and isinstance(v, list) else [v] for n, v in facts.items()}
    rows = tuple((name, *map(_cell, values)) for name, values in parts.items())
    show(Table(columns=columns, rows=rows))


def _show_config(form: str) -> None:
    keys = config_keys()
    if form == "json":
        names = ("default", "expected", "meaning")
        click.echo(json.dumps({key: dict(zip(names, said, strict=True)) for key, said in keys.items()}, indent=1))
        return
    columns = (Column("key"), Column("default"), Column("expected", long=True), Column("meaning", long=True))
    show(Table(columns=columns, rows=tuple((key, *map(str, said)) for key, said in keys.items())))


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}".replace(",", " ") if isinstance(value, int) and not isinstance(value, bool) else str(value)
