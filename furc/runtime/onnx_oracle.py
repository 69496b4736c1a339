"""ONNX Runtime as the oracle of a QDQ model, tensor by tensor.

ONNX Runtime may run a QDQ convolution in float32 or by its integer kernel, as its optimizer and the processor's
instruction set have it. The NPU sums integers, so the oracle pins the integer kernels: every Conv and Gemm between
DequantizeLinear and QuantizeLinear becomes QLinearConv (a Gemm one of 1 x 1) on int8; everything else stays the QDQ
form and runs with graph optimizations off. Every QuantizeLinear output is then an int8 tensor to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
_CLAMPS = ("Relu", "Clip")


class Oracle:
    """A QDQ model with integer convolutions. tensors: the outputs of its activations' QuantizeLinear nodes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._rewrite = _Rewrite(model)
        proto = self._rewrite.run()
        self.tensors = tuple(self._rewrite.activations)
        self._outputs = [o.name for o in model.graph.output]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        data = proto.SerializeToString()
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Model outputs and every activation, by ONNX name; activations as int8 (uint8 minus 128)."""
        names = list(dict.fromkeys((*self._outputs, *self.tensors)))
        values = dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        return {name: _as_int8(value) if name in self.tensors else value for name, value in values.items()}


def _as_int8(value: Array) -> Array:
    return value.view(np.int8) ^ np.int8(-128) if value.dtype == np.uint8 else value


class _Rewrite:
    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        graph = self.model.graph
        self.constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.maker = {name: node for node in graph.node for name in node.output}
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.added: list[onnx.TensorProto] = []
        self.activations: dict[str, int] = {}

    def run(self) -> onnx.ModelProto:
        graph = self.model.graph
        nodes: list[onnx.NodeProto] = []
        for node in graph.node:
            nodes += self._integer(node) if node.op_type in ("Conv", "Gemm") else [node]
            if node.op_type == "QuantizeLinear" and node.input[0] not in self.constants:
                kind = self._zero_point(node).dtype
                self.activations[node.output[0]] = TensorProto.UINT8 if kind == np.uint8 else TensorProto.INT8
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.extend(self.added)
        known = {o.name for o in graph.output}
        graph.output.extend(
            helper.make_tensor_value_info(name, kind, None)
            for name, kind in self.activations.items()
            if name not in known
        )
        return self.model

    def _integer(self, node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
        """QLinearConv and what brings its result back to float; the node itself where it is not quantized."""
        x, w = (self.maker.get(name) for name in node.input[:2])
        quantize = self._quantize_behind(node)
        if x is None or w is None or quantize is None or x.op_type != w.op_type != "DequantizeLinear":
            return [node]
        name = node.output[0]
        weights, scale = self.constants[w.input[0]], self.constants[w.input[1]]
        xq, shape = x.input[0], None
        if node.op_type == "Gemm":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            weights = weights if attributes.get("transB") else weights.T
            weights, shape = weights[:, :, None, None], np.array([0, -1, 1, 1], np.int64)
        kept = [] if node.op_type == "Gemm" else list(node.attribute)
        zero = np.zeros(scale.shape, np.int8)
        bias = [self._constant(f"{name}/b", self._bias(node, x, scale))] if len(node.input) > 2 else []
        inputs = [
            f"{name}/x" if shape is not None else xq, x.input[1], x.input[2],
            self._constant(f"{name}/w", np.ascontiguousarray(weights)), w.input[1],
            self._constant(f"{name}/zw", zero), quantize.input[1], quantize.input[2], *bias,
        ]  # fmt: skip
        conv = helper.make_node("QLinearConv", inputs, [f"{name}/q"], name=node.name)
        conv.attribute.extend(kept)
        made = [conv]
        result = f"{name}/q"
        if shape is not None:
            made.insert(0, helper.make_node("Reshape", [xq, self._constant(f"{name}/4d", shape)], [f"{name}/x"]))
            flat = self._constant(f"{name}/2d", np.array([0, -1], np.int64))
            made.append(helper.make_node("Reshape", [result, flat], [f"{name}/flat"]))
            result = f"{name}/flat"
        made.append(helper.make_node("DequantizeLinear", [result, *quantize.input[1:3]], [name]))
        return made

    def _quantize_behind(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The QuantizeLinear that takes the result, past one Relu or Clip: clamping before or after is the same."""
        readers = self.readers.get(node.output[0], [])
        if len(readers) == 1 and readers[0].op_type in _CLAMPS:
            readers = self.readers.get(readers[0].output[0], [])
        return readers[0] if len(readers) == 1 and readers[0].op_type == "QuantizeLinear" else None

    def _bias(self, node: onnx.NodeProto, x: onnx.NodeProto, scale: Array) -> Array:
        maker = self.maker.get(node.input[2])
        if maker is not None and maker.op_type == "DequantizeLinear":
            return np.asarray(self.constants[maker.input[0]], np.int32)
        steps = self.constants[x.input[1]] * scale
        return np.asarray(np.rint(self.constants[node.input[2]] / steps), np.int32)

    def _zero_point(self, node: onnx.NodeProto) -> Array:
        return self.constants[node.input[2]] if len(node.input) > 2 else np.zeros((), np.uint8)

    def _constant(self, name: str, array: Array) -> str:
        self.added.append(numpy_helper.from_array(array, name))
        return name
