"""A compile that is looked at: the IR after a pass printed, drawn, executed or the end of it all; SRAM over time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from furc.build import ENF, Built, cache_key, cached, keep, link, lowered, read, verifying
from furc.frontend.fitting import fitted
from furc.frontend.onnx.hosted import Cause
from furc.ir_files import is_ir
from furc.profiling.recorded import record
from furc.report.dot import dot
from furc.request import Request
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level
from passes.manager import IR, QUIET, Listener, Listeners
from passes.options import CompileOptions
from passes.pipeline import LIR, PASSES, STAGES

PASS_NAMES = tuple(PASSES)
_LAST_OF_LDFG = next(stage.passes[-1].name for stage in STAGES if stage.target == "ldfg")


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
    """What came of it: a binary, or content of a level above. from_cache: the binary was there already.

    verified: the passes whose result was executed and compared, where that was asked for."""

    built: Built | None = None
    content: IR | None = None
    drawing: str = ""
    memory: str = ""
    from_cache: bool = False
    verified: tuple[str, ...] = ()


def inspect(
    source: Path | str,
    request: Request | None = None,
    wanted: Inspection | None = None,
    progress: Listener = QUIET,
    printed: Callable[[str], None] = print,
    reading: Callable[[], None] = lambda: None,
    loaded: Callable[[Graph], None] = lambda _: None,
) -> Inspected:
    """Compile a source and look at it on the way. printed: takes the IR to print. reading: is told of a model to come,
    loaded: of its dfg.

    Raises FurcError.
    """
    path, asked, wanted = Path(source), request or Request(), wanted or Inspection()
    key = cache_key(path, asked) if wanted.binary_only or not wanted.gives_text else None
    built = cached(key) if wanted.binary_only else None
    if built is not None:
        return Inspected(built=built, from_cache=True)
    if not is_ir(path):
        reading()

    def told(leave: Mapping[str, Cause]) -> tuple[IR, CompileOptions]:
        content, options = read(path, asked, leave)
        if isinstance(content, Graph) and content.level is Level.DFG:
            loaded(content)
        return content, options

    result = fitted(told, lambda found: _Inspector(wanted, printed).run(*found, progress))
    if result.built is not None:
        keep(key, result.built, path, asked)
    return result


class _Stopped(Exception):
    """The pass to stop after is done."""

    def __init__(self, ir: IR) -> None:
        super().__init__()
        self.ir = ir


class _Inspector(Listener):
    """Looks at the IR between passes."""

    def __init__(self, wanted: Inspection, printed: Callable[[str], None]) -> None:
        self._wanted, self._printed = wanted, printed
        self._drawing = ""  # of the ldfg, once it is complete

    def run(self, content: IR, options: CompileOptions, progress: Listener) -> Inspected:
        """From the content to what is wanted of it."""
        looks = self._wanted.draw or self._wanted.print_after or self._wanted.stop_after
        proof = verifying(content, options) if self._wanted.verify and isinstance(content, Graph) else None
        instruments = [each for each in (proof, self if looks else None) if each is not None]
        listener = Listeners(*instruments) if instruments else QUIET
        if not self._wanted.gives_text:
            built = link(content, options, progress, listener)
            verified = tuple(proof.checked) if proof is not None else ()
            memory = _memory(built, options) if self._wanted.memory else ""
            return Inspected(built=built, drawing=self._drawn(content), memory=memory, verified=verified)
        level = LIR if self._wanted.stop_after else self._wanted.level
        try:
            reached = lowered(content, options, level, progress, listener)
        except _Stopped as stopped:
            reached = stopped.ir
        verified = tuple(proof.checked) if proof is not None else ()
        return Inspected(content=reached, drawing=self._drawn(reached), verified=verified)

    def _drawn(self, content: IR) -> str:
        if not self._wanted.draw:
            return ""
        return self._drawing or dot(content.graph if isinstance(content, Program) else content)

    def passed(self, name: str, result: IR, seconds: float) -> None:
        if name in self._wanted.print_after:
            from passes.ir.lir_text import show_program  # here: with its grammar, which compiling a model does not need
            from passes.ir.text import show

            text = show(result) if isinstance(result, Graph) else show_program(result)
            self._printed(f"// after {name}\n{text}")
        if self._wanted.draw and name == _LAST_OF_LDFG and isinstance(result, Graph):
            self._drawing = dot(result)
        if name == self._wanted.stop_after:
            raise _Stopped(result)


def _memory(built: Built, options: CompileOptions) -> str:
    """SRAM over modelled time as a page."""
    from furc.report.memory_html import memory_html  # here: with plotly, which no other compile needs

    assert built.program is not None
    return memory_html(built.program, record(built.enf, options.npu))
