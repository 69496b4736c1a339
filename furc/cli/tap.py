"""Looks at the IR between passes: prints it, keeps it as a drawing, or ends the compile there."""

from __future__ import annotations

import click

from furc.report.dot import dot
from passes.ir.graph import Graph, Level
from passes.ir.text import show
from passes.pipeline import STAGES, Listener


class Stopped(Exception):  # noqa: N818: no error, the user asked for it
    """The pass to stop after is done."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph


class Tap(Listener):
    """then: who listens besides. dot: the drawing of the ldfg, once it is complete; "" before."""

    __slots__ = ("_draw", "_print_after", "_stop_after", "_then", "dot")

    def __init__(self, then: Listener, print_after: tuple[str, ...], stop_after: str | None, draw: bool) -> None:
        self._then, self._print_after, self._stop_after, self._draw = then, print_after, stop_after, draw
        self.dot = ""

    def started(self, stage: str) -> None:
        self._then.started(stage)

    def running(self, name: str) -> None:
        self._then.running(name)

    def passed(self, name: str, graph: Graph, seconds: float) -> None:
        self._then.passed(name, graph, seconds)
        if name in self._print_after:
            click.echo(f"// behind {name}\n{show(graph)}", nl=False)
        if self._draw and name == _LAST_OF_LDFG:
            self.dot = dot(graph)
        if name == self._stop_after:
            raise Stopped(graph)

    def finished(self, stage: str, seconds: float) -> None:
        self._then.finished(stage, seconds)


_LAST_OF_LDFG = next(stage.passes[-1][0] for stage in STAGES if (stage.source, stage.target) == (Level.DFG, Level.LDFG))
