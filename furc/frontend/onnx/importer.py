"""Turn a loaded ONNX model into a dfg graph, node by node, through the families of operators."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from furc.frontend.context import Context, Reads
from furc.frontend.entries import (
    Constant,
    Entry,
    GraphInput,
    Joined,
    OnHost,
    Pending,
    Quantized,
    QuantizedConstant,
    Stored,
    Unary,
)
from furc.frontend.onnx import convolution, elementwise, movement, pooling, quantization, reductions, resize
from furc.frontend.onnx.folding import FOLDABLE_MOVES, evaluate, foldable
from furc.frontend.onnx.hosted import (
    ELEMENTS,
    Cause,
    Part,
    Told,
    Turns,
    in_turns,
    infer,
    outlined,
    reads_of,
    with_shapes,
)
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import QUANTIZE as QUANTIZE_AGAIN
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.placing import Placing, decide
from furc.frontend.onnx.quantization import DEQUANTIZE, QUANTIZE, activation_quant, read_parameters
from furc.frontend.onnx.refusals import refusal
from furc.frontend.onnx.registry import HANDLERS, MOVES
from furc.frontend.onnx.resize import interpolates
from furc.frontend.onnx.rounded_pools import agree_on_shape
from furc.isolated import Worker
from furc.onnx.graph import OWN_DOMAINS, captured, noted_pixels
from furc.runtime.host_model import GROWING, refusals
from isa.enf import OPEN
from isa.errors import FurcError, Loc, LowerError, SourceError
from passes.dfg.check_operators import problems_of
from passes.dfg.legality import OperatorSet
from passes.ir.graph import Graph, Placement
from passes.ir.levels import broken_rules, verify
from passes.ir.op import Array, Level, Op, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ldfg.to_lowlevel import to_lowlevel
from passes.ops.host import Dequantize, HostCall, Recast
from passes.ops.move import Reshape
from passes.options import CompileOptions

FAMILIES = (
    convolution,
    elementwise,
    movement,
    pooling,
    quantization,
    reductions,
    resize,
)  # importing them fills the registry
FLOATING = Pending | Unary | Joined  # results that wait for a quantization
CAPTURED = -1  # the position of what the body of an If or Loop reads
SHAPE_READERS = ("Shape", "Size")
AFTER_HOST = "it follows what runs on the host"
EXPORT = "export the model again; onnx.checker.check_model(path, full_check=True) may say more"


MOST_WALKS = 24  # each finds more nodes for the host; then all of them go there
REFUSED = ("TensorTooLarge", "ConstantOutput")  # no host helps


def import_model(
    model: Model,
    placing: Placing,
    operator_set: str = OperatorSet.SEED28,
    leave: Mapping[str, Cause] = MappingProxyType({}),
) -> Graph:
    """The dfg graph of a checked model: what the NPU cannot take becomes calls of the host, and with it what is cheaper
    there, or would need more segments of the NPU than are allowed. leave: nodes for the host, by name, whatever they
    are.

    Raises SourceError or LowerError naming the node, where no host helps either."""
    with Worker(with_shapes) as shapes:
        return _imported(lambda placed: Importer(model, placed, operator_set, shapes), placing, leave)


def _imported(walking: Callable[[Placed], Importer], placing: Placing, leave: Mapping[str, Cause]) -> Graph:
    """walking: a walk that starts with what is known of where nodes go."""
    left: dict[int, Cause] = {}  # what the NPU cannot take
    placed = Placed({}, frozenset())
    placements: tuple[Placement, ...] = ()
    for _ in range(MOST_WALKS):
        walk = walking(placed)
        graph = walk.run()
        new = {index: cause for index, cause in walk.hosts.items() if index not in placed.hosts}
        left |= new
        if walk.placed != placed:
            placed = Placed(dict(left), walk.placed.known) if new else walk.placed
            continue
        hosts = placed.hosts
        if left and placed.hosts == left:
            hosts, placements = decide(walk, placing)
        if hosts != placed.hosts:
            placed = Placed(hosts, placed.known)
            continue
        told = {node.index: leave[node.name] for node in walk.nodes if node.name in leave}
        found = told or _cannot_be_lowered(graph, walk, placing)
        unable = {i: cause for i, cause in found.items() if i not in placed.hosts}
        if not unable:
            graph.placements = placements
            return graph
        left |= unable
        placed = Placed(dict(left), frozenset(walk.folded))
    everything = Cause("too much of the model around it is on the host", QUANTIZE_AGAIN)
    causes = {node.index: left.get(node.index, everything) for node in walk.nodes if node.index not in placed.known}
    return walking(Placed(causes, placed.known)).run()


def _cannot_be_lowered(graph: Graph, walk: Importer, placing: Placing) -> dict[int, Cause]:
    """Nodes whose ops have no low-level form, such as a join along an axis that the machine does not join."""
    try:
        to_lowlevel(graph.copied(), CompileOptions(npu=placing.npu))
    except LowerError as error:
        cause = Cause(error.message, error.hint)
        return {node.index: cause for node in walk.nodes if node.name in error.at.nodes}
    return {}


class Placed(NamedTuple):
    """hosts: nodes on the host, by number, and why. known: nodes that are computed when compiling."""

    hosts: Mapping[int, Cause]
    known: frozenset[int]


def _given(value: Value) -> Entry:
    """An input of the model. Only the host reads other integers than bytes."""
    return GraphInput(value) if value.type.dtype in (DType.F32, DType.I8, DType.U8) else OnHost(value)


def integers_again(name: str, quant: Quant, *, unsigned: bool) -> list[onnx.NodeProto]:
    """Nodes that make an integer tensor of its real values: exactly what it was before."""
    zero = np.array(quant.z + 128, np.uint8) if unsigned else np.array(quant.z, np.int8)
    scale = helper.make_tensor(f"{name}/scale", TensorProto.FLOAT, [], [quant.s])
    point = numpy_helper.from_array(zero, f"{name}/zero")
    return [
        helper.make_node("Constant", [], [f"{name}/scale"], value=scale),
        helper.make_node("Constant", [], [f"{name}/zero"], value=point),
        helper.make_node("QuantizeLinear", [f"{name}/real", f"{name}/scale", f"{name}/zero"], [name]),
    ]


def _model_name(model: Model) -> str:
    """The graph's own name; the file's where an exporter put one that says nothing."""
    name = str(model.proto.graph.name)
    says_nothing = "main_graph" in name or name in ("", "main", "graph", "torch_jit", "torch-jit-export")
    return (Path(model.source).stem if says_nothing else name) or "model"


class Importer(Context[Node]):
    """The context of one model, and the walk over its nodes."""

    all_quantized = False  # float tensors may cross between NPU and host wherever they are

    def __init__(self, model: Model, placed: Placed, operator_set: str, shapes: Worker) -> None:
        self.model, self.before, self.operator_set, self.shapes = model, placed, operator_set, shapes
        self.nodes = [Node(proto, index, model.source, model.opset) for index, proto in model.nodes]
        self.turns = in_turns(self.nodes, placed.hosts, placed.known) if placed.hosts else Turns(self.nodes, {})
        self.hosts, self.folded, self.called = dict(placed.hosts), set[int](), set[int]()
        self.told: dict[str, Told] = {}  # of tensors that the host makes
        self.real: dict[Value, Value] = {}  # int8 tensors as the host reads them
        graph = Graph(name=_model_name(model), level=Level.DFG, source=model.source)
        graph.pixels = noted_pixels(model.proto)
        for name, dtype, shape in model.inputs:
            graph.inputs.append(Value(name, TensorType(shape, dtype)))
        first = model.inputs[0].shape if model.inputs else ()
        graph.batch = first[0] if first else 1
        super().__init__(graph, self.nodes, [o.name for o in model.proto.graph.output])
        for node in self.nodes:
            for name in captured(node.proto):
                self.readers.setdefault(name, []).append((node, CAPTURED))
        self.env.update((value.name, _given(value)) for value in graph.inputs)
        self._define_initializers()

    @property
    def placed(self) -> Placed:
        """What this walk knows of where nodes go. The graph is right once a walk ends with what it began with."""
        return Placed(self.hosts, frozenset(self.folded if self.hosts else ()))

    def run(self) -> Graph:
        """Walk over the nodes; what was found out on the way is in `placed`. Raises SourceError or LowerError."""
        with np.errstate(all="ignore"):  # what overflows saturates, as in ONNX Runtime
            for node in self.turns.order:
                self._import_or_leave(node)
            for output in self.model.proto.graph.output:
                self.graph.outputs.append(self._output(output.name))
        if self.placed == self.before:
            self.graph.remove_dead()
            verify(self.graph)
        return self.graph

    def readers_of(self, tensor: str) -> list[Node]:
        return [node for node, _ in self.readers.get(tensor, ())]

    def _import_or_leave(self, node: Node) -> None:
        """Import a node, or find out that the host must have it."""
        if node.index in self.called or node.index in self.folded:
            return
        if node.index in self.before.hosts:
            self._call(self.turns.groups[node.index])
            return
        try:
            self._import_checked(node)
        except LowerError as error:
            if error.name in REFUSED:
                raise
            after_host = any(isinstance(self.env.get(name), OnHost) for name in node.inputs)
            conversion = node.op in (QUANTIZE, DEQUANTIZE) and after_host  # as little a reason as any other has
            self._leave(node, Cause("", "") if conversion else Cause(error.message, error.hint))
            return
        if all(isinstance(self.env.get(name), Constant | QuantizedConstant) for name in node.outputs if name):
            self.folded.add(node.index)

    # the host

    def _leave(self, node: Node, cause: Cause) -> None:
        """The host has a node. What it reads as float, never quantized, is the host's as well."""
        self.hosts.setdefault(node.index, cause)
        for name in reads_of(node):
            self._pull(name, node)
        self._define_on_host(node)

    def _pull(self, tensor: str, reader: Node) -> None:
        """The nodes that make a float tensor, back to what is quantized or on the host, for `reader` to read."""
        cause = Cause(f"{reader.op} '{reader.name}' on the host reads its float result", QUANTIZE_AGAIN)
        stack = [tensor]
        while stack:
            name = stack.pop()
            maker = self.makers.get(name)
            if maker is not None and maker.index not in self.hosts and isinstance(self.env.get(name), FLOATING):
                self.hosts[maker.index] = cause
                stack += reads_of(maker)

    def _define_on_host(self, node: Node) -> None:
        """The entries of what a node on the host makes."""
        told, constants = dict[str, Told](), dict[str, Array]()
        for name in reads_of(node):
            entry = self._known_entry(node, name)
            if isinstance(entry, Constant | QuantizedConstant):
                constants[name] = entry.array
            else:
                told[name] = self._told_of(name, entry)
        if node.inputs and node.inputs[0] in told:
            agree_on_shape(node, told[node.inputs[0]].shape)
        results = infer(node, told, constants, self.model.proto.opset_import, self.shapes)
        for name, result in zip(node.outputs, results, strict=True):
            if name:
                result = self._declared(name, result)
                self.told[name] = result
                type = TensorType(result.shape or (), result.dtype or DType.F32)
                is_told = result.dtype is not None and result.shape is not None
                self.env[name] = OnHost(Value(name, type), told=is_told)

    def _declared(self, name: str, told: Told) -> Told:
        """What the model says of an output whose rank cannot be inferred; one without axes may just be left open."""
        info = next((o for o in self.model.proto.graph.output if o.name == name), None)
        if told.shape is not None or info is None or not info.type.tensor_type.shape.dim:
            return told
        dims = info.type.tensor_type.shape.dim
        extents = tuple(int(d.dim_value) if d.HasField("dim_value") else OPEN for d in dims)
        return Told(told.element or info.type.tensor_type.elem_type, extents)

    def _told_of(self, name: str, entry: Entry) -> Told:
        if name in self.told:
            return self.told[name]
        value = self._given_input(name)
        if value is not None:
            return Told(ELEMENTS[value.type.dtype], value.type.shape)
        dtype = (DType.U8 if entry.unsigned else DType.I8) if isinstance(entry, Stored) else DType.F32
        return Told(ELEMENTS[dtype], tuple(entry.shape))

    def _given_input(self, name: str) -> Value | None:
        return next((value for value in self.graph.inputs if value.name == name), None)

    def _known_entry(self, node: Node, name: str) -> Entry:
        maker = self.makers.get(name)
        if name not in self.env and maker is not None and maker.index in self.before.known:
            self._import_or_leave(maker)  # a shape, say, of what was made for the same call
        if name not in self.env:
            near = difflib.get_close_matches(name, self.env, 1)
            raise node.invalid(f"nothing makes input '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return self.env[name]

    def _call(self, group: list[Node]) -> None:
        """One call of the host for nodes that go together."""
        inside = {node.index for node in group}
        self.called |= inside
        refused = next(refusals(node.proto for node in group), None)
        if refused is not None:
            raise LowerError("UnsupportedOperator", refused, at=group[0].loc, hint="leave it out of the model")
        for node in group:
            self._leave(node, self.before.hosts[node.index])
        self._check_sizes_are_known(group)
        made = [name for node in group for name in node.outputs if name]
        reads = dict.fromkeys(name for node in group for name in reads_of(node) if name not in made)
        constants = {n: e.array for n in reads if isinstance(e := self.env[n], Constant | QuantizedConstant)}
        inputs, before = self._given_to_host([name for name in reads if name not in constants], group[0])
        outputs = [name for name in made if self._leaves(name, inside)]
        for name in outputs:
            self._check_can_leave(name)
        told = self.told | {name: Told(ELEMENTS[v.type.dtype], v.type.shape) for name, v in inputs.items()}
        part = Part(group, list(inputs), outputs, constants, before)
        data = outlined(self.graph.name, part, self.before.hosts, told, self.model.proto.opset_import)
        model = self.builder.constant(
            f"{group[0].name}.model", np.frombuffer(data, np.uint8), TensorType((len(data),), DType.U8)
        )
        results = []
        for name in outputs:
            value = Value(self.builder.names.fresh(name), self._on_host(name).value.type)
            self.env[name] = OnHost(value)
            results.append(value)
        if results:
            cause = self.before.hosts[group[0].index]
            loc = Loc(self.model.source, tuple(node.name for node in group))
            self.graph.ops.append(
                HostCall(
                    results=tuple(results), loc=loc, inputs=tuple(inputs.values()), model=model,
                    reason=cause.reason, remedy=cause.remedy,
                )
            )  # fmt: skip

    def _check_sizes_are_known(self, group: list[Node]) -> None:
        """Of what makes more elements than it reads: a binary whose sizes nothing bounds is not run."""
        for node in group:
            for name in node.outputs if node.op in GROWING else ():
                shape = self._on_host(name).value.type.shape if name else ()
                if name and (not self._on_host(name).told or OPEN in shape):
                    what = f"only a run tells how large '{name}' is, which {node.op} makes"
                    raise LowerError("UnsupportedOperator", what, at=node.loc, hint="make its sizes constants")

    def _on_host(self, name: str) -> OnHost:
        entry = self.env[name]
        assert isinstance(entry, OnHost)
        return entry

    def _leaves(self, name: str, inside: set[int]) -> bool:
        """Somebody outside reads what a call makes."""
        readers = (node.index for node, _ in self.readers.get(name, ()))
        return name in self.float_outputs or any(i not in inside and i not in self.before.known for i in readers)

    def _check_can_leave(self, name: str) -> None:
        """Between two calls, and as an output, tensors have a type that furc knows, and elements."""
        type = self._on_host(name).value.type
        if 0 in type.shape:
            raise LowerError(
                "EmptyTensor", f"'{name}' would be {list(type.shape)}: it has no elements", at=self.makers[name].loc,
                hint="use a larger input",
            )  # fmt: skip
        if not self._on_host(name).told:
            maker = self.makers[name]
            element = self.told[name].element
            kind = TensorProto.DataType.Name(element).lower() if self.told[name].dtype is None and element else ""
            what = f"is {kind}" if kind else "has a rank that only a run tells"
            raise LowerError(
                "UnsupportedOperator", f"'{name}', made by {maker.op} on the host, {what}", at=maker.loc,
                hint="cast it to float32 or int64, or remove it from the outputs",
            )  # fmt: skip

    def _given_to_host(self, names: list[str], node: Node) -> tuple[dict[str, Value], list[onnx.NodeProto]]:
        """Values that the host has for what a call reads, by the names it reads; and nodes that first make integers."""
        given, before = dict[str, Value](), list[onnx.NodeProto]()
        for name in names:
            entry, value = self.env[name], self._given_input(name)
            if value is not None:
                given[name] = value
            elif isinstance(entry, OnHost):
                given[name] = entry.value
            elif isinstance(entry, Stored):
                real = self._real(entry.value, name, node)
                given[f"{name}/real"] = real
                before += integers_again(name, entry.value.type.q, unsigned=entry.unsigned)
            elif isinstance(entry, Quantized):
                given[name] = self._real(entry.value, name, node)
            else:  # it was just found that its maker belongs to the host: this walk is not the last
                given[name] = Value(name, TensorType(tuple(entry.shape), DType.F32))
        return given, before

    def _real(self, value: Value, name: str, node: Node) -> Value:
        """An int8 tensor as the float tensor that the host reads; made once."""
        if value not in self.real:
            maker = self.makers.get(name)
            loc = maker.loc if maker is not None else node.loc
            self.real[value] = self.builder.add(
                Dequantize, f"{name}.real", TensorType(value.type.shape, DType.F32), loc, x=value
            )
        return self.real[value]

    def reads(self, node: Node, index: int) -> Quant | Reads:
        if node.op in (QUANTIZE, DEQUANTIZE) and index == 0:
            known = all(isinstance(self.env.get(name), Constant) for name in node.inputs[1:] if name)
            return activation_quant(read_parameters(self, node), node) if known else Reads.VALUES
        if node.op in MOVES and (index == 0 or node.op == "Concat"):
            return Reads.VALUES if interpolates(node) else Reads.ELEMENTS
        return Reads.SHAPE if node.op in SHAPE_READERS else Reads.VALUES

    def _define_initializers(self) -> None:
        for tensor in self.model.proto.graph.initializer:
            if tensor.name in self.env:
                continue
            at = Loc(self.model.source, detail=f"initializer '{tensor.name}'")
            try:
                self.env[tensor.name] = Constant(np.asarray(numpy_helper.to_array(tensor)))
            except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
                raise SourceError("InvalidGraph", f"its data cannot be read: {error}", at=at, hint=EXPORT) from error

    def _import_checked(self, node: Node) -> None:
        """Import one node; what it says wrongly in a way nobody foresaw is reported as such."""
        before = len(self.graph.ops)
        try:
            self._import(node)
            added = self.graph.ops[before:]
            problems = [f"{op.mnemonic}: {p}" for op in added for p in broken_rules(op, Level.DFG)]
        except FurcError:
            raise
        except (ArithmeticError, LookupError, ValueError, TypeError, MemoryError) as error:
            raise node.invalid(f"attributes and inputs do not go together ({error})") from error
        if problems:
            raise node.invalid(problems[0])
        for op in added:
            self._check_limits(op, node)

    def _check_limits(self, op: Op, node: Node) -> None:
        """The host has the nodes of an op that the machine cannot take, some of which were met before this one."""
        for problem, hint in problems_of(op):
            cause = Cause(problem, hint)
            if node.name in op.loc.nodes or not op.loc.nodes:
                raise LowerError("UnsupportedOperator", problem, at=op.loc, hint=hint)
            for other in self.nodes:
                if other.name in op.loc.nodes:
                    self.hosts.setdefault(other.index, cause)

    def _import(self, node: Node) -> None:
        for name in reads_of(node):
            self._known_entry(node, name)
        for name, entry in zip(node.outputs, self._results(node), strict=False):
            if name:
                self.env[name] = entry

    def _results(self, node: Node) -> Iterable[Entry]:
        entries = [self.env[t] if t else None for t in node.inputs]
        own = node.proto.domain in OWN_DOMAINS
        if own and node.op not in (QUANTIZE, DEQUANTIZE) and foldable(node, entries):
            return self._folded(node, entries)
        if node.op not in HANDLERS or not (own or node.op in (QUANTIZE, DEQUANTIZE)):
            raise refusal(node, self._first_shape(entries))
        self._check_crossing(node, entries)
        result = HANDLERS[node.op](self, node)
        return result if isinstance(result, tuple) else (result,)

    def _folded(self, node: Node, entries: list[Entry | None]) -> Iterable[Entry]:
        """Compute now. Integers after a DequantizeLinear stay integers where the operator only moves elements."""
        first = entries[0] if entries else None
        if isinstance(first, QuantizedConstant) and node.op in FOLDABLE_MOVES:
            kept = FOLDABLE_MOVES[node.op](node, first)
            if kept is not None:
                arrays = [e.array if isinstance(e, Constant) else None for e in entries]
                stored = evaluate(node, [first.stored, *arrays[1:]])
                return [replace(first, stored=array, axis=kept.axis) for array in stored]
        known = [e.array if isinstance(e, Constant | QuantizedConstant) else None for e in entries]
        return [Constant(array) for array in evaluate(node, known)]

    def _check_crossing(self, node: Node, entries: list[Entry | None]) -> None:
        """What the host makes reaches the NPU as float tensors of known extents."""
        for name, entry in zip(node.inputs, entries, strict=True):
            if isinstance(entry, OnHost) and not entry.can_cross:
                if node.op in SHAPE_READERS and entry.told and not entry.value.type.is_open:
                    continue
                integers = entry.told and entry.value.type.dtype is not DType.F32
                what = f"is {entry.value.type.dtype.numpy}" if integers else "has extents that only a run tells"
                raise node.unsupported(f"{node.op} reads '{name}', which the host makes and which {what}", AFTER_HOST)

    def _first_shape(self, entries: Iterable[Entry | None]) -> tuple[int, ...] | None:
        return next((e.shape for e in entries if e is not None), None)

    def _output(self, tensor: str) -> Value:
        """The value of a graph output, under the output's own name."""
        maker = self.makers.get(tensor)
        at = maker.loc if maker else Loc(self.model.source, detail=f"output '{tensor}'")
        if tensor not in self.env:
            raise SourceError("InvalidGraph", f"nothing makes output '{tensor}'", at=at, hint=EXPORT)
        entry = self.env[tensor]
        if maker is None or isinstance(entry, Constant | QuantizedConstant):
            hint = "remove this output: its value is known without running the model"
            raise LowerError("ConstantOutput", f"output '{tensor}' does not depend on computation", at=at, hint=hint)
        if isinstance(entry, Stored):
            return self._stored_output(entry, tensor, at)
        if isinstance(entry, OnHost):
            return self._host_output(entry, tensor, maker)
        node = Node(maker.proto, maker.index, maker.source, maker.opset)
        if isinstance(entry, Quantized):
            value = entry.value
        elif isinstance(entry, Unary) and self.stays_on_grid(entry):
            value = self.complete(entry, entry.x.type.q, f"{tensor}.int8", node.loc)
        else:
            self._pull_output(tensor, node)
            return Value(tensor, TensorType(tuple(entry.shape), DType.F32))  # of a walk that is not the last
        return self._named(Dequantize, value, TensorType(value.type.shape, DType.F32), tensor, at)

    def _pull_output(self, tensor: str, maker: Node) -> None:
        if not isinstance(self.env[tensor], FLOATING):  # an input under another name
            self.hosts.setdefault(maker.index, Cause(f"output '{tensor}' is never quantized", QUANTIZE_AGAIN))
        cause = Cause(f"output '{tensor}' is the float result of {maker.op}, never quantized", QUANTIZE_AGAIN)
        before = set(self.hosts)
        self._pull(tensor, maker)
        self.hosts |= {index: cause for index in self.hosts if index not in before}

    def _host_output(self, entry: OnHost, tensor: str, maker: Node) -> Value:
        """What a call makes, under the output's name."""
        value = entry.value
        others = [o.name for o in self.model.proto.graph.output if o.name != tensor]
        if value in self.graph.inputs or value.name in others:
            self.hosts.setdefault(maker.index, Cause(f"output '{tensor}' is an input or another output", ""))
        value.name = tensor
        return value

    def _stored_output(self, entry: Stored, tensor: str, at: Loc) -> Value:
        value = entry.value
        if entry.unsigned:
            quant = Quant(value.type.q.scale, (value.type.q.z + 128,))
            return self._named(Recast, value, TensorType(value.type.shape, DType.U8, quant), tensor, at)
        taken = value in self.graph.inputs or value in self.graph.outputs or value in self.graph.constants
        if taken:  # one value cannot carry two names
            return self._named(Reshape, value, value.type, tensor, at, to=value.type.shape)
        value.name = tensor
        return value

    def _named(self, cls: type[Op], x: Value, type: TensorType, tensor: str, at: Loc, **more: object) -> Value:
        result = Value(tensor, type)
        arguments: Mapping[str, object] = {"x": x, **more}
        self.graph.ops.append(cls(results=(result,), loc=at, **arguments))
        return result
