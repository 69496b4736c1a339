"""From a source file to a binary, through the cache; and to any level on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from furc.cache import default_cache, key_of
from furc.cli.ir_files import is_ir, read_ir, side_file
from furc.cli.request import Request
from furc.frontend import load_onnx
from furc.report.budget import Budget, budget_from_json, budget_of
from furc.version import __version__
from isa.enf import Enf
from isa.errors import ConfigError, Loc
from passes import pipeline
from passes.ir.graph import Graph, Level
from passes.ir.lir import Program
from passes.options import CompileOptions
from passes.pipeline import Listener

LIR, ENF = "lir", "enf"
LEVELS = (*map(str, Level), LIR, ENF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A binary. program: what it was linked from; None where the binary came from the cache."""

    enf: Enf
    budget: Budget
    program: Program | None = None


def sources_of(source: Path) -> tuple[Path, ...]:
    """The files a source consists of: none of them may be overwritten."""
    return (source, side_file(source)) if is_ir(source) else (source,)


def key_for(source: Path, request: Request) -> str | None:
    """What the cache calls the binary of a source; None where the cache is not to be used."""
    if not request.cache or not source.is_file():
        return None
    try:
        return key_of([*_contents(source), request.identity()])
    except OSError:
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


def keep(key: str | None, built: Built) -> None:
    """Add to the cache."""
    if key is not None:
        default_cache().put(key, built.enf, built.budget.to_json())


def load(source: Path, request: Request) -> tuple[Graph | Program, CompileOptions]:
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


def build(source: Path, request: Request, listener: Listener | None = None) -> Built:
    """The binary of a source, from the cache where it is there. Raises FurcError."""
    key = key_for(source, request)
    built = cached(key)
    if built is None:
        content, options = load(source, request)
        built = linked(content, options, listener or Listener())
        keep(key, built)
    return built


def linked(content: Graph | Program, options: CompileOptions, listener: Listener) -> Built:
    """All the way down."""
    program = lowered(content, options, LIR, listener)
    assert isinstance(program, Program)
    enf = pipeline.link(program, options, __version__, listener)
    return Built(enf=enf, budget=budget_of(enf, program, options.npu), program=program)


def lowered(content: Graph | Program, options: CompileOptions, target: str, listener: Listener) -> Graph | Program:
    """Down to a level above enf. Raises ConfigError where the source is below it already."""
    level = LIR if isinstance(content, Program) else str(content.level)
    if LEVELS.index(target) < LEVELS.index(level):
        raise ConfigError(
            "TargetIrAbove", f"the source is {level}, which does not go back to {target}",
            hint=f"choose one of {', '.join(LEVELS[LEVELS.index(level) :])}",
        )  # fmt: skip
    if isinstance(content, Program):
        return content
    graph = pipeline.lower(content, options, Level(target) if target in set(Level) else Level.GIR, listener)
    return pipeline.assemble(graph, options, listener) if target == LIR else graph


def _contents(source: Path) -> Iterator[bytes]:
    data = source.read_bytes()
    yield source.suffix.encode()
    yield data
    if is_ir(source):
        yield side_file(source).read_bytes() if side_file(source).is_file() else b""
    elif b"location" in data:
        yield from _external_data(source, data)


def _external_data(source: Path, data: bytes) -> Iterator[bytes]:
    """The files that hold weights of the model; a file that is missing is the frontend's to refuse."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import external_data_helper

    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError):
        return
    tensors = [t for t in model.graph.initializer if external_data_helper.uses_external_data(t)]
    names = {external_data_helper.ExternalDataInfo(t).location for t in tensors}
    for name in sorted(names):
        file = source.parent / name
        yield name.encode()
        yield file.read_bytes() if file.is_file() else b""
