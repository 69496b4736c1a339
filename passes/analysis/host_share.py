"""What the host does in a part of the model that ONNX Runtime runs: every operator with its reason, remedy and size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from isa.enf import OPEN, HostOperator
from isa.errors import VerifyError
from passes.ir.graph import Graph
from passes.ops.host import HostCall

REASON, REMEDY = "furc.reason", "furc.remedy"  # keys of the metadata of a node in the model of a call
Shape = tuple[int, ...]


def host_operators(call: HostCall, graph: Graph) -> tuple[HostOperator, ...]:
    """The operators of a call, in order, in one run of its model."""
    return operators_of(model_of(call, graph), call.reason, call.remedy)


def model_of(call: HostCall, graph: Graph) -> onnx.ModelProto:
    """What a call runs. Raises VerifyError: text may bring any bytes."""
    try:
        return onnx.ModelProto.FromString(graph.constants[call.model].tobytes())
    except (DecodeError, ValueError, RecursionError) as error:
        what = f"{call.model}: the model of a host_call is not ONNX"
        raise VerifyError("InvalidIr", what, at=call.loc, hint="take its constants along with the text") from error


def operators_of(model: onnx.ModelProto, reason: str = "", remedy: str = "") -> tuple[HostOperator, ...]:
    """reason, remedy: of nodes that do not say their own."""
    infos = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    sizes: dict[str, tuple[Shape, int]] = {i.name: _extents(i) for i in infos}
    sizes |= {t.name: (tuple(t.dims), _item_bytes(t.data_type)) for t in model.graph.initializer}
    shown = {info.name: _shape(info) for info in infos}
    return tuple(_operator(node, sizes, shown, reason, remedy) for node in model.graph.node)


def _operator(
    node: onnx.NodeProto, sizes: Mapping[str, tuple[Shape, int]], shown: Mapping[str, Shape], reason: str, remedy: str
) -> HostOperator:
    said = {p.key: p.value for p in node.metadata_props}
    tensor = next((name for name in node.output if name), "")
    touched = [sizes[name] for name in dict.fromkeys((*node.input, *node.output)) if name in sizes]
    return HostOperator(
        name=node.op_type,
        nodes=(node.name or tensor,),
        tensor=tensor,
        shape=shown.get(tensor, ()),
        reason=said.get(REASON, reason),
        remedy=said.get(REMEDY, remedy),
        bytes=sum(math.prod(shape) * item for shape, item in touched),
        macs=macs_of(node, [sizes.get(name, ((), 0))[0] for name in node.input], sizes.get(tensor, ((), 0))[0]),
    )


def _extents(info: onnx.ValueInfoProto) -> tuple[Shape, int]:
    """Open extents count as one."""
    tensor = info.type.tensor_type
    return tuple(int(d.dim_value) or 1 for d in tensor.shape.dim), _item_bytes(tensor.elem_type)


def _shape(info: onnx.ValueInfoProto) -> Shape:
    return tuple(int(d.dim_value) if d.HasField("dim_value") else OPEN for d in info.type.tensor_type.shape.dim)


def _item_bytes(element: int) -> int:
    """Of tensors whose elements have a size; 0 for others."""
    if element in (TensorProto.UNDEFINED, TensorProto.STRING):
        return 0
    return int(helper.tensor_dtype_to_np_dtype(element).itemsize)


def macs_of(node: onnx.NodeProto, inputs: list[Shape], made: Shape) -> int:
    """Multiplications of a node, from the shapes it reads and makes; 0 for operators that are no sums of products."""
    count = _MACS.get(node.op_type)
    return count(node, inputs, made) if count is not None and len(inputs) > 1 and len(inputs[1]) > 1 else 0


def _conv(node: onnx.NodeProto, inputs: list[Shape], made: Shape) -> int:
    return math.prod(made) * math.prod(inputs[1][1:])


def _conv_transpose(node: onnx.NodeProto, inputs: list[Shape], made: Shape) -> int:
    return math.prod(inputs[0]) * math.prod(inputs[1][1:])


def _matmul(node: onnx.NodeProto, inputs: list[Shape], made: Shape) -> int:
    return math.prod(made) * (inputs[0][-1] if inputs[0] else 1)


def _gemm(node: onnx.NodeProto, inputs: list[Shape], made: Shape) -> int:
    transposed = any(a.name == "transA" and a.i for a in node.attribute)
    return math.prod(made) * (inputs[0][0 if transposed else -1] if inputs[0] else 1)


_MACS: Mapping[str, Callable[[onnx.NodeProto, list[Shape], Shape], int]] = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "MatMul": _matmul, "Gemm": _gemm,
}  # fmt: skip


def calls(graph: Graph) -> Iterator[HostCall]:
    """The parts of the model that ONNX Runtime runs."""
    return (op for op in graph.ops if isinstance(op, HostCall))
