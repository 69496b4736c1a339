"""What must hold of an ONNX model before anything computes with it, or onnx's C++ sees it.

Names are text, tensors hold exactly what their type and dimensions say, dimensions are counts. Everything is looked
at, the bodies of control flow and functions too: a damaged file is told by what it says, not by what trips over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import onnx
from onnx import AttributeProto, TensorProto, helper

from furc.isolated import Died, Worker
from isa.enf import MAX_RANK
from isa.errors import Loc, SourceError, first_line

CHECK = "export the model again; onnx.checker.check_model(path, full_check=True) may say more"
LARGEST = 2**31 - 1  # elements of one tensor; the DRAM of the card holds eight of them
NotValid = (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, ValueError, TypeError)
_ELEMENTS = frozenset(TensorProto.DataType.values())
_ATTRIBUTES = frozenset(AttributeProto.AttributeType.values())
_KINDS = _ELEMENTS & set(helper.get_all_tensor_dtypes())
_HALVES = {TensorProto.UINT4, TensorProto.INT4, TensorProto.FLOAT4E2M1}  # two elements a byte
_QUARTERS = {TensorProto.UINT2, TensorProto.INT2} if hasattr(TensorProto, "UINT2") else set()
_ONE_KIND = {
    TensorProto.FLOAT: "float_data", TensorProto.COMPLEX64: "float_data", TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data", TensorProto.INT64: "int64_data", TensorProto.UINT64: "uint64_data",
    TensorProto.UINT32: "uint64_data", TensorProto.STRING: "string_data",
}  # fmt: skip
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


class Part(NamedTuple):
    """A graph or a node of a model, and where it is."""

    content: Any
    at: Loc


class Placed(NamedTuple):
    """A tensor, and what it is of which graph or node."""

    tensor: onnx.TensorProto
    what: str
    of: Loc

    @property
    def at(self) -> Loc:
        return Loc(self.of.source, self.of.nodes, self.what)


def checked(proto: onnx.ModelProto, source: str = "", parts: Sequence[Part] = ()) -> onnx.ModelProto:
    """The model itself; dimensions that are no counts (some exporters write -1 for "open") are forgotten. parts: what
    `walk` gives, where somebody has walked already.

    Raises SourceError InvalidGraph or TensorTooLarge with the file, the node and the tensor.
    """
    parts = parts or list(walk(proto, source))
    _check_names(proto, Loc(source))
    for part in parts:
        if isinstance(part.content, onnx.GraphProto):
            _check_graph(part.content, part.at)
        else:
            _check_node(part.content, part.at)
    for placed in tensors_of(parts):
        check_tensor(placed)
    return proto


@contextmanager
def onnx_checker() -> Iterator[Worker]:
    """onnx's own checker, in C++. Registering ONNX's operators takes longer than a check: it is done while the caller
    reads the model."""
    with Worker(_checked_by_onnx) as checker:
        checker.start(lambda: onnx.defs.has("Identity"))
        yield checker


def _checked_by_onnx(model: bytes) -> bytes:
    onnx.checker.check_model(model)
    return b""


def check_by_onnx(proto: onnx.ModelProto, checker: Worker, source: str = "") -> None:
    """What onnx_checker says. Raises SourceError InvalidGraph."""
    try:
        checker(proto.SerializeToString())
    except Died as error:
        raise _invalid(Loc(source), "onnx's checker does not survive it") from error
    except NotValid as error:
        raise SourceError(
            "InvalidGraph", f"not a valid ONNX graph: {first_line(error)}", at=Loc(source), hint=CHECK
        ) from error


def walk(proto: onnx.ModelProto, source: str) -> Iterator[Part]:
    """Every graph and every node, functions and the bodies of control flow included."""
    yield from _graph(proto.graph, Loc(source))
    for function in proto.functions:
        for index, node in enumerate(function.node):
            yield from _node(node, index, Loc(source, detail=f"function '{function.name}'"))


def _graph(graph: onnx.GraphProto, at: Loc) -> Iterator[Part]:
    yield Part(graph, at)
    for index, node in enumerate(graph.node):
        yield from _node(node, index, at)


def _node(node: onnx.NodeProto, index: int, outer: Loc) -> Iterator[Part]:
    at = Loc(outer.source, (*outer.nodes, node_name(node, index)), outer.detail)
    yield Part(node, at)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
            yield from _graph(graph, at)


def node_name(node: onnx.NodeProto, index: int) -> str:
    """As messages call it: its name, or for one without a name what it makes."""
    if node.name:
        return str(node.name)
    made = next((name for name in node.output if name), "")
    return f"{node.op_type} that makes {made}" if made else f"node {index}"


def tensors_of(parts: Iterable[Part]) -> Iterator[Placed]:
    """Every tensor: initializers, sparse ones, attributes."""
    for content, at in parts:
        if isinstance(content, onnx.GraphProto):
            for tensor in content.initializer:
                yield Placed(tensor, f"initializer '{_shown(tensor.name)}'", at)
            for sparse in content.sparse_initializer:
                yield from _sparse(sparse, at, f"sparse initializer '{_shown(sparse.values.name)}'")
        else:
            for attribute in content.attribute:
                one = attribute.HasField("t") or attribute.HasField("sparse_tensor")
                if not (one or attribute.tensors or attribute.sparse_tensors):
                    continue
                what = f"attribute '{_shown(attribute.name)}'"
                if attribute.HasField("t"):
                    yield Placed(attribute.t, what, at)
                for tensor in attribute.tensors:
                    yield Placed(tensor, what, at)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    if sparse.HasField("values"):
                        yield from _sparse(sparse, at, what)


def _sparse(sparse: onnx.SparseTensorProto, at: Loc, what: str) -> Iterator[Placed]:
    yield Placed(sparse.values, what, at)
    yield Placed(sparse.indices, what, at)


def _detailed(at: Loc, detail: str) -> Loc:
    return Loc(at.source, at.nodes, detail)


def _shown(name: object) -> str:
    return name if isinstance(name, str) else repr(name)


def check_tensor(placed: Placed) -> None:
    """A tensor holds what its type and dimensions say. Raises SourceError."""
    tensor, at = placed.tensor, placed.at
    count = _count(list(tensor.dims), at)
    kind = tensor.data_type
    if kind not in _KINDS:
        raise _invalid(at, f"elements of type {kind}, which ONNX does not have")
    if tensor.HasField("segment"):
        raise _invalid(at, "it is one segment of a tensor, which nothing reads")
    held = [field for field in _FIELDS if len(getattr(tensor, field))]
    if tensor.HasField("raw_data"):
        if kind == TensorProto.STRING or held:
            raise _invalid(at, "it holds its data twice" if held else "strings as raw bytes")
        needed, found, unit = _bytes(kind, count), len(tensor.raw_data), "bytes"
    else:
        wanted = _ONE_KIND.get(kind, "int32_data")
        if held not in ([], [wanted]):
            raise _invalid(at, f"{TensorProto.DataType.Name(kind)} in {held[0]}, expected {wanted}")
        needed, found, unit = _values(kind, count), len(getattr(tensor, wanted)), "values"
    if needed != found:
        what = f"{TensorProto.DataType.Name(kind)}{list(tensor.dims)} takes {needed} {unit}, it holds {found}"
        raise _invalid(at, what)


def _bytes(kind: int, count: int) -> int:
    if kind in _HALVES:
        return -(-count // 2)
    if kind in _QUARTERS:
        return -(-count // 4)
    return count * int(helper.tensor_dtype_to_np_dtype(kind).itemsize)


def _values(kind: int, count: int) -> int:
    """Entries of the typed field."""
    if kind in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        return 2 * count
    return _bytes(kind, count) if kind in _HALVES | _QUARTERS else count


def _count(dims: list[int], at: Loc) -> int:
    if any(d < 0 for d in dims):
        raise _invalid(at, f"dimensions {_few(dims)}: an extent is negative")
    if len(dims) > MAX_RANK:
        raise _invalid(at, f"{len(dims)} axes, a tensor has at most {MAX_RANK}")
    count = math.prod(dims)
    if count > LARGEST:
        raise SourceError("TensorTooLarge", f"dimensions {_few(dims)}: more than {LARGEST} elements", at=at, hint=CHECK)
    return count


def _few(dims: list[int]) -> str:
    return str(dims) if len(dims) <= 8 else f"[{', '.join(map(str, dims[:8]))}, ...]"


def _check_graph(graph: onnx.GraphProto, at: Loc) -> None:
    _text(at, graph.name, *(t.name for t in graph.initializer))
    seen: set[str] = set()
    for tensor in graph.initializer:
        if tensor.name in seen:
            raise _invalid(at, f"two initializers are called '{tensor.name}'")
        seen.add(tensor.name)
    outputs = [info.name for info in graph.output]
    twice = next((name for name in outputs if outputs.count(name) > 1), None)
    if twice is not None:
        raise _invalid(at, f"two outputs are called '{twice}'")
    for role, infos in (("input", graph.input), ("output", graph.output), ("tensor", graph.value_info)):
        for info in infos:
            _text(at, info.name)
            _check_type(info, _detailed(at, f"{role} '{info.name}'"))


def _check_type(info: onnx.ValueInfoProto, at: Loc) -> None:
    type = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        return
    if type.elem_type not in _ELEMENTS:
        raise _invalid(at, f"elements of type {type.elem_type}, which ONNX does not have")
    dims = type.shape.dim
    for dim in dims:
        _text(at, dim.dim_param)
        if dim.HasField("dim_value") and dim.dim_value < 0:
            dim.ClearField("dim_value")
    _count([dim.dim_value for dim in dims if dim.HasField("dim_value")], at)


def _check_node(node: onnx.NodeProto, at: Loc) -> None:
    _text(at, node.name, node.op_type, node.domain, *node.input, *node.output)
    if not any(node.output):
        raise _invalid(at, f"{node.op_type or 'it'} makes nothing")
    for attribute in node.attribute:
        _text(at, attribute.name, attribute.ref_attr_name)
        if attribute.type not in _ATTRIBUTES:
            raise _invalid(at, f"attribute '{attribute.name}' is of type {attribute.type}, which ONNX does not have")
        if node.op_type != "Constant" and any(map(math.isnan, (attribute.f, *attribute.floats))):
            raise _invalid(at, f"attribute '{attribute.name}' is not a number")


def _check_names(proto: onnx.ModelProto, at: Loc) -> None:
    _text(at, *(o.domain for o in proto.opset_import), proto.producer_name, proto.producer_version, proto.domain)
    for entry in proto.metadata_props:
        _text(_detailed(at, "metadata"), entry.key, entry.value)
    for function in proto.functions:
        _text(at, function.name, function.domain, *function.input, *function.output, *function.attribute)


def _text(at: Loc, *names: object) -> None:
    """protobuf hands out the bytes of a string that is not UTF-8."""
    for name in names:
        if isinstance(name, bytes):
            raise _invalid(at, f"not a valid ONNX graph: the name {name[:40]!r} is not UTF-8")


def _invalid(at: Loc, message: str) -> SourceError:
    return SourceError("InvalidGraph", message, at=at, hint=CHECK)
