"""From a source file of any level to a binary, through the cache; and to any level on the way.

built = build(Path("model_int8.onnx"), Request(target_npu="warboy"))
graph = lower(Path("model.dfg"), "cdfg")
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from furc.cache import ChangedError, default_cache, key_of
from furc.frontend.fitting import fitted
from furc.frontend.onnx.hosted import Cause
from furc.ir_files import is_ir, read_ir, side_file
from furc.onnx.files import data_files
from furc.profiling.budget import Budget, budget_from_json, budget_of
from furc.request import Request
from furc.runtime.trial import check_hosts_run
from furc.version import __version__
from isa.enf import Enf
from isa.errors import ConfigError, Loc
from passes import pipeline
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level
from passes.manager import IR, QUIET, Listener, run_pass
from passes.options import CompileOptions
from passes.pipeline import LIR, PASSES, level_of
from passes.plan import compile_best
from passes.verify import VerifyingListener

ENF = "enf"
LEVELS = (*pipeline.LEVELS, ENF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A binary and what it takes of its machine. program: what it was linked from; None where it is from the cache."""

    enf: Enf
    budget: Budget
    program: Program | None = None


def build(source: Path | str, request: Request | None = None, progress: Listener = QUIET) -> Built:
    """The binary of a quantized model or of IR text, from the cache where it is there. Raises FurcError."""
    path, asked = Path(source), request or Request()
    key = cache_key(path, asked)
    built = cached(key)
    if built is None:
        built = fitted(lambda leave: read(path, asked, leave), lambda found: link(*found, progress))
        keep(key, built, path, asked)
    return built


def lower(source: Path | str, level: str, request: Request | None = None, progress: Listener = QUIET) -> IR:
    """A quantized model or IR text at a level above enf, one of LEVELS. Raises FurcError."""
    if level not in LEVELS[:-1]:
        hint = f"one of {', '.join(LEVELS[:-1])}; build makes a binary"
        raise ConfigError("BadOption", f"there is no level '{level}' above {ENF}", hint=hint)
    path, asked = Path(source), request or Request()
    return fitted(lambda leave: read(path, asked, leave), lambda found: lowered(*found, level, progress))


def run_passes(source: Path | str, names: Sequence[str], request: Request | None = None, *, verify: bool = False) -> IR:
    """The graph in IR text after named passes, each verified; "-" is stdin. verify: also execute before and after each.

    Raises ConfigError UnknownPass, and FurcError.
    """
    for name in names:
        if name not in PASSES:
            hint = f"they are {', '.join(PASSES)}"
            raise ConfigError("UnknownPass", f"there is no pass '{name}'", hint=hint)
    ir, asked = read_ir(Path(source)), request or Request()
    _refuse_shapes(source, asked)
    _refuse_batch(source, asked, _graph(ir))
    options = asked.options(batch=_graph(ir).batch).with_liberties()
    listener = verifying(ir, options) if verify and isinstance(ir, Graph) else QUIET
    for done, name in enumerate(names):
        stage = next(stage for stage in pipeline.STAGES if PASSES[name] in stage.passes)
        wanted, own = stage.reads(PASSES[name]), level_of(ir)
        if own != wanted:
            this = f"after {names[done - 1]} it is {own}" if done else f"this is {own}"
            raise ConfigError("WrongLevel", f"{name} runs on {wanted}, {this}", at=Loc(str(source)),
                              hint=f"furc compile --target-ir {wanted} writes it")  # fmt: skip
        ir = run_pass(PASSES[name], ir, options, listener)
    return ir


def _refuse_shapes(source: Path | str, request: Request) -> None:
    if request.input_shapes:
        raise ConfigError("ShapesAreFixed", "IR text has its shapes", at=Loc(str(source)), hint="drop --input-shape")


def _refuse_batch(source: Path | str, request: Request, graph: Graph) -> None:
    if graph.level is not Level.DFG and request.batch not in (None, graph.batch):
        raise ConfigError(
            "BatchIsFixed", f"{graph.level} text has batch {graph.batch}, {request.batch} was asked for",
            at=Loc(str(source)), hint="the batch is chosen at dfg or before",
        )  # fmt: skip


def _graph(ir: IR) -> Graph:
    return ir if isinstance(ir, Graph) else ir.graph


def sources_of(source: Path) -> tuple[Path, ...]:
    """The files a source consists of: none of them may be overwritten."""
    return (source, side_file(source)) if is_ir(source) else (source,)


# --- one step after the other ---------------------------------------------------------------------------------


def read(
    source: Path, request: Request, leave: Mapping[str, Cause] = MappingProxyType({})
) -> tuple[IR, CompileOptions]:
    """The source at its own level, and the options that suit it. leave: nodes of a model for the host. Raises
    FurcError."""
    if not is_ir(source):
        request.options()  # a wrong option is told before a large model is read
        return request.load(source, leave=leave), request.options()
    content = read_ir(source)
    graph = _graph(content)
    _refuse_shapes(source, request)
    _refuse_batch(source, request, graph)
    return content, request.options(batch=graph.batch)


def lowered(
    content: IR, options: CompileOptions, level: str, progress: Listener = QUIET, instruments: Listener = QUIET
) -> IR:
    """Down to a level above enf. Raises ConfigError TargetIrAbove where the content is below it already."""
    own = level_of(content)
    if LEVELS.index(level) < LEVELS.index(own):
        raise ConfigError(
            "TargetIrAbove", f"the source is {own}, which does not go back to {level}",
            hint=f"choose one of {', '.join(LEVELS[LEVELS.index(own) :])}",
        )  # fmt: skip
    return compile_best(content, options, target=level, progress=progress, instruments=instruments).ir


def link(content: IR, options: CompileOptions, progress: Listener = QUIET, instruments: Listener = QUIET) -> Built:
    """All the way down. progress hears of every step, instruments look into what is kept (passes/plan.py)."""
    placements = content.placements if isinstance(content, Graph) else ()
    program = lowered(content, options, LIR, progress, instruments)
    assert isinstance(program, Program)
    enf = pipeline.link(program, options, __version__, progress)
    check_hosts_run(enf, program.graph)
    return Built(enf=enf, budget=budget_of(enf, program, options.npu, placements), program=program)


def verifying(graph: Graph, options: CompileOptions) -> VerifyingListener:
    """Executes the graph after every pass on random inputs, and names the pass that changes a result."""
    from furc.data.inputs import inputs_of, random_inputs  # here: with Pillow, and no other compile needs it

    listener = VerifyingListener(random_inputs(inputs_of(graph.inputs)), options)
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
    except ChangedError:
        return None  # no key names the code that runs
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
