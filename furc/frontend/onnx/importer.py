"""Turn a loaded ONNX model into a dfg graph, node by node, through the families of operators: one walk over it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from furc.frontend.context import Reads
from furc.frontend.entries import Constant, Entry, GraphInput, OnHost, QuantizedConstant
from furc.frontend.onnx import convolution, elementwise, movement, pooling, quantization, reductions, resize
from furc.frontend.onnx.folding import FOLDABLE_MOVES, evaluate, foldable
from furc.frontend.onnx.host_calls import HostCalls, Placed
from furc.frontend.onnx.hosted import Cause, reads_of
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.outputs import output
from furc.frontend.onnx.quantization import DEQUANTIZE, QUANTIZE, activation_quant, read_parameters
from furc.frontend.onnx.refusals import EXPORT, refusal
from furc.frontend.onnx.registry import HANDLERS, MOVES
from furc.frontend.onnx.resize import interpolates
from furc.isolated import Worker
from furc.onnx.model_proto import OWN_DOMAINS, noted_pixels
from isa.errors import FurcError, Loc, LowerError, SourceError
from passes.dfg.check_operators import problems_of
from passes.ir.graph import Graph
from passes.ir.levels import broken_rules, verify
from passes.ir.op import Level, Op, Value
from passes.ir.types import DType, Quant, TensorType

# importing them fills the registry
FAMILIES = (convolution, elementwise, movement, pooling, quantization, reductions, resize)
SHAPE_READERS = ("Shape", "Size")
AFTER_HOST = "it follows what runs on the host"
REFUSED = ("TensorTooLarge", "ConstantOutput")  # no host helps


def _given(value: Value) -> Entry:
    """An input of the model. Only the host reads other integers than bytes."""
    return GraphInput(value) if value.type.dtype in (DType.F32, DType.I8, DType.U8) else OnHost(value)


def _model_name(model: Model) -> str:
    """The graph's own name; the file's where an exporter put one that says nothing."""
    name = str(model.proto.graph.name)
    says_nothing = "main_graph" in name or name in ("", "main", "graph", "torch_jit", "torch-jit-export")
    return (Path(model.source).stem if says_nothing else name) or "model"


class Importer(HostCalls):
    """The context of one model, and the walk over its nodes."""

    all_quantized = False  # float tensors may cross between NPU and host wherever they are

    def __init__(self, model: Model, placed: Placed, operator_set: str, shapes: Worker) -> None:
        graph = Graph(name=_model_name(model), level=Level.DFG, source=model.source)
        graph.pixels = noted_pixels(model.proto)
        for name, dtype, shape in model.inputs:
            graph.inputs.append(Value(name, TensorType(shape, dtype)))
        first = model.inputs[0].shape if model.inputs else ()
        graph.batch = first[0] if first else 1
        super().__init__(model, graph, placed, shapes)
        self.operator_set, self.folded = operator_set, set[int]()
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
                self.import_or_leave(node)
            for tensor in self.model.proto.graph.output:
                self.graph.outputs.append(output(self, tensor.name))
        if self.placed == self.before:
            self.graph.remove_dead()
            verify(self.graph)
        return self.graph

    def readers_of(self, tensor: str) -> list[Node]:
        return [node for node, _ in self.readers.get(tensor, ())]

    def import_or_leave(self, node: Node) -> None:
        """Import a node, or find out that the host must have it."""
        if node.index in self.called or node.index in self.folded:
            return
        if node.index in self.before.hosts:
            self.call(self.turns.groups[node.index])
            return
        try:
            self._import_checked(node)
        except LowerError as error:
            if error.name in REFUSED:
                raise
            after_host = any(isinstance(self.env.get(name), OnHost) for name in node.inputs)
            conversion = node.op in (QUANTIZE, DEQUANTIZE) and after_host  # as little a reason as any other has
            self.leave(node, Cause("", "") if conversion else Cause(error.message, error.hint))
            return
        if all(isinstance(self.env.get(name), Constant | QuantizedConstant) for name in node.outputs if name):
            self.folded.add(node.index)

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
            self.known_entry(node, name)
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
