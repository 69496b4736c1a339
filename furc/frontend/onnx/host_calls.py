"""The part of a model that the host computes: which nodes, why, and the calls that they become.

A node that the NPU cannot take is left to the host with a cause, and with it what it reads as float. What the host
makes is known by what onnx infers of it. Once a walk has begun with all nodes of the host, those that go together
become one call.
"""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from furc.frontend.context import Context
from furc.frontend.entries import Constant, Entry, Joined, OnHost, Pending, Quantized, QuantizedConstant, Stored, Unary
from furc.frontend.onnx.hosted import ELEMENTS, Cause, Part, Told, Turns, in_turns, infer, outlined, reads_of
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import QUANTIZE as QUANTIZE_AGAIN
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import QUANTIZE, check_alike
from furc.frontend.onnx.resize import agree_on_extents
from furc.frontend.onnx.rounded_pools import agree_on_shape
from furc.isolated import Worker
from furc.onnx.model_proto import captured
from furc.runtime.host_model import GROWING, refusals
from isa.enf import OPEN
from isa.errors import Loc, LowerError
from passes.ir.graph import Graph
from passes.ir.op import Array, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ops.host import Dequantize, HostCall

FLOATING = Pending | Unary | Joined  # results that wait for a quantization
RELUS_STAY = (TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16)
IDLE = ("Identity", "Dropout")  # which ONNX Runtime leaves out first
CAPTURED = -1  # the position of what the body of an If or Loop reads


class Placed(NamedTuple):
    """hosts: nodes on the host, by number, and why. known: nodes that are computed when compiling."""

    hosts: Mapping[int, Cause]
    known: frozenset[int]


class HostCalls(Context[Node]):
    """A context with a host beside the NPU.

    before: where nodes go as far as the walk before found out. hosts: what is known by now, with causes. shapes: does
    `with_shapes`."""

    def __init__(self, model: Model, graph: Graph, before: Placed, shapes: Worker) -> None:
        self.model, self.before, self.shapes = model, before, shapes
        self.nodes = [Node(proto, index, model.source, model.opset) for index, proto in model.nodes]
        self.turns = in_turns(self.nodes, before.hosts, before.known) if before.hosts else Turns(self.nodes, {})
        self.hosts, self.called = dict(before.hosts), set[int]()
        self.told: dict[str, Told] = {}  # of tensors that the host makes
        self.real: dict[Value, Value] = {}  # int8 tensors as the host reads them
        super().__init__(graph, self.nodes, [o.name for o in model.proto.graph.output])
        for node in self.nodes:
            for name in captured(node.proto):
                self.readers.setdefault(name, []).append((node, CAPTURED))

    @abstractmethod
    def import_or_leave(self, node: Node) -> None:
        """Import a node, or find out that the host must have it."""

    def leave(self, node: Node, cause: Cause) -> None:
        """The host has a node. What it reads as float, never quantized, is the host's as well."""
        self.hosts.setdefault(node.index, cause)
        for name in reads_of(node):
            self.pull(name, node)
        self._define_on_host(node)

    def pull(self, tensor: str, reader: Node) -> None:
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
            entry = self.known_entry(node, name)
            if isinstance(entry, Constant | QuantizedConstant):
                constants[name] = entry.array
            else:
                told[name] = self._told_of(name, entry)
        shapes = {name: known.shape for name, known in told.items()}
        check_alike(node, shapes | {name: array.shape for name, array in constants.items()})
        given = told[node.inputs[0]].shape if node.inputs and node.inputs[0] in told else None
        agree_on_shape(node, given)
        results = infer(node, told, constants, self.model.proto.opset_import, self.shapes)
        if results:
            agree_on_extents(node, given, constants, results[0].shape)
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

    def known_entry(self, node: Node, name: str) -> Entry:
        maker = self.makers.get(name)
        if name not in self.env and maker is not None and maker.index in self.before.known:
            self.import_or_leave(maker)  # a shape, say, of what was made for the same call
        if name not in self.env:
            near = difflib.get_close_matches(name, self.env, 1)
            raise node.invalid(f"nothing makes input '{name}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return self.env[name]

    def call(self, group: list[Node]) -> None:
        """One call of the host for nodes that go together."""
        inside = {node.index for node in group}
        self.called |= inside
        refused = next(refusals(node.proto for node in group), None)
        if refused is not None:
            raise LowerError("UnsupportedOperator", refused, at=group[0].loc, hint="leave it out of the model")
        for node in group:
            self.leave(node, self.before.hosts[node.index])
        self._check_sizes_are_known(group)
        self._check_relus_stay(group)
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

    def _check_relus_stay(self, group: list[Node]) -> None:
        """ONNX Runtime leaves out a Relu whose result is quantized to where 0 is the least; where the type is none of 8
        or 16 bits it takes any zero point for that."""
        makers = {name: node for node in group for name in node.outputs}
        for node in group:
            relu = makers.get(node.inputs[0]) if node.op == QUANTIZE else None
            while relu is not None and relu.op in IDLE:
                relu = makers.get(relu.inputs[0])
            element = self.told[node.output].element if relu is not None and relu.op == "Relu" else 0
            if relu is not None and element and element not in RELUS_STAY:
                kind = TensorProto.DataType.Name(element).lower()
                raise LowerError(
                    "UnsupportedOperator", f"ONNX Runtime leaves out a Relu whose result is quantized to {kind}",
                    at=relu.loc, hint="write it as a Clip with a minimum of 0, or quantize to int8",
                )  # fmt: skip

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
