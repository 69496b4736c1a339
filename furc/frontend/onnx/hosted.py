"""Nodes that stay on the host: why, which of them go together, and the ONNX model that ONNX Runtime runs for them.

Neighbours become one model as long as no tensor leaves it, passes through the NPU and comes back into it: nodes get
the number of the turn in which they can run, even for the host and odd for the NPU, and those of one turn that share
a tensor go together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from furc.frontend.onnx.node import Node
from furc.isolated import Died, Worker
from furc.onnx.model_proto import OWN_DOMAINS, captured
from isa import ort
from isa.enf import OPEN
from isa.errors import LowerError, first_line
from passes.analysis.host_share import REASON, REMEDY
from passes.ir.op import Array
from passes.ir.types import DType

KNOWN_LARGEST = 4096  # elements of a constant that may say a shape
IR_VERSION = 8
DTYPES = {
    TensorProto.FLOAT: DType.F32, TensorProto.UINT8: DType.U8, TensorProto.INT8: DType.I8,
    TensorProto.INT32: DType.I32, TensorProto.INT64: DType.I64, TensorProto.BOOL: DType.BOOL,
}  # fmt: skip
ELEMENTS = {dtype: element for element, dtype in DTYPES.items()}


class Cause(NamedTuple):
    """Why a node is on the host, and what the user can do about it."""

    reason: str
    remedy: str


class Told(NamedTuple):
    """What is known of a tensor before it is made. element: ONNX's number, 0 where nobody knows; shape: None likewise,
    -1 for an extent that only a run tells."""

    element: int
    shape: tuple[int, ...] | None

    @property
    def dtype(self) -> DType | None:
        return DTYPES.get(self.element)

    def info(self, name: str) -> onnx.ValueInfoProto:
        if not self.element:
            return onnx.ValueInfoProto(name=name)
        shape = None if self.shape is None else [None if extent == OPEN else extent for extent in self.shape]
        return helper.make_tensor_value_info(name, self.element, shape)


UNKNOWN = Told(0, None)


class Turns(NamedTuple):
    """order: all nodes, as they can be met one after another. groups: of host nodes, by the number of each."""

    order: list[Node]
    groups: dict[int, list[Node]]


def reads_of(node: Node) -> list[str]:
    """Every tensor that a node reads, those of the bodies of If and Loop as well."""
    return [name for name in dict.fromkeys((*node.inputs, *captured(node.proto))) if name]


def in_turns(nodes: Sequence[Node], hosts: Collection[int], known: Collection[int]) -> Turns:
    """known: nodes that are computed when compiling; they take no part in turns."""
    turn: dict[str, int] = {}
    maker: dict[str, Node] = {}
    at: dict[int, int] = {}
    edges: list[tuple[int, int]] = []
    for node in nodes:
        reads = reads_of(node)
        earliest = max((turn.get(name, 0) for name in reads), default=0)
        if node.index in hosts:
            earliest += earliest % 2
            edges.append((node.index, node.index))
            for name in reads:
                made_by = maker.get(name)
                if made_by is not None and made_by.index in hosts and at[made_by.index] == earliest:
                    edges.append((made_by.index, node.index))
        elif node.index not in known:
            earliest += 1 - earliest % 2
        at[node.index] = earliest
        turn.update(dict.fromkeys(node.outputs, earliest))
        maker.update(dict.fromkeys(node.outputs, node))
    by_index = {node.index: node for node in nodes}
    groups: dict[int, list[Node]] = {}
    for members in _joined(edges):
        together = [by_index[index] for index in sorted(members, key=_positions(nodes).__getitem__)]
        groups.update(dict.fromkeys(members, together))
    return Turns(sorted(nodes, key=lambda node: at[node.index]), groups)


def _joined(edges: Sequence[tuple[int, int]]) -> list[set[int]]:
    if not edges:
        return []  # most models have nothing for the host
    import networkx as nx  # here: it takes as long as a small compile

    return list(nx.connected_components(nx.Graph(edges)))


def _positions(nodes: Sequence[Node]) -> dict[int, int]:
    return {node.index: position for position, node in enumerate(nodes)}


def with_shapes(model: bytes) -> bytes:
    """As onnx infers them: work for a process of its own, which it may end."""
    inferred = onnx.shape_inference.infer_shapes(onnx.ModelProto.FromString(model), data_prop=True)
    return bytes(inferred.SerializeToString())


def infer(
    node: Node, told: Mapping[str, Told], constants: Mapping[str, Array], opsets: Iterable[object], shapes: Worker
) -> list[Told]:
    """What the results of a node will be. told, constants: of everything it reads; shapes: does `with_shapes`.

    Raises LowerError where ONNX Runtime does not know the operator, SourceError where onnx does not survive it."""
    model = _alone(node, told, constants, opsets)
    try:
        graph = onnx.ModelProto.FromString(shapes(bytes(model.SerializeToString()))).graph
        found = {info.name: _told(info) for info in (*graph.value_info, *graph.output)}
    except Died as error:
        raise node.invalid("onnx's shape inference does not survive its attributes and inputs") from error
    except Exception:  # what the inference of an operator stumbles on; then nothing is known
        found = {}
    results = [found.get(name, UNKNOWN) for name in node.outputs]
    if node.proto.domain in OWN_DOMAINS and onnx.defs.has(node.op, node.opset):
        return results
    try:
        session = ort.session(model.SerializeToString())
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        message = f"'{node.op}' runs neither on the NPU nor on ONNX Runtime: {first_line(error)}"
        raise LowerError("UnsupportedOperator", message, at=node.loc, hint="export it as operators of ONNX") from error
    own = {tensor.name: tensor for tensor in session.get_outputs()}
    return [
        result if name not in own or (result.element and result.shape is not None) else _told_by_runtime(own[name])
        for name, result in zip(node.outputs, results, strict=True)
    ]


def _alone(
    node: Node, told: Mapping[str, Told], constants: Mapping[str, Array], opsets: Iterable[object]
) -> onnx.ModelProto:
    holding = [numpy_helper.from_array(array, name) for name, array in constants.items() if array.size <= KNOWN_LARGEST]
    inputs = [told[name].info(name) for name in told]
    inputs += [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in constants.items()
        if array.size > KNOWN_LARGEST
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.outputs if name]
    graph = helper.make_graph([node.proto], "node", inputs, outputs, holding)
    return helper.make_model(graph, opset_imports=list(opsets), ir_version=IR_VERSION)


def _told(info: onnx.ValueInfoProto) -> Told:
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type") or not tensor.elem_type:
        return UNKNOWN
    if not tensor.HasField("shape"):
        return Told(tensor.elem_type, None)
    shape = tuple(int(d.dim_value) if d.HasField("dim_value") else OPEN for d in tensor.shape.dim)
    return Told(tensor.elem_type, shape)


_RUNTIME_TYPES = {
    "tensor(float)": TensorProto.FLOAT, "tensor(uint8)": TensorProto.UINT8, "tensor(int8)": TensorProto.INT8,
    "tensor(int32)": TensorProto.INT32, "tensor(int64)": TensorProto.INT64, "tensor(bool)": TensorProto.BOOL,
}  # fmt: skip


def _told_by_runtime(tensor: ort.TensorInfo) -> Told:
    extents = tuple(d if isinstance(d, int) and d > 0 else OPEN for d in tensor.shape)
    return Told(_RUNTIME_TYPES.get(tensor.type, 0), extents)


class Part(NamedTuple):
    """Nodes that run together, with the tensors that they take and give. before: what makes integers of what the host
    has as float."""

    nodes: Sequence[Node]
    inputs: Sequence[str]
    outputs: Sequence[str]
    constants: Mapping[str, Array]
    before: Sequence[onnx.NodeProto]


def outlined(
    name: str, part: Part, causes: Mapping[int, Cause], told: Mapping[str, Told], opsets: Iterable[object]
) -> bytes:
    """The ONNX model of a part of the model. causes: of each of its nodes, by number."""
    protos = [_explained(node, causes[node.index]) for node in part.nodes]
    made = {tensor for node in part.nodes for tensor in node.outputs}
    inner = [told[tensor].info(tensor) for tensor in told if tensor in made and tensor not in part.outputs]
    graph = helper.make_graph(
        [*part.before, *protos],
        name,
        [told[tensor].info(tensor) for tensor in part.inputs],
        [told[tensor].info(tensor) for tensor in part.outputs],
        [
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), constant)
            for constant, array in part.constants.items()
        ],
        value_info=[info for info in inner if info.HasField("type")],
    )
    model = helper.make_model(graph, opset_imports=list(opsets), ir_version=IR_VERSION)
    return bytes(model.SerializeToString(deterministic=True))


def _explained(node: Node, cause: Cause) -> onnx.NodeProto:
    proto = onnx.NodeProto()
    proto.CopyFrom(node.proto)
    proto.name = node.name
    del proto.metadata_props[:]
    for key, text in ((REASON, cause.reason), (REMEDY, cause.remedy)):
        proto.metadata_props.add(key=key, value=text)
    return proto
