"""A walk over a model that judges every node and builds nothing: float models too, as if every tensor were quantized.

It is the importer itself, so what it finds is what a compilation will find; large weights are never read.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto

from furc.frontend.entries import (
    Constant,
    Entry,
    GraphInput,
    Joined,
    OnHost,
    Pending,
    Quantized,
    QuantizedConstant,
    Unary,
)
from furc.frontend.onnx.as_quantized import LARGE
from furc.frontend.onnx.host_calls import Placed
from furc.frontend.onnx.hosted import Cause
from furc.frontend.onnx.importer import REFUSED, Importer
from furc.frontend.onnx.model import Model, is_quantized
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.outputs import output
from furc.isolated import Worker
from isa.errors import NOWHERE, LowerError
from passes.ir.op import Value
from passes.ir.types import DType, TensorType, per_tensor

REWRITTEN = "left out or folded into another operator, as the model is quantized"
LIKE = per_tensor(1.0, 0)  # the quantization that float tensors are taken to have: no limit depends on it
UNKNOWN = OnHost(Value("unknown", TensorType((), DType.F32)), told=False)
GONE = ("Dropout", "Identity")  # the quantizer leaves them out
FOLDED_INTO = ("Conv", "ConvTranspose", "Gemm")


class Checking(Importer):
    """hosts: what the NPU cannot take, and why. refused: what nobody can run. rewritten: what becomes another one."""

    def __init__(self, model: Model, operator_set: str, shapes: Worker) -> None:
        self.is_float = not is_quantized(model.proto)
        super().__init__(model, Placed({}, frozenset()), operator_set, shapes)
        self.refused: dict[int, Cause] = {}
        self.rewritten: dict[int, str] = {}
        self.all_quantized = self.is_float

    def judge(self) -> None:
        """Walk. Raises SourceError where the model is invalid."""
        if self.is_float:
            for value in self.graph.inputs:
                if isinstance(self.env[value.name], GraphInput) and value.type.dtype is DType.F32:
                    self.env[value.name] = Quantized(self.complete(self.env[value.name], LIKE, value.name, NOWHERE))
        with np.errstate(all="ignore"):
            for node in self.nodes:
                self._judge(node)
        if not self.is_float:
            for tensor in self.model.proto.graph.output:
                self._judge_output(tensor.name)

    def _judge(self, node: Node) -> None:
        if self.is_float and self._folds(node):
            self.rewritten[node.index] = REWRITTEN
            for name in node.outputs[1:]:
                self.env[name] = UNKNOWN
            self.env[node.outputs[0]] = self.env[node.inputs[0]]
            return
        if self.is_float:
            self._quantize_operands(node)
        try:
            self.import_or_leave(node)
        except LowerError as error:
            if error.name not in REFUSED and error.name != "UnsupportedOperator":
                raise
            self._refuse(node, Cause(error.message, error.hint))
        if self.is_float:
            self._quantize_results(node)

    def _judge_output(self, name: str) -> None:
        try:
            output(self, name)
        except LowerError as error:
            maker = self.makers.get(name)
            if maker is None:
                raise
            self._refuse(maker, Cause(error.message, error.hint))

    def _refuse(self, node: Node, cause: Cause) -> None:
        self.refused[node.index] = cause
        for name in node.outputs:
            if name:
                self.env[name] = UNKNOWN

    def _folds(self, node: Node) -> bool:
        if node.op in GONE and node.inputs[0] in self.env:
            return True
        if node.op != "BatchNormalization":
            return False
        maker = self.makers.get(node.inputs[0])
        return maker is not None and maker.op in FOLDED_INTO and len(self.readers.get(node.inputs[0], ())) == 1

    def _quantize_operands(self, node: Node) -> None:
        """Constants that the quantizer would quantize."""
        from furc.quantizer.grids.operators import (  # here: with the quantizer; compiling takes a verdict
            BROADCAST,
            LINEAR,
        )

        if node.op not in LINEAR | BROADCAST:
            return
        for index, name in enumerate(node.inputs):
            entry = self.env.get(name)
            if not isinstance(entry, Constant) or entry.array.dtype != np.float32 or entry.array.size < 2:
                continue
            if (node.op in LINEAR and index == 1) or (node.op in BROADCAST and np.ptp(entry.array)):
                self.env[name] = like_weights(name, entry.shape)

    def _quantize_results(self, node: Node) -> None:
        for name in node.outputs:
            entry = self.env.get(name)
            if isinstance(entry, Pending | Unary | Joined) or (isinstance(entry, OnHost) and entry.can_cross):
                self.env[name] = self._completed(entry, name, node)

    def _completed(self, entry: Entry, name: str, node: Node) -> Entry:
        before = len(self.graph.ops)
        value = self.complete(entry, LIKE, name, node.loc)
        for op in self.graph.ops[before:]:
            try:
                self._check_limits(op, node)
            except LowerError as error:
                self.leave(node, Cause(error.message, error.hint))
                return self.env[name]
        return Quantized(value)

    def _define_initializers(self) -> None:
        """Large weights by their shape alone."""
        if not self.is_float:
            super()._define_initializers()
            return
        large = {t.name: t for t in self.model.proto.graph.initializer if _is_large(t)}
        for name, tensor in large.items():
            self.env[name] = like_weights(name, tuple(tensor.dims))
        super()._define_initializers()


def like_weights(name: str, shape: tuple[int, ...]) -> QuantizedConstant:
    """Weights of a shape: two numbers in turn along one axis, however many there are. What holds one number throughout
    is something else to additions and products."""
    along = next((axis for axis in reversed(range(len(shape))) if shape[axis] > 1), None)
    ends = [1 if axis != along else extent for axis, extent in enumerate(shape)]
    stored = np.broadcast_to((1 + np.arange(math.prod(ends)) % 2).astype(np.int8).reshape(ends), shape)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.int64)
    return QuantizedConstant(name=name, stored=stored, scale=one, zero=zero, axis=None)


def _is_large(tensor: onnx.TensorProto) -> bool:
    elements: int = math.prod(tensor.dims)
    return bool(tensor.data_type == TensorProto.FLOAT) and elements > LARGE
