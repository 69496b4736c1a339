"""Turn a loaded ONNX model into a dfg graph, node by node, through the families of operators."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from furc.frontend.context import Context, Reads
from furc.frontend.entries import (
    Constant,
    Entry,
    GraphInput,
    Quantized,
    QuantizedConstant,
    Stored,
    Unary,
)
from furc.frontend.onnx import convolution, elementwise, movement, pooling, quantization, reductions, resize
from furc.frontend.onnx.folding import FOLDABLE_MOVES, evaluate, foldable
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import DEQUANTIZE, QUANTIZE, activation_quant, read_parameters
from furc.frontend.onnx.refusals import refusal
from furc.frontend.onnx.registry import HANDLERS, MOVES
from isa.errors import FurcError, Loc, LowerError, SourceError
from passes.dfg.legality import OperatorSet
from passes.ir.graph import Graph
from passes.ir.levels import broken_rules, verify
from passes.ir.op import Level, Op, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ops.host import Dequantize, Recast
from passes.ops.move import Reshape

FAMILIES = (
    convolution,
    elementwise,
    movement,
    pooling,
    quantization,
    reductions,
    resize,
)  # importing them fills the registry
SHAPE_READERS = ("Shape", "Size")
OWN_DOMAINS = ("", "ai.onnx")
EXPORT = "export the model again; onnx.checker.check_model(path, full_check=True) may say more"


def import_model(model: Model, operator_set: str = OperatorSet.SEED28) -> Graph:
    """The dfg graph of a checked model. Raises SourceError or LowerError naming the node."""
    importer = Importer(model)
    importer.operator_set = operator_set
    return importer.run()


def _model_name(model: Model) -> str:
    """The graph's own name; the file's where an exporter put one that says nothing."""
    name = str(model.proto.graph.name)
    says_nothing = "main_graph" in name or name in ("", "main", "graph", "torch_jit", "torch-jit-export")
    return (Path(model.source).stem if says_nothing else name) or "model"


class Importer(Context[Node]):
    """The context of one model, and the walk over its nodes."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.nodes = [Node(proto, index, model.source, model.opset) for index, proto in model.nodes]
        graph = Graph(name=_model_name(model), level=Level.DFG, source=model.source)
        for name, dtype, shape in model.inputs:
            graph.inputs.append(Value(name, TensorType(shape, dtype)))
        first = model.inputs[0].shape if model.inputs else ()
        graph.batch = first[0] if first else 1
        super().__init__(graph, self.nodes, [o.name for o in model.proto.graph.output])
        self.env.update((value.name, GraphInput(value)) for value in graph.inputs)
        self._define_initializers()

    def run(self) -> Graph:
        with np.errstate(all="ignore"):  # what overflows saturates, as in ONNX Runtime
            for node in self.nodes:
                self._import_checked(node)
            for output in self.model.proto.graph.output:
                self.graph.outputs.append(self._output(output.name))
        self.graph.remove_dead()
        verify(self.graph)
        return self.graph

    def reads(self, node: Node, index: int) -> Quant | Reads:
        if node.op in (QUANTIZE, DEQUANTIZE) and index == 0:
            known = all(isinstance(self.env.get(name), Constant) for name in node.inputs[1:] if name)
            return activation_quant(read_parameters(self, node), node) if known else Reads.VALUES
        if node.op in MOVES and (index == 0 or node.op == "Concat"):
            return Reads.ELEMENTS
        return Reads.SHAPE if node.op in SHAPE_READERS else Reads.VALUES

    def _define_initializers(self) -> None:
        for tensor in self.model.proto.graph.initializer:
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
            problems = [f"{op.mnemonic}: {p}" for op in self.graph.ops[before:] for p in broken_rules(op, Level.DFG)]
        except FurcError:
            raise
        except (ArithmeticError, LookupError, ValueError, TypeError, MemoryError) as error:
            raise node.invalid(f"attributes and inputs do not go together ({error})") from error
        if problems:
            raise node.invalid(problems[0])

    def _import(self, node: Node) -> None:
        missing = next((t for t in node.inputs if t and t not in self.env), None)
        if missing is not None:
            near = difflib.get_close_matches(missing, self.env, 1)
            raise node.invalid(f"nothing makes input '{missing}'" + (f"; did you mean '{near[0]}'?" if near else ""))
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
        node = Node(maker.proto, maker.index, maker.source, maker.opset)
        if not isinstance(entry, Quantized):
            value = self._output_value(entry, tensor, node)
        else:
            value = entry.value
        return self._named(Dequantize, value, TensorType(value.type.shape, DType.F32), tensor, at)

    def _output_value(self, entry: Entry, tensor: str, node: Node) -> Value:
        if isinstance(entry, Unary) and self.stays_on_grid(entry):
            return self.complete(entry, entry.x.type.q, f"{tensor}.int8", node.loc)
        raise node.unquantized(f"output '{tensor}' is the float result of {node.op}, never quantized")

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
