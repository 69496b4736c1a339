"""The host's share of a model as two ONNX models: what turns user tensors into int8, and int8 into user tensors.

Both take and give dense tensors; the runtime copies them from and to DRAM in the order the program wants (Lower and
Unlower in the vendor's profiles)."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from isa.enf import HostSegment
from passes.ir.dfg import RELAYOUTS, Dequantize, HostOp, Quantize, Recast
from passes.ir.graph import Graph, Value
from passes.ir.types import DType, TensorType

OPSET = 13
IR_VERSION = 8
_ELEMENT = {DType.F32: TensorProto.FLOAT, DType.I8: TensorProto.INT8, DType.U8: TensorProto.UINT8}


def head_segment(graph: Graph) -> HostSegment:
    """Quantize and Recast of graph inputs."""
    ops = [op for op in _host_ops(graph) if op.x in graph.inputs]
    return _segment("head", [(op, op.x.name, op.result.name) for op in ops])


def tail_segment(graph: Graph) -> HostSegment:
    """Dequantize and Recast in front of graph outputs."""
    ops = [op for op in _host_ops(graph) if op.x not in graph.inputs]
    return _segment("tail", [(op, op.x.name, op.result.name) for op in ops])


def _host_ops(graph: Graph) -> list[HostOp]:
    return [op for op in graph.ops if isinstance(op, HostOp) and not isinstance(op, RELAYOUTS)]


def _segment(name: str, ops: list[tuple[HostOp, str, str]]) -> HostSegment:
    builder = _Builder(name)
    for op, source, target in ops:
        builder.add(op, source, target)
    return HostSegment(
        name=name,
        model=builder.model().SerializeToString(deterministic=True),
        inputs=tuple(dict.fromkeys(source for _, source, _ in ops)),
        outputs=tuple(target for _, _, target in ops),
        operators=tuple(f"{type(op).__name__} {target if name == 'head' else source}" for op, source, target in ops),
        elements=sum(op.result.type.elements for op, _, _ in ops),
    )


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self.outputs: list[onnx.ValueInfoProto] = []

    def add(self, op: HostOp, source: str, target: str) -> None:
        self.inputs[source] = _info(source, op.x.type)
        self.outputs.append(_info(target, op.result.type))
        shaped = source
        if op.x.type.shape != op.result.type.shape:
            shaped = f"{target}/shaped"
            shape = self._constant(f"{target}/shape", np.array(op.result.type.shape, np.int64))
            self.nodes.append(helper.make_node("Reshape", [source, shape], [shaped]))
        getattr(self, f"_{type(op).__name__.lower()}")(op, shaped, target)

    def _quantize(self, op: Quantize, source: str, target: str) -> None:
        self.nodes.append(helper.make_node("QuantizeLinear", [source, *self._quant(op.result, target)], [target]))

    def _dequantize(self, op: Dequantize, source: str, target: str) -> None:
        self.nodes.append(helper.make_node("DequantizeLinear", [source, *self._quant(op.x, target)], [target]))

    def _recast(self, op: Recast, source: str, target: str) -> None:
        """uint8 and int8 differ by 128: in int32, for ONNX has no wrapping subtraction of bytes."""
        to_int8 = op.result.type.dtype is DType.I8
        offset = self._constant(f"{target}/128", np.array(-128 if to_int8 else 128, np.int32))
        kind = TensorProto.INT8 if to_int8 else TensorProto.UINT8
        self.nodes += [
            helper.make_node("Cast", [source], [f"{target}/wide"], to=TensorProto.INT32),
            helper.make_node("Add", [f"{target}/wide", offset], [f"{target}/moved"]),
            helper.make_node("Cast", [f"{target}/moved"], [target], to=kind),
        ]

    def _quant(self, value: Value, name: str) -> tuple[str, str]:
        quant = value.type.q
        scale = self._constant(f"{name}/scale", np.array(quant.s, np.float32))
        return scale, self._constant(f"{name}/zero", np.array(quant.z, np.int8))

    def _constant(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def model(self) -> onnx.ModelProto:
        constants = list(self.constants.values())
        graph = helper.make_graph(self.nodes, self.name, list(self.inputs.values()), self.outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _ELEMENT[type.dtype], list(type.shape))
