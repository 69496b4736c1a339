"""furc explain: from a node of the model to operators, instructions, memory and cycles, and back."""

from __future__ import annotations

from pathlib import Path

import click

from furc.cli.command import command as declare
from furc.cli.display import say, show
from furc.cli.request import FILE, for_models, takes_request
from furc.explain import Executed, Explained, explain_file
from furc.report.tables import Column, Table, count, shape
from furc.request import Request
from isa.errors import counted
from isa.operands import Range

SHOWN_RANGES = 6
COLUMNS = (
    Column("at", right=True), Column("instruction"), Column("engine", long=True), Column("from cycle", right=True),
    Column("to cycle", right=True), Column("reads", long=True), Column("writes", long=True),
)  # fmt: skip


@declare("explain", short_help="From a node to instructions, memory and cycles, and back.")
@click.argument("model", type=FILE)
@click.argument("where")
@click.option("--top", type=click.IntRange(min=1), default=20, metavar="N", help="Instructions of each operator.")
@takes_request
def command(request: Request, model: Path, where: str, top: int) -> None:
    """Say what belongs to WHERE in MODEL, an ENF or a model that is compiled first.

    WHERE is a node of the model (or a part of its name), #3 for an operator, @17 for an instruction, sram:0x400,
    dram:0x400 or 0x400 for an address, 21000 for a cycle. Each low-level operator is shown with the nodes it came
    from, the operators it reads from and that read from it, its instructions, when they run and what they touch.
    """
    for_models(request, model)
    found = explain_file(model, where, request)
    say(f"{found.asked}: {counted(len(found.operators), 'operator')} on the NPU, {len(found.host)} on the host\n")
    for host in found.host:
        reason = f", because {host.reason}" if host.reason else ""
        say(f"{host.name} on the host: {host.tensor} {shape(host.shape)}{reason}\n")
    for operator in found.operators:
        _show(operator, top)


def _show(operator: Explained, top: int) -> None:
    of = f"#{operator.number} " if operator.number >= 0 else ""
    say(f"{of}{operator.name} {shape(operator.shape)}".rstrip())
    for label, text in (
        ("from nodes", ", ".join(operator.nodes)),
        ("cycles", f"{count(operator.start_cycle)} to {count(operator.end_cycle)}"),
        ("reads", _ranges(operator.reads)),
        ("writes", _ranges(operator.writes)),
        ("reads from", _numbers(operator.reads_from)),
        ("read by", _numbers(operator.read_by)),
    ):
        if text:
            say(f"  {label:<12}{text}")
    show(Table(columns=COLUMNS, rows=tuple(map(_row, operator.instructions[:top]))))
    if len(operator.instructions) > top:
        say(f"and {counted(len(operator.instructions) - top, 'more instruction')}; --top shows them\n")


def _row(one: Executed) -> tuple[str, ...]:
    return (
        f"@{one.index}", one.text.partition(" ")[0], one.engine, count(one.start), count(one.stop),
        _ranges(one.reads), _ranges(one.writes),
    )  # fmt: skip


def _ranges(ranges: tuple[Range, ...]) -> str:
    shown = ", ".join(f"{r.space.value}:{r.start:#x}..{r.stop - 1:#x}" for r in ranges[:SHOWN_RANGES])
    return f"{shown}, +{len(ranges) - SHOWN_RANGES}" if len(ranges) > SHOWN_RANGES else shown


def _numbers(numbers: tuple[int, ...]) -> str:
    return ", ".join(f"#{n}" for n in numbers if n >= 0)
