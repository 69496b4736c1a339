"""Models in the operator form of quantization (QLinearConv, QGemm, ...) in the form that furc reads: every operator in
float between DequantizeLinear and QuantizeLinear. Also what the vendor's quantizer wrote before 0.9.

A node whose scales are computed is left as it is: ONNX Runtime runs it on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from furc.onnx.model_proto import OWN_DOMAINS
from isa.ort import MICROSOFT
from passes.ir.op import Array


class Stored(NamedTuple):
    """An integer tensor with its scale and zero point, by name; zero: "" where it is left out."""

    tensor: str
    scale: str
    zero: str


class Parts(NamedTuple):
    """A node taken apart. weights: the operand whose scales may follow an axis, and that axis. bias: int32, or ""."""

    op: str
    operands: tuple[Stored, ...]
    result: Stored
    attributes: tuple[onnx.AttributeProto, ...]
    weights: tuple[int, int] = (-1, 0)
    bias: str = ""


def in_qdq_nodes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such nodes rewritten, in place."""
    constants = {t.name: t for t in proto.graph.initializer}
    rewritten: list[onnx.NodeProto] = []
    for node in proto.graph.node:
        take_apart = _FORMS.get((MICROSOFT if node.domain == MICROSOFT else "", node.op_type))
        parts = take_apart(node) if take_apart is not None and node.domain in (*OWN_DOMAINS, MICROSOFT) else None
        made = None if parts is None else _Rewriting(node, parts, constants, proto).nodes()
        rewritten += [node] if made is None else made
    del proto.graph.node[:]
    proto.graph.node.extend(rewritten)
    return proto


class _Rewriting:
    def __init__(
        self, node: onnx.NodeProto, parts: Parts, constants: dict[str, onnx.TensorProto], proto: onnx.ModelProto
    ) -> None:
        self.node, self.parts, self.constants, self.proto = node, parts, constants, proto
        self.label = node.output[0]

    def nodes(self) -> list[onnx.NodeProto] | None:
        """None where a scale is computed, or the bias is."""
        parts = self.parts
        wanted = [s.scale for s in (*parts.operands, parts.result)] + ([parts.bias] if parts.bias else [])
        if any(name not in self.constants for name in wanted):
            return None
        made, names = list[onnx.NodeProto](), list[str]()
        for index, operand in enumerate(parts.operands):
            axis = parts.weights[1] if index == parts.weights[0] else None
            names.append(f"{self.label}/operand{index}")
            made.append(self._dequantize(operand, names[-1], axis))
        if parts.bias:
            names.append(f"{self.label}/bias")
            made.append(self._dequantize(Stored(parts.bias, self._bias_scale(), ""), names[-1], 0))
        node = helper.make_node(parts.op, names, [f"{self.label}/real"], name=self.node.name or self.label)
        node.attribute.extend(parts.attributes)
        result = [name for name in (f"{self.label}/real", parts.result.scale, parts.result.zero) if name]
        return [*made, node, helper.make_node("QuantizeLinear", result, [self.label], name=f"{self.label}/quantize")]

    def _dequantize(self, stored: Stored, name: str, axis: int | None) -> onnx.NodeProto:
        inputs = [part for part in stored if part]
        attributes = {} if axis is None or self._array(stored.scale).size == 1 else {"axis": axis}
        flat = {part for part in stored[1:] if part and self._array(part).shape == (1,)} if not attributes else set()
        inputs = [self._scalar(part) if part in flat else part for part in inputs]
        return helper.make_node("DequantizeLinear", inputs, [name], name=name, **attributes)

    def _bias_scale(self) -> str:
        x, w = (self._array(self.parts.operands[i].scale) for i in (0, 1))
        return self._constant(f"{self.label}/bias_scale", np.asarray(x.reshape(-1)[0] * w, np.float32))

    def _scalar(self, name: str) -> str:
        return self._constant(f"{self.label}/{name}", self._array(name).reshape(()))

    def _constant(self, name: str, array: Array) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
            self.proto.graph.initializer.append(self.constants[name])
        return name

    def _array(self, name: str) -> Array:
        array: Array = numpy_helper.to_array(self.constants[name])
        return array


def _input(node: onnx.NodeProto, index: int) -> str:
    return str(node.input[index]) if index < len(node.input) else ""


def _stored(node: onnx.NodeProto, first: int) -> Stored:
    return Stored(_input(node, first), _input(node, first + 1), _input(node, first + 2))


def _result(node: onnx.NodeProto, scale: int) -> Stored:
    return Stored(node.output[0], _input(node, scale), _input(node, scale + 1))


def _conv(node: onnx.NodeProto) -> Parts:
    operands = (_stored(node, 0), _stored(node, 3))
    return Parts("Conv", operands, _result(node, 6), tuple(node.attribute), weights=(1, 0), bias=_input(node, 8))


def _matmul(node: onnx.NodeProto) -> Parts:
    return Parts("MatMul", (_stored(node, 0), _stored(node, 3)), _result(node, 6), (), weights=(1, 1))


def _gemm(node: onnx.NodeProto) -> Parts | None:
    if not _input(node, 7):
        return None  # its result is float
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    if any(a.name == "alpha" and a.f != 1 for a in node.attribute):
        return None
    operands = (_stored(node, 0), _stored(node, 3))
    kept = tuple(a for a in node.attribute if a.name in ("transA", "transB"))
    return Parts("Gemm", operands, _result(node, 7), kept, weights=(1, 0 if transposed else 1), bias=_input(node, 6))


def _binary(op: str) -> Callable[[onnx.NodeProto], Parts]:
    return lambda node: Parts(op, (_stored(node, 0), _stored(node, 3)), _result(node, 6), ())


def _unary(op: str) -> Callable[[onnx.NodeProto], Parts | None]:
    def take_apart(node: onnx.NodeProto) -> Parts | None:
        if any(a.name == "channels_last" and a.i for a in node.attribute):
            return None
        kept = tuple(a for a in node.attribute if a.name not in ("channels_last", "opset"))
        return Parts(op, (_stored(node, 0),), _result(node, 3), kept)

    return take_apart


def _concat(node: onnx.NodeProto) -> Parts:
    operands = tuple(_stored(node, first) for first in range(2, len(node.input), 3))
    return Parts("Concat", operands, _result(node, 0), tuple(node.attribute))


Form = Callable[[onnx.NodeProto], Parts | None]
_FORMS: Mapping[tuple[str, str], Form] = {
    ("", "QLinearConv"): _conv,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QLinearConv"): _conv,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearAdd"): _binary("Add"),
    (MICROSOFT, "QLinearMul"): _binary("Mul"),
    (MICROSOFT, "QLinearConcat"): _concat,
    **{
        (MICROSOFT, f"QLinear{op}"): _unary(op)
        for op in ("Sigmoid", "LeakyRelu", "Softmax", "AveragePool", "GlobalAveragePool", "ReduceMean")
    },
}
OPERATORS: Sequence[str] = sorted({op for _, op in _FORMS})
