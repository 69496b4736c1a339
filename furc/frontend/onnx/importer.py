"""Turn a loaded ONNX model into a dfg graph, node by node.

The environment maps every ONNX tensor to an Entry. Float results wait (Pending, Unary, Joined) for the QuantizeLinear
that says what int8 form they take; what moves, clamps or compares elements commutes with it and stays int8.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from onnx import numpy_helper

from furc.frontend.onnx import convolution, elementwise, movement, pooling, quantization, resize, tables
from furc.frontend.onnx.builder import Builder
from furc.frontend.onnx.entries import (
    Constant,
    Entry,
    GraphInput,
    Joined,
    Pending,
    Quantized,
    QuantizedConstant,
    Stored,
    Unary,
)
from furc.frontend.onnx.folding import FOLDABLE_MOVES, evaluate, foldable
from furc.frontend.onnx.model import Model
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import DEQUANTIZE, QUANTIZE, activation_quant, read_parameters
from furc.frontend.onnx.refusals import refusal
from furc.frontend.onnx.registry import HANDLERS, MOVES
from isa.errors import FurcError, Loc, LowerError, SourceError
from passes.ir import dfg
from passes.ir.graph import Array, Graph, Level, Value, verify
from passes.ir.types import DType, Quant, TensorType

FAMILIES = (convolution, elementwise, movement, pooling, quantization, resize)  # importing them fills the registry
NO_NUMBERS = "cOSU"  # complex numbers, objects and strings, by NumPy's letters
SHAPE_READERS = ("Shape", "Size")
OWN_DOMAINS = ("", "ai.onnx")
EXPORT = "export the model again; onnx.checker.check_model(path, full_check=True) may say more"


def import_model(model: Model) -> Graph:
    """The dfg graph of a checked model. Raises SourceError or LowerError naming the node."""
    return Importer(model).run()


def _model_name(model: Model) -> str:
    """The graph's own name; the file's where an exporter put one that says nothing."""
    name = str(model.proto.graph.name)
    says_nothing = "main_graph" in name or name in ("", "main", "graph", "torch_jit", "torch-jit-export")
    return (Path(model.source).stem if says_nothing else name) or "model"


class Importer:
    """The environment of one model, and the graph it grows into."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.opset = model.opset
        outputs = [o.name for o in model.proto.graph.output]
        name = _model_name(model)
        self.graph = Graph(name=name, level=Level.DFG, source=model.source)
        self.env: dict[str, Entry] = {}
        self.makers: dict[str, Node] = {}
        self.readers: dict[str, list[tuple[Node, int]]] = {}
        self.nodes = [Node(proto, index, model.source, model.opset) for index, proto in model.nodes]
        for node in self.nodes:
            for index, tensor in enumerate(node.inputs):
                self.readers.setdefault(tensor, []).append((node, index))
            self.makers.update(dict.fromkeys(node.outputs, node))
        self._define_inputs()
        self._define_initializers()
        self.float_outputs = set(outputs)
        self.builder = Builder(self.graph, outputs)

    def run(self) -> Graph:
        with np.errstate(all="ignore"):  # what overflows saturates, as in ONNX Runtime
            for node in self.nodes:
                self._import_checked(node)
            for output in self.model.proto.graph.output:
                self.graph.outputs.append(self._output(output.name))
        self.graph.remove_dead()
        verify(self.graph)
        return self.graph

    # what the families ask for

    def entry(self, node: Node, index: int) -> Entry:
        """What the importer knows of an input."""
        return self.env[node.inputs[index]]

    def activation(self, node: Node, index: int = 0) -> Value:
        """The int8 form of an input, completing a float result where what reads it settles its quantization."""
        return self._settled(node.inputs[index], node)

    def known(self, node: Node, index: int) -> Array:
        """The array of an input that must be constant."""
        entry = self.entry(node, index)
        if isinstance(entry, Constant | QuantizedConstant):
            if entry.array.dtype.kind in NO_NUMBERS:
                raise node.invalid(f"input '{node.inputs[index]}' holds {entry.array.dtype}, expected numbers")
            return entry.array
        raise node.unsupported(f"input '{node.inputs[index]}' of {node.op} must be constant")

    def known_ints(self, node: Node, index: int) -> list[int]:
        """The integers of a constant input; empty where the node has no such input."""
        return [int(v) for v in self.known(node, index).reshape(-1)] if node.has_input(index) else []

    def moved(self, node: Node, value: Value) -> Entry:
        """The entry of a value made from the int8 form of input 0 by moving its elements."""
        entry = self.entry(node, 0)
        return Stored(value, entry.unsigned) if isinstance(entry, Stored) else Quantized(value)

    def quantization_after(self, tensor: str) -> Quant | None:
        """The one quantization that everything reading this tensor agrees on, directly or behind what commutes with it.

        None where two differ, or where something reads the float values themselves.
        """
        found: set[Quant | None] = set()
        stack, seen = [tensor], {tensor}
        while stack:
            current = stack.pop()
            found |= {None} if current in self.float_outputs else set()
            for node, index in self.readers.get(current, ()):
                if node.op in (QUANTIZE, DEQUANTIZE) and index == 0:
                    found.add(self._declared(node))
                elif node.op in MOVES and (index == 0 or node.op == "Concat"):
                    stack += [o for o in node.outputs if o not in seen]
                    seen.update(node.outputs)
                elif node.op not in SHAPE_READERS:
                    found.add(None)
        return found.pop() if len(found) == 1 else None

    def complete(self, entry: Entry, quant: Quant, name: str, loc: Loc) -> Value:
        """The int8 form of a float tensor under a given quantization. name: of the result; loc: of who asks for it."""
        match entry:
            case Quantized(value):
                return self.builder.requantize(value, quant, f"{name}.requantized", loc)
            case Constant() | QuantizedConstant():
                stored = tables.quantized(entry.array.astype(np.float32), quant)
                return self.builder.constant(name, stored, TensorType(entry.shape, DType.I8, quant))
            case GraphInput(value) if value.type.dtype is DType.F32:
                return self.builder.add(dfg.Quantize, name, TensorType(entry.shape, DType.I8, quant), loc, x=value)
            case Pending():
                return self._complete_op(entry, quant, name)
            case Unary():
                entries = tables.quantized(tables.applied(entry.chain, entry.x.type.q), quant)
                return self.builder.table(entry.x, entries, quant, name, entry.loc)
            case Joined():
                parts = [self.complete(p, quant, f"{name}.part{i}", entry.loc) for i, p in enumerate(entry.parts)]
                return self.builder.concat(parts, entry.axis, name, entry.loc)
            case _:
                raise LowerError("UnquantizedTensor", f"'{name}' is an integer tensor, expected float", at=loc)

    def bind_input(self, entry: GraphInput, quant: Quant, loc: Loc) -> Value:
        """The int8 form of an integer graph input, whose quantization has just become known."""
        value, unsigned = entry.value, entry.value.type.dtype is DType.U8
        own = Quant(quant.scale, (quant.z + 128,)) if unsigned else quant
        if value.type.quant not in (None, own):
            message = f"input '{value.name}' is read under two quantizations, {value.type.quant} and {own}"
            raise LowerError("UnquantizedTensor", message, at=loc, hint="use one DequantizeLinear for the input")
        value.type = replace(value.type, quant=own)
        if not unsigned:
            return value
        bound = self.env.get(value.name)
        if isinstance(bound, Stored):
            return bound.value
        type = TensorType(value.type.shape, DType.I8, quant)
        made = self.builder.add(dfg.Recast, f"{value.name}.int8", type, loc, x=value)
        self.env[value.name] = Stored(made, unsigned=True)
        return made

    # the importer itself

    def _define_inputs(self) -> None:
        for name, dtype, shape in self.model.inputs:
            value = Value(name, TensorType(shape, dtype))
            self.graph.inputs.append(value)
            self.env[name] = GraphInput(value)
        first = self.model.inputs[0].shape if self.model.inputs else ()
        self.graph.batch = first[0] if first else 1

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
            problems = [f"{op.mnemonic}: {p}" for op in self.graph.ops[before:] for p in op.verify()]
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
        """Compute now. Integers behind a DequantizeLinear stay integers where the operator only moves elements."""
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

    def _settled(self, tensor: str, node: Node) -> Value:
        entry = self.env[tensor]
        if isinstance(entry, Quantized | Stored):
            return entry.value
        quant = self.quantization_after(tensor)
        if isinstance(entry, GraphInput) and entry.value.type.dtype is not DType.F32:
            if quant is None:
                raise node.unquantized(f"nothing says what the {entry.value.type.dtype.numpy} input '{tensor}' means")
            value = self.bind_input(entry, quant, node.loc)
            self.env[tensor] = Stored(value, entry.value.type.dtype is DType.U8)
            return value
        if quant is None and isinstance(entry, Unary) and self._stays_on_grid(entry):
            quant = entry.x.type.q
        if quant is None or isinstance(entry, Constant | QuantizedConstant):
            raise self._unquantized(tensor, node)
        value = self.complete(entry, quant, self._free_name(tensor), node.loc)
        self.env[tensor] = Quantized(value)
        return value

    def _stays_on_grid(self, entry: Unary) -> bool:
        """Every result is a value the operand's quantization has: Relu is such a function."""
        values, quant = tables.applied(entry.chain, entry.x.type.q), entry.x.type.q
        return np.array_equal(values, tables.grid(quant)[tables.quantized(values, quant).view(np.uint8) ^ 0x80])

    def _unquantized(self, tensor: str, node: Node) -> FurcError:
        maker = self.makers.get(tensor)
        source = f"the float result of {maker.op} '{maker.name}'" if maker else f"the float tensor '{tensor}'"
        return node.unquantized(f"{node.op} needs int8, but {source} goes into it without being quantized")

    def _free_name(self, tensor: str) -> str:
        """The tensor's own name, or another where a graph input has it."""
        return f"{tensor}.int8" if isinstance(self.env[tensor], GraphInput) else tensor

    def _declared(self, node: Node) -> Quant | None:
        """The quantization a QuantizeLinear or DequantizeLinear states; None where it is not known yet."""
        if any(not isinstance(self.env.get(name), Constant) for name in node.inputs[1:] if name):
            return None
        return activation_quant(read_parameters(self, node), node)

    def _complete_op(self, entry: Pending, quant: Quant, name: str) -> Value:
        lo, hi = entry.clamp.stored(quant)
        reshaped = entry.inner != entry.shape
        type = TensorType(entry.inner, DType.I8, quant)
        value = self.builder.add(
            entry.op, f"{name}.inner" if reshaped else name, type, entry.loc, **entry.fields, lo=lo, hi=hi
        )
        return self.builder.reshape(value, entry.shape, name, entry.loc)

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
        return self._named(dfg.Dequantize, value, TensorType(value.type.shape, DType.F32), tensor, at)

    def _output_value(self, entry: Entry, tensor: str, node: Node) -> Value:
        if isinstance(entry, Unary) and self._stays_on_grid(entry):
            return self.complete(entry, entry.x.type.q, f"{tensor}.int8", node.loc)
        raise node.unquantized(f"output '{tensor}' is the float result of {node.op}, never quantized")

    def _stored_output(self, entry: Stored, tensor: str, at: Loc) -> Value:
        value = entry.value
        if entry.unsigned:
            quant = Quant(value.type.q.scale, (value.type.q.z + 128,))
            return self._named(dfg.Recast, value, TensorType(value.type.shape, DType.U8, quant), tensor, at)
        taken = value in self.graph.inputs or value in self.graph.outputs or value in self.graph.constants
        if taken:  # one value cannot carry two names
            return self._named(dfg.Reshape, value, value.type, tensor, at, to=value.type.shape)
        value.name = tensor
        return value

    def _named(self, cls: type[dfg.DfgOp], x: Value, type: TensorType, tensor: str, at: Loc, **more: object) -> Value:
        result = Value(tensor, type)
        arguments: Mapping[str, object] = {"x": x, **more}
        self.graph.ops.append(cls(result=result, loc=at, **arguments))
        return result
