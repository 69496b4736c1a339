"""furc.compile: a model in, a binary out, with the intermediate levels for whoever wants to look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from furc.compiler_config import compiler_config as check_config
from furc.frontend import load_onnx
from furc.frontend.fitting import fitted
from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.input_form import InputForm
from furc.onnx.files import Source
from furc.runtime.trial import check_hosts_run
from furc.version import __version__
from isa import npu as npus
from isa.enf import Enf
from isa.errors import ConfigError
from isa.npu import NpuConfig
from isa.operands import MAX_IMAGES
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.manager import QUIET, Listener
from passes.options import CompileOptions
from passes.pipeline import link
from passes.plan import compile_best

DEFAULT_TARGET = "warboy-2pe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A binary and what it was made from: gir graph and lir program."""

    enf: Enf
    program: Program
    options: CompileOptions


def compile(
    model: Source,
    *,
    target_npu: str = DEFAULT_TARGET,
    batch_size: int = 1,
    compiler_config: Mapping[str, object] | None = None,
    npu: NpuConfig | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Enf:
    """Compile a quantized ONNX model (a path, its bytes or a ModelProto) for a target.

    batch_size: images a run takes. compiler_config: the keys of `furc compile -c`. npu: a what-if machine instead of
    the target. input_shapes: shapes of inputs that the model leaves open. Raises FurcError.
    """
    options = compile_options(target_npu, batch_size, compiler_config or {}, npu)
    checked = check_config(compiler_config or {})

    def read(leave: Mapping[str, Cause]) -> Graph:
        return load_onnx(
            model, input_shapes=input_shapes, batch=1, npu=options.npu, max_npu_segments=checked.max_npu_segments,
            form=InputForm(checked.permute_input, checked.without_quantize),
            operator_set=checked.operator_set, leave=leave,
        )  # fmt: skip

    return fitted(read, lambda graph: compile_graph(graph, options)).enf


def compile_options(
    target_npu: str, batch_size: int, config: Mapping[str, object], npu: NpuConfig | None = None
) -> CompileOptions:
    """What the passes need, from what a user says."""
    checked = check_config(config)
    check_batch(batch_size)
    return CompileOptions(
        npu=npu if npu is not None else npus.target(target_npu),
        batch=batch_size,
        use_program_loading=checked.use_program_loading,
        max_npu_segments=checked.max_npu_segments,
        operator_set=checked.operator_set,
        schedule=checked.schedule,
    )


def check_batch(batch_size: int) -> None:
    """Raises ConfigError BadBatch."""
    if not isinstance(batch_size, int) or isinstance(batch_size, bool):
        raise ConfigError("BadBatch", f"the batch {batch_size!r} is no int", hint="write batch_size=2")
    if not 1 <= batch_size <= MAX_IMAGES:
        raise ConfigError(
            "BadBatch", f"a batch of {batch_size}, an instruction holds 1 to {MAX_IMAGES} images",
            hint="compile with a smaller batch and run it several times",
        )  # fmt: skip


def compile_graph(graph: Graph, options: CompileOptions, progress: Listener = QUIET) -> Compiled:
    """Compile a graph of any level down to a binary."""
    program, options = compile_best(graph, options, progress=progress)
    assert isinstance(program, Program)
    enf = link(program, options, __version__, progress)
    check_hosts_run(enf, program.graph)
    return Compiled(enf=enf, program=program, options=options)
