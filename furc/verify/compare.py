"""Where the NPU's numbers leave those of a reference: tensor by tensor, operator by operator.

Every int8 tensor that is left after fusion is made an output of the program, so that the NPU itself stores it: that is
the error as it arrives. A second program runs every operator alone, on the reference's own operands: that is what the
operator adds; the rest came from above.

found = verify_file("model_int8.onnx")
found.first_bad(1)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.compiler import compile_graph
from furc.data.inputs import inputs_of, random_inputs, read_inputs
from furc.frontend import load_onnx
from furc.frontend.fitting import fitted
from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.model import in_qdq_form
from furc.onnx.files import load, read_bytes
from furc.onnx.graph import Graph as OnnxGraph
from furc.onnx.model_proto import fixed_batch
from furc.onnx.oracle import Oracle
from furc.quantizer.observe.sqnr import Noise
from furc.request import Request
from furc.runtime.session import Session
from furc.tflite.litert import litert_tensors
from furc.tflite.mark import is_tflite
from isa.errors import ConfigError, Loc, RunError
from passes.analysis.host_share import calls, host_operators
from passes.dfg.fuse_tables import fuse_tables
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs, Value
from passes.ir.types import DType, Quant, per_tensor
from passes.options import CompileOptions

Array = NDArray[Any]
REQUANTIZED = ".requantized"  # what the frontend calls a float tensor that it brings onto another grid
QUANTIZED = ".int8"  # and one that the host makes and quantizes for the NPU


class Against(StrEnum):
    """Whose numbers are right."""

    ONNXRUNTIME = "onnxruntime"
    LITERT = "litert"


@dataclass(frozen=True, slots=True)
class Error:
    """different: elements that are not equal; worst: largest difference in LSB; sqnr_db: 120 where there is none."""

    different: int
    worst: int
    sqnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One tensor. arrived: its error in the whole run; above: what operands brought of it; added: what the operator."""

    tensor: str
    quant: Quant
    operator: str
    nodes: tuple[str, ...]
    elements: int
    arrived: Error
    above: Error
    added: Error


@dataclass(frozen=True, slots=True)
class Verification:
    """All tensors that both sides know, in execution order."""

    against: Against
    tensors: tuple[Checked, ...]

    def bad(self, limit: int) -> list[Checked]:
        """Operators that add more than so many LSB."""
        return [row for row in self.tensors if row.added.worst > limit]

    def first_bad(self, limit: int) -> Checked | None:
        return next(iter(self.bad(limit)), None)

    @property
    def worst_added(self) -> int:
        return max((row.added.worst for row in self.tensors), default=0)

    @property
    def worst_arrived(self) -> int:
        return max((row.arrived.worst for row in self.tensors), default=0)


def verify_file(
    path: Path | str,
    request: Request | None = None,
    files: Mapping[str, Path] | None = None,
    seed: int = 0,
    against: Against = Against.ONNXRUNTIME,
    told: Callable[[str], None] = lambda _: None,
) -> Verification:
    """`verify` for a model in a file. files: data by input name, seeded noise where an input has none.
    told: hears how images become inputs, where the model notes it.

    Raises FurcError.
    """
    if against not in tuple(Against):
        raise ConfigError("BadOption", f"against is '{against}'", hint=f"one of {', '.join(Against)}")
    asked, data = request or Request(), read_bytes(Path(path))
    model, inputs = model_and_data(path, asked, files or {}, seed, told)
    options = replace(asked, batch=1).options()
    if against == Against.ONNXRUNTIME:  # or its text
        shapes = fixed_batch(model, asked.input_shapes, asked.open_batch)
        return verify(model, inputs, options, input_shapes=shapes)
    return verify_litert(data, asked, inputs, str(path))


