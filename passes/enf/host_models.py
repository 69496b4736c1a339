"""The host's turns as ONNX models: what turns user tensors into int8 and back, and parts of the model as they were.

They take and give dense tensors; the runtime copies int8 ones from and to DRAM in the order the program wants (Lower
and Unlower in the vendor's profiles)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from isa.enf import HostOperator, HostStep
from passes.analysis.host_share import model_of, operators_of
from passes.ir.graph import Graph
from passes.ir.op import Op, Value
from passes.ir.types import DType, TensorType
from passes.ops.host import Converts, Dequantize, HostCall, Quantize, Recast

OPSET = 13
IR_VERSION = 8
_ELEMENT = {DType.F32: TensorProto.FLOAT, DType.I8: TensorProto.INT8, DType.U8: TensorProto.UINT8}
OnHost = Callable[[Value], Value]  # what the host has of a tensor


def host_steps(ops: Sequence[Op], graph: Graph, on_host: OnHost) -> Iterator[HostStep]:
    """The steps of one turn of the host: conversions that follow each other as one model, every call as its own."""
    for calls, group in groupby(ops, key=lambda op: isinstance(op, HostCall)):
        if not calls:
            yield _conversions([op for op in group if isinstance(op, Converts)], on_host)
        else:
            yield from (_call(op, graph, on_host) for op in group if isinstance(op, HostCall))


def _conversions(ops: Sequence[Converts], on_host: OnHost) -> HostStep:
    builder = _Builder("conversions")
    for op in ops:
        builder.add(op, on_host(op.x), op.result)
    made = {op.result.name for op in ops}
    sources = dict.fromkeys(on_host(op.x).name for op in ops)
    return HostStep(
        name=" and ".join(dict.fromkeys(type(op).__name__.lower() for op in ops)),
        model=builder.model().SerializeToString(deterministic=True),
        images=1,
        inputs=tuple(name for name in sources if name not in made),
        outputs=tuple(op.result.name for op in ops),
        operators=tuple(_operator(op, on_host(op.x).name if op.feeds_npu else op.result.name) for op in ops),
    )


def _operator(op: Converts, tensor: str) -> HostOperator:
    size = sum(v.type.bytes for v in (op.x, op.result))
    return HostOperator(type(op).__name__, op.loc.nodes, tensor, op.result.type.shape, "", "", size, 0)


def _call(op: HostCall, graph: Graph, on_host: OnHost) -> HostStep:
    """The model of a call, its tensors under the names that the host has them under."""
    model = model_of(op, graph)
    operators = operators_of(model, op.reason, op.remedy)
    names = {t.name: on_host(v).name for t, v in zip(model.graph.input, op.inputs, strict=True)}
    names |= {t.name: v.name for t, v in zip(model.graph.output, op.results, strict=True)}
    _rename(model.graph, names)
    return HostStep(
        name=operators[0].name.lower() if operators else "call",
        model=model.SerializeToString(deterministic=True),
        images=op.images,
        inputs=tuple(dict.fromkeys(on_host(v).name for v in op.inputs)),
        outputs=tuple(v.name for v in op.results),
        operators=operators,
    )


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Tensors under other names; inner ones that would clash get a mark."""
    taken = set(names.values())
    inner = {name for node in graph.node for name in (*node.input, *node.output)} | {t.name for t in graph.initializer}
    names = names | {name: f"{name}/inner" for name in inner & taken if name not in names}
    _rename_in(graph.node, names)
    # what a call takes under two names, as integers and as what they stand for, is one tensor by now
    renamed = [names.get(tensor.name, tensor.name) for tensor in graph.input]
    for index in reversed([index for index, name in enumerate(renamed) if name in renamed[:index]]):
        del graph.input[index]
    for tensor in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        tensor.name = names.get(tensor.name, tensor.name)


def _rename_in(nodes: Iterable[onnx.NodeProto], names: Mapping[str, str]) -> None:
    """In nodes, and in the bodies of If and Loop where these read what is outside them."""
    for node in nodes:
        for field in (node.input, node.output):
            renamed = [names.get(name, name) for name in field]
            del field[:]
            field.extend(renamed)
        for body in (body for a in node.attribute for body in (*([a.g] if a.HasField("g") else ()), *a.graphs)):
            own = {t.name for t in (*body.input, *body.initializer)} | {o for n in body.node for o in n.output}
            outer = {old: new for old, new in names.items() if old not in own}
            _rename_in(body.node, outer)
            for tensor in body.output:
                tensor.name = outer.get(tensor.name, tensor.name)


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self.outputs: list[onnx.ValueInfoProto] = []
        self.made: set[str] = set()

    def add(self, op: Converts, given: Value, made: Value) -> None:
        source, target = given.name, made.name
        if source not in self.made:
            self.inputs[source] = _info(source, given.type)
        self.made.add(target)
        self.outputs.append(_info(target, made.type))
        shaped, shape = source, given.type.shape
        if op.perm:
            unturned = self._reshaped(source, shape, f"{target}/unturned/shaped", op.unturned())
            shaped, shape = f"{target}/turned", tuple(op.unturned()[axis] for axis in op.perm)
            self.nodes.append(helper.make_node("Transpose", [unturned], [shaped], perm=op.perm))
        shaped = self._reshaped(shaped, shape, f"{target}/shaped", made.type.shape)
        match op:
            case Quantize():
                self._quantize(op, shaped, target)
            case Dequantize():
                self._dequantize(op, shaped, target)
            case Recast():
                self._recast(op, shaped, target)
            case _:
                self.nodes.append(helper.make_node("Identity", [shaped], [target]))

    def _reshaped(self, source: str, shape: tuple[int, ...], target: str, wanted: tuple[int, ...]) -> str:
        """A tensor under another shape; it itself where it has that one."""
        if shape == wanted:
            return source
        extents = self._constant(f"{target.rpartition('/')[0]}/shape", np.array(wanted, np.int64))
        self.nodes.append(helper.make_node("Reshape", [source, extents], [target]))
        return target

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
