"""A compile that is looked at: the IR after a pass printed, drawn, executed or the end of it all; SRAM over time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from furc.build import ENF, Built, Content, cache_key, cached, keep, link, lowered, read, verifying
from furc.ir_files import is_ir
from furc.report.dot import dot
from furc.report.memory_html import memory_html
from furc.report.recorded import record
from furc.request import Request
from passes.ir.graph import Graph, Level
from passes.ir.lir import Program
from passes.ir.text import show
from passes.options import CompileOptions
from passes.pipeline import GRAPH_PASSES, STAGES, Listener

PASS_NAMES = tuple(GRAPH_PASSES)
_LAST_OF_LDFG = next(stage.passes[-1][0] for stage in STAGES if (stage.source, stage.target) == (Level.DFG, Level.LDFG))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is asked for besides the binary. level: one of LEVELS, where to end.

    draw: the ldfg for Graphviz, or the level reached. memory: SRAM over modelled time as a page. print_after: passes
    after which the IR is printed. stop_after: a pass to end at. verify: execute the graph after every pass.
    """

    level: str = ENF
    draw: bool = False
    memory: bool = False
    print_after: tuple[str, ...] = ()
    stop_after: str | None = None
    verify: bool = False

    @property
    def gives_text(self) -> bool:
        """True where the result is IR, not a binary."""
        return self.level != ENF or self.stop_after is not None

    @property
    def binary_only(self) -> bool:
        """True where a binary from the cache will do."""
        looks_inside = self.draw or self.memory or self.print_after or self.verify
        return not self.gives_text and not looks_inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What came of it: a binary, or content of a level above. from_cache: the binary was there already."""

    built: Built | None = None
    content: Content | None = None
    drawing: str = ""
    memory: str = ""
    from_cache: bool = False


def inspect(
    source: Path | str,
    request: Request | None = None,
    wanted: Inspection | None = None,
    listener: Listener | None = None,
    printed: Callable[[str], None] = print,
    reading: Callable[[], None] = lambda: None,
) -> Inspected:
    """Compile a source and look at it on the way. printed: takes the IR to print. reading: is told of a model to come.

    Raises FurcError.
    """
    path, asked, wanted = Path(source), request or Request(), wanted or Inspection()
    key = cache_key(path, asked) if wanted.binary_only or not wanted.gives_text else None
    built = cached(key) if wanted.binary_only else None
    if built is not None:
        return Inspected(built=built, from_cache=True)
    if not is_ir(path):
        reading()
    content, options = read(path, asked)
    result = _Inspector(wanted, listener or Listener(), printed).run(content, options)
    if result.built is not None:
        keep(key, result.built, path, asked)
    return result


class _Stopped(Exception):  # noqa: N818: no error, the user asked for it
    """The pass to stop after is done."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph


class _Inspector(Listener):
    """Looks at the IR between passes. then: who listens besides."""

    __slots__ = ("_drawing", "_printed", "_then", "_wanted")

    def __init__(self, wanted: Inspection, then: Listener, printed: Callable[[str], None]) -> None:
        self._wanted, self._then, self._printed = wanted, then, printed
        self._drawing = ""  # of the ldfg, once it is complete

    def run(self, content: Content, options: CompileOptions) -> Inspected:
        """From the content to what is wanted of it."""
        listener: Listener = self
        if self._wanted.verify and isinstance(content, Graph):
            listener = verifying(content, options, then=self)
        if not self._wanted.gives_text:
            built = link(content, options, listener)
            assert built.program is not None
            memory = memory_html(built.program, record(built.enf, options.npu)) if self._wanted.memory else ""
            return Inspected(built=built, drawing=self._drawn(content), memory=memory)
        level = str(Level.GIR) if self._wanted.stop_after else self._wanted.level
        try:
            reached = lowered(content, options, level, listener)
        except _Stopped as stopped:
            reached = stopped.graph
        return Inspected(content=reached, drawing=self._drawn(reached))

    def _drawn(self, content: Content) -> str:
        if not self._wanted.draw:
            return ""
        return self._drawing or dot(content.graph if isinstance(content, Program) else content)

    def started(self, stage: str) -> None:
        self._then.started(stage)

    def running(self, name: str) -> None:
        self._then.running(name)

    def passed(self, name: str, graph: Graph, seconds: float) -> None:
        self._then.passed(name, graph, seconds)
        if name in self._wanted.print_after:
            self._printed(f"// after {name}\n{show(graph)}")
        if self._wanted.draw and name == _LAST_OF_LDFG:
            self._drawing = dot(graph)
        if name == self._wanted.stop_after:
            raise _Stopped(graph)

    def finished(self, stage: str, seconds: float) -> None:
        self._then.finished(stage, seconds)
