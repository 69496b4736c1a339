"""From a source file of any level to a binary, through the cache; and to any level on the way.

built = build(Path("model_int8.onnx"), Request(target_npu="warboy"))
graph = lower(Path("model.dfg"), "cdfg")
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from furc.cache import default_cache, key_of
from furc.data.inputs import inputs_of, random_inputs
from furc.frontend import load_onnx
from furc.ir_files import is_ir, read_ir, side_file
from furc.onnx.files import data_files
from furc.report.budget import Budget, budget_from_json, budget_of
from furc.request import Request
from furc.version import __version__
from isa.enf import Enf
from isa.errors import ConfigError, Loc, SourceError
from passes import pipeline
from passes.ir.graph import Graph, Level
from passes.ir.lir import Program
from passes.options import CompileOptions
from passes.pipeline import GRAPH_PASSES, Listener, run_pass
from passes.reference.verify import VerifyingListener

LIR, ENF = "lir", "enf"
LEVELS = (*map(str, Level), LIR, ENF)
Content = Graph | Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A binary and what it takes of its machine. program: what it was linked from; None where it is from the cache."""

    enf: Enf
    budget: Budget
    program: Program | None = None


def build(source: Path | str, request: Request | None = None, listener: Listener | None = None) -> Built:
    """The binary of a quantized model or of IR text, from the cache where it is there. Raises FurcError."""
    path, asked = Path(source), request or Request()
    key = cache_key(path, asked)
    built = cached(key)
    if built is None:
        content, options = read(path, asked)
        built = link(content, options, listener)
        keep(key, built, path, asked)
    return built


def lower(
    source: Path | str, level: str, request: Request | None = None, listener: Listener | None = None
) -> Graph | Program:
    """A quantized model or IR text at a level above enf, one of LEVELS. Raises FurcError."""
    content, options = read(Path(source), request or Request())
    return lowered(content, options, level, listener)


def run_passes(
    source: Path | str, names: Sequence[str], request: Request | None = None, *, verify: bool = False
) -> Graph:
    """The graph in IR text after named passes, each verified; "-" is stdin. verify: also execute before and after each.

    Raises ConfigError UnknownPass, and FurcError.
    """
    for name in names:
        if name not in GRAPH_PASSES:
            hint = f"they are {', '.join(GRAPH_PASSES)}"
            raise ConfigError("UnknownPass", f"there is no pass '{name}'", hint=hint)
    graph = read_ir(Path(source))
    if not isinstance(graph, Graph):
        raise SourceError("NotAGraph", "lir is a program, passes run on graphs", at=Loc(str(source)),
                          hint="give .dfg, .ldfg, .cdfg or .gir")  # fmt: skip
    options = (request or Request()).options(batch=graph.batch)
    listener = verifying(graph, options) if verify else Listener()
    for name in names:
        graph = run_pass(name, GRAPH_PASSES[name], graph, options, listener)
    return graph


def sources_of(source: Path) -> tuple[Path, ...]:
    """The files a source consists of: none of them may be overwritten."""
    return (source, side_file(source)) if is_ir(source) else (source,)


# --- one step after the other ---------------------------------------------------------------------------------


def read(source: Path, request: Request) -> tuple[Content, CompileOptions]:
    """The source at its own level, and the options that suit it. Raises FurcError."""
    if not is_ir(source):
        request.options()  # a wrong option is told before a large model is read
        return load_onnx(source, input_shapes=request.input_shapes), request.options()
    content = read_ir(source)
    graph = content.graph if isinstance(content, Program) else content
    if request.input_shapes:
        raise ConfigError("ShapesAreFixed", "IR text has its shapes", at=Loc(str(source)), hint="drop --input-shape")
    if graph.level is not Level.DFG and request.batch not in (None, graph.batch):
        raise ConfigError(
            "BatchIsFixed", f"{graph.level} text has batch {graph.batch}, {request.batch} was asked for",
            at=Loc(str(source)), hint="the batch is chosen at dfg or before",
        )  # fmt: skip
    return content, request.options(batch=graph.batch)


def lowered(content: Content, options: CompileOptions, level: str, listener: Listener | None = None) -> Content:
    """Down to a level above enf. Raises ConfigError TargetIrAbove where the content is below it already."""
    listener, own = listener or Listener(), LIR if isinstance(content, Program) else str(content.level)
    if LEVELS.index(level) < LEVELS.index(own):
        raise ConfigError(
            "TargetIrAbove", f"the source is {own}, which does not go back to {level}",
            hint=f"choose one of {', '.join(LEVELS[LEVELS.index(own) :])}",
        )  # fmt: skip
    if isinstance(content, Program):
        return content
    graph = pipeline.lower(content, options, Level(level) if level in set(Level) else Level.GIR, listener)
    return pipeline.assemble(graph, options, listener) if level == LIR else graph


def link(content: Content, options: CompileOptions, listener: Listener | None = None) -> Built:
    """All the way down."""
    listener = listener or Listener()
    program = lowered(content, options, LIR, listener)
    assert isinstance(program, Program)
    enf = pipeline.link(program, options, __version__, listener)
    return Built(enf=enf, budget=budget_of(enf, program, options.npu), program=program)


def verifying(graph: Graph, options: CompileOptions, then: Listener | None = None) -> Listener:
    """Executes the graph after every pass on random inputs, and names the pass that changes a result."""
    listener = VerifyingListener(random_inputs(inputs_of(graph.inputs)), options, then=then or Listener())
    listener.take(graph)
    return listener


# --- the cache ------------------------------------------------------------------------------------------------


def cache_key(source: Path, request: Request) -> str | None:
    """What the cache calls the binary of a source; None where the cache is not to be used.

    Everything that is read is in it, and the name of the file, which the binary may carry.
    """
    if not request.cache or not source.is_file():
        return None
    try:
        return key_of([source.name.encode(), *_contents(source), request.identity()])
    except (OSError, ValueError):
        return None  # who reads the source says why it cannot be read


def cached(key: str | None) -> Built | None:
    """What the cache holds."""
    found = default_cache().get(key) if key is not None else None
    if found is None:
        return None
    try:
        return Built(enf=found[0], budget=budget_from_json(found[1]))
    except (ValueError, KeyError, TypeError):
        return None  # compiling replaces the entry


def keep(key: str | None, built: Built, source: Path, request: Request) -> None:
    """Add to the cache, unless the source changed while it was compiled: nobody knows which of the two was."""
    if key is not None and cache_key(source, request) == key:
        default_cache().put(key, built.enf, built.budget.to_json())


def _contents(source: Path) -> Iterator[bytes]:
    """Hashes of all files that a source consists of. Raises OSError, ValueError."""
    yield _hash(source)
    beside = [side_file(source)] if is_ir(source) else data_files(source)
    for file in beside:
        yield file.name.encode()
        yield _hash(file) if file.is_file() else b""  # a file that is missing is the frontend's to refuse


def _hash(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