def verify_litert(data: bytes, request: Request, inputs: Mapping[str, Array], source: str = "") -> Verification:
    """A TFLite model against LiteRT. inputs: one array an input, batch 1. Raises FurcError: ConfigError NotTflite."""
    if not is_tflite(data, source):
        raise ConfigError("NotTflite", "LiteRT runs TFLite models only", at=Loc(source),
                          hint="--against onnxruntime")  # fmt: skip
    known, options = litert_tensors(data, inputs), replace(request, batch=1).options()

    def read(leave: Mapping[str, Cause]) -> Graph:
        return request.load(data, source, leave)  # not fused: LiteRT rounds in between

    return Verification(Against.LITERT, fitted(read, lambda graph: _checked(graph, inputs, known, options)))


def model_and_data(
    path: Path | str,
    asked: Request,
    files: Mapping[str, Path],
    seed: int,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """A model from a file, and an array for each of its inputs, noise where there is no file. told: as in
    `verify_file`. Raises FurcError."""
    model = load(path)
    graph = asked.load(model, str(path))
    known = inputs_of(graph.inputs)
    unknown = next((name for name in files if name not in {tensor.name for tensor in known}), None)
    if unknown is not None:
        hint = f"its inputs: {', '.join(tensor.name for tensor in known)}"
        raise RunError("UnknownInput", f"the model has no input '{unknown}'", at=Loc(str(path)), hint=hint)
    read = read_inputs(known, files, seed, note=graph.pixels, told=told)
    return model, random_inputs(known, seed) | read if files else read


def verify(
    model: onnx.ModelProto,
    inputs: Mapping[str, Array],
    options: CompileOptions,
    *,
    accelerate: bool = True,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Verification:
    """Against ONNX Runtime: integer kernels for Conv, Gemm and MatMul on the NPU, the QDQ form for the rest
    (docs/numerics.md).

    model: quantized (QDQ, or float with calibrated ranges); inputs: one array an input, batch 1.
    """
    model = in_qdq_form(model)
    grids = grids_of(model)

    def read(leave: Mapping[str, Cause]) -> Graph:
        return fuse_tables(loaded(model, options, input_shapes, leave), options)

    def check(graph: Graph) -> tuple[Checked, ...]:
        held = reference_of(model, inputs, hosted_tensors(graph))
        known = {(name, quant): held[integers] for integers, (name, quant) in grids.items() if integers in held}
        known |= {(name, grids[name][1]): array for name, array in held.items() if name in grids}  # outputs: integers'
        return _checked(graph, inputs, known, options, accelerate=accelerate)

    return Verification(Against.ONNXRUNTIME, fitted(read, check))


def loaded(
    model: onnx.ModelProto, options: CompileOptions, shapes: Mapping[str, tuple[int, ...]] | None,
    leave: Mapping[str, Cause] = MappingProxyType({}),
) -> Graph:  # fmt: skip
    """The dfg graph of a quantized model, not fused yet. leave: nodes for the host, by name. Raises FurcError."""
    return load_onnx(
        model, input_shapes=shapes, npu=options.npu, max_npu_segments=options.max_npu_segments,
        operator_set=options.operator_set, leave=leave,
    )  # fmt: skip


def hosted_tensors(graph: Graph) -> set[str]:
    """The tensors that the host makes from float to float."""
    return {operator.tensor for call in calls(graph) for operator in host_operators(call, graph)}


def reference_of(model: onnx.ModelProto, inputs: Mapping[str, Array], hosted: set[str]) -> dict[str, Array]:
    """Every quantized activation, by its ONNX name, as int8."""
    oracle = Oracle(model, hosted)
    values = oracle.run(inputs)
    return {name: values[name] for name in oracle.tensors}


def _checked(
    graph: Graph,
    inputs: Mapping[str, Array],
    reference: Mapping[tuple[str, Quant], Array],
    options: CompileOptions,
    *,
    accelerate: bool = True,
) -> tuple[Checked, ...]:
    makers = {op.result: op for op in graph.ops if op.runs is not Runs.HOST and op.result.type.dtype is DType.I8}
    known: dict[str, Array] = {}
    for value in (value for op in graph.ops for value in op.results if value.type.quant is not None):
        names = (value.name, value.name.removesuffix(REQUANTIZED), value.name.removesuffix(QUANTIZED))
        found = next((reference[name, value.type.q] for name in names if (name, value.type.q) in reference), None)
        if found is not None and found.size == value.type.elements:
            known[value.name] = found.reshape(value.type.shape)
    shown = [value for value in makers if value.name in known]
    alone, given = _each_alone(graph, known, shown)
    graph.outputs += [value for value in shown if value not in graph.outputs]
    whole = _run(graph, inputs, options, accelerate)
    single = _run(alone, {**inputs, **given}, options, accelerate) if shown else {}
    return tuple(_row(makers[v], v, whole[v.name], single[v.name], known[v.name]) for v in shown)


def _run(graph: Graph, inputs: Mapping[str, Array], options: CompileOptions, accelerate: bool) -> dict[str, Array]:
    taken = {value.name for value in graph.inputs}
    session = Session(compile_graph(graph, options).enf, npu=options.npu, accelerate=accelerate)
    return session.run({name: array for name, array in inputs.items() if name in taken})


def _each_alone(
    graph: Graph, known: Mapping[str, Array], shown: Sequence[Value]
) -> tuple[Graph, dict[str, Array]]:  # fmt: skip
    """A graph in which whoever reads a known tensor reads a new input that holds the reference's; those inputs."""
    alone = Graph(name=graph.name, level=graph.level, source=graph.source, batch=graph.batch)
    own = {value: Value(value.name, value.type) for value in (*graph.inputs, *graph.constants)}  # passes change types
    alone.constants = {own[value]: array for value, array in graph.constants.items()}
    read: dict[Value, Value] = dict(own)
    made: dict[Value, Value] = {}
    given: dict[str, Array] = {}
    for op in graph.ops:
        results = tuple(Value(value.name, value.type) for value in op.results)
        alone.ops.append(op.on(lambda value: read.get(value, value), results))
        for old, new in zip(op.results, results, strict=True):
            made[old] = read[old] = new
            if old.name in known and old.type.dtype is DType.I8 and graph.users().get(old):
                read[old] = Value(f"{old.name}.given", old.type)
                given[read[old].name] = known[old.name]
    alone.outputs = [made[value] for value in shown]
    alone.remove_dead()
    users = alone.users()
    sources = [*(own[value] for value in graph.inputs), *(value for value in read.values() if value.name in given)]
    alone.inputs = [value for value in sources if users.get(value)]
    return alone, given


def _row(op: Op, value: Value, whole: Array, single: Array, reference: Array) -> Checked:
    zero = value.type.q.z
    return Checked(
        tensor=value.name, quant=value.type.q, operator=op.mnemonic, nodes=op.loc.nodes, elements=reference.size,
        arrived=_error(whole, reference, zero), above=_error(whole, single, zero),
        added=_error(single, reference, zero),
    )  # fmt: skip


def _error(mine: Array, theirs: Array, zero: int) -> Error:
    mine, theirs = mine.astype(np.int32).reshape(-1), theirs.astype(np.int32).reshape(-1)
    distance, noise = np.abs(mine - theirs), Noise()
    noise.add((theirs - zero).astype(np.float32), (mine - zero).astype(np.float32))
    return Error(int(np.count_nonzero(distance)), int(distance.max(initial=0)), noise.db)


def grids_of(model: onnx.ModelProto) -> dict[str, tuple[str, Quant]]:
    """Of every QuantizeLinear, by its output: the float tensor that it takes, and the grid as int8.

    One float tensor may go onto several grids, and the NPU may have it on another one before.
    """
    graph, found = OnnxGraph(model), dict[str, tuple[str, Quant]]()
    for node in graph.nodes:
        scale, zero = (graph.constants.get(node.input(i)) for i in (1, 2))
        if node.op != "QuantizeLinear" or scale is None or scale.size != 1:
            continue
        unsigned = zero is None or zero.dtype == np.uint8
        at = (0 if zero is None else int(zero.reshape(-1)[0])) - (128 if unsigned else 0)
        found[node.output] = node.inputs[0], per_tensor(float(scale.reshape(-1)[0]), at)
    return found
