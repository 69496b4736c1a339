"""What every importer of models knows while it reads: the tensors met so far, and the dfg graph they grow into.

Families of operators take a Context; the importer of a format is one, and hands itself to them. Float results wait
(Pending, Unary, Joined) for whoever says what int8 form they take; what moves, clamps or compares elements commutes
with quantization and stays int8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

import numpy as np

from furc.frontend import tables
from furc.frontend.dfg_builder import Builder
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
from isa.errors import FurcError, Loc, LowerError
from passes.dfg.legality import OperatorSet
from passes.ir.graph import Graph
from passes.ir.op import Array, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ops.host import Quantize, Recast

NO_NUMBERS = "cOSU"  # complex numbers, objects and strings, by NumPy's letters


class SourceNode(Protocol):
    """A node of the model, whatever the format: its tensors by name, and refusals that name the node."""

    @property
    def op(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def loc(self) -> Loc: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def outputs(self) -> Sequence[str]: ...
    def has_input(self, index: int) -> bool: ...
    def invalid(self, message: str) -> FurcError: ...
    def unsupported(self, message: str) -> FurcError: ...
    def unquantized(self, message: str) -> FurcError: ...


class Reads(Enum):
    """What a node takes of an input, where it does not state a quantization."""

    VALUES = auto()  # the float values themselves
    ELEMENTS = auto()  # moves them, clamps or compares them: what reads its results decides
    SHAPE = auto()


N = TypeVar("N", bound=SourceNode)


class Context(ABC, Generic[N]):
    """The environment of one model. Every tensor of it maps to an Entry.

    operator_set: which list of operators the NPU takes (passes/dfg/legality.py)."""

    operator_set: str = OperatorSet.SEED28

    def __init__(self, graph: Graph, nodes: Sequence[N], outputs: Sequence[str]) -> None:
        self.graph = graph
        self.env: dict[str, Entry] = {}
        self.makers: dict[str, N] = {}
        self.readers: dict[str, list[tuple[N, int]]] = {}
        for node in nodes:
            for index, tensor in enumerate(node.inputs):
                self.readers.setdefault(tensor, []).append((node, index))
            self.makers.update(dict.fromkeys(node.outputs, node))
        self.float_outputs = set(outputs)
        self.builder = Builder(graph, outputs)

    @abstractmethod
    def reads(self, node: N, index: int) -> Quant | Reads:
        """The quantization that a node states for an input it reads, or what it takes of it."""

    # what the families ask for

    def entry(self, node: N, index: int) -> Entry:
        """What is known of an input."""
        return self.env[node.inputs[index]]

    def activation(self, node: N, index: int = 0) -> Value:
        """The int8 form of an input, completing a float result where what reads it settles its quantization."""
        return self._settled(node.inputs[index], node)

    def known(self, node: N, index: int) -> Array:
        """The array of an input that must be constant."""
        entry = self.entry(node, index)
        if isinstance(entry, Constant | QuantizedConstant):
            if entry.array.dtype.kind in NO_NUMBERS:
                raise node.invalid(f"input '{node.inputs[index]}' holds {entry.array.dtype}, expected numbers")
            return entry.array
        raise node.unsupported(f"input '{node.inputs[index]}' of {node.op} must be constant")

    def known_ints(self, node: N, index: int) -> list[int]:
        """The integers of a constant input; empty where the node has no such input."""
        return [int(v) for v in self.known(node, index).reshape(-1)] if node.has_input(index) else []

    def moved(self, node: N, value: Value) -> Entry:
        """The entry of a value made from the int8 form of input 0 by moving its elements."""
        entry = self.entry(node, 0)
        return Stored(value, entry.unsigned) if isinstance(entry, Stored) else Quantized(value)

    def quantization_after(self, tensor: str) -> Quant | None:
        """The one quantization that everything reading this tensor agrees on, directly or after what commutes with it.

        None where two differ, or where something reads the float values themselves.
        """
        found: set[Quant | None] = set()
        stack, seen = [tensor], {tensor}
        while stack:
            current = stack.pop()
            found |= {None} if current in self.float_outputs else set()
            for node, index in self.readers.get(current, ()):
                match self.reads(node, index):
                    case Quant() as quant:
                        found.add(quant)
                    case Reads.VALUES:
                        found.add(None)
                    case Reads.ELEMENTS:
                        stack += [o for o in node.outputs if o not in seen]
                        seen.update(node.outputs)
        return found.pop() if len(found) == 1 else None

    def complete(self, entry: Entry, quant: Quant, name: str, loc: Loc) -> Value:
        """The int8 form of a float tensor under a given quantization. name: of the result; loc: of who asks for it."""
        match entry:
            case Quantized(value):
                return self.builder.requantize(value, quant, f"{name}.requantized", loc)
            case Constant() | QuantizedConstant():
                stored = tables.quantized(entry.array.astype(np.float32), quant)
                return self.builder.constant(name, stored, TensorType(entry.shape, DType.I8, quant))
            case GraphInput(value) | OnHost(value) if value.type.dtype is DType.F32 and not value.type.is_open:
                return self.builder.add(Quantize, name, TensorType(entry.shape, DType.I8, quant), loc, x=value)
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
        made = self.builder.add(Recast, f"{value.name}.int8", type, loc, x=value)
        self.env[value.name] = Stored(made, unsigned=True)
        return made

    def _settled(self, tensor: str, node: N) -> Value:
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
        if quant is None and isinstance(entry, Unary) and self.stays_on_grid(entry):
            quant = entry.x.type.q
        if quant is None or isinstance(entry, Constant | QuantizedConstant):
            raise self._unquantized(tensor, node)
        value = self.complete(entry, quant, self._free_name(tensor), node.loc)
        self.env[tensor] = Quantized(value)
        return value

    def stays_on_grid(self, entry: Unary) -> bool:
        """Every result is a value the operand's quantization has: Relu is such a function."""
        values, quant = tables.applied(entry.chain, entry.x.type.q), entry.x.type.q
        return np.array_equal(values, tables.grid(quant)[tables.quantized(values, quant).view(np.uint8) ^ 0x80])

    def _unquantized(self, tensor: str, node: N) -> FurcError:
        maker = self.makers.get(tensor)
        source = f"the float result of {maker.op} '{maker.name}'" if maker else f"the float tensor '{tensor}'"
        return node.unquantized(f"{node.op} needs int8, but {source} goes into it without being quantized")

    def _free_name(self, tensor: str) -> str:
        """The tensor's own name, or another where a graph input has it."""
        return f"{tensor}.int8" if isinstance(self.env[tensor], GraphInput | OnHost) else tensor

    def _complete_op(self, entry: Pending, quant: Quant, name: str) -> Value:
        reshaped = entry.inner != entry.shape or bool(entry.perm)
        type = TensorType(entry.inner, DType.I8, quant)
        value = self.builder.add(
            entry.op,
            f"{name}.inner" if reshaped else name,
            type,
            entry.loc,
            **entry.fields,
            clamp=entry.bounds.stored(quant),
        )
        if entry.perm:
            value = self.builder.reshape(value, entry.laid, f"{name}.laid", entry.loc)
            value = self.builder.transpose(value, entry.perm, f"{name}.ordered", entry.loc)
        return self.builder.reshape(value, entry.shape, name, entry.loc)
