"""A warning before the work begins: what of a model will not run on the NPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from furc.check import Judgement, check_file, left_in
from furc.cli.display import show
from furc.report.check_table import warning_table
from furc.request import Request
from isa.errors import FurcError
from passes.ir.graph import Graph


def warn_of_graph(graph: Graph) -> None:
    """What of a graph is on the host."""
    _warn(left_in(graph))


def warn_of_model(model: Path, request: Request) -> None:
    """What of a model will be. A model that cannot be read is left to whoever reads it next."""
    try:
        report = check_file(model, request)
    except FurcError:
        return
    _warn(report.judgements)


def _warn(judgements: Iterable[Judgement]) -> None:
    table = warning_table(judgements)
    if table is not None:
        show(table, err=True)
