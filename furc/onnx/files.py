"""ONNX models from files and from memory, whole: with the data that lies in files beside them.

Tensors may keep their data outside wherever a tensor may stand: initializers, attributes of nodes (Constant), bodies of
If and Loop, functions. All of them are read here, relative to the model's folder and never from anywhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto, external_data_helper

from isa.errors import Loc, SourceError

Source: TypeAlias = str | Path | bytes | onnx.ModelProto
CONSTANTS_ARE_NO_INPUTS = 4  # IR version
HINT = "pass a model in ONNX's binary form (.onnx)"
_OF_TENSORS = (AttributeProto.TENSOR, AttributeProto.TENSORS)
_OF_SPARSE_TENSORS = (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)
_OF_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_UNUSABLE = (onnx.checker.ValidationError, OSError, MemoryError, ValueError, TypeError, RuntimeError, OverflowError)


def load(model: Source, source: str = "") -> onnx.ModelProto:
    """A model with all its data: from a file, from bytes, or as it is where it is loaded already.

    source: the name that messages use, by default the path. Raises SourceError ModelNotFound, ModelUnreadable, NotOnnx,
    ExternalDataMissing, ExternalDataUnreadable.
    """
    if isinstance(model, str | Path):
        return from_bytes(read_bytes(Path(model)), source or str(model), Path(model).parent)
    if isinstance(model, bytes):
        return from_bytes(model, source, None)
    load_external(model, None, source)
    _complete(model)
    return model


def _complete(model: onnx.ModelProto) -> None:
    """What writers leave out: the value of an attribute where it is zero. Before IR version 4 constants had to be
    inputs too; a model that gets new ones is of a later version."""
    model.ir_version = max(model.ir_version, CONSTANTS_ARE_NO_INPUTS)
    for attribute in (attribute for node in model.graph.node for attribute in node.attribute):
        if attribute.type == AttributeProto.INT and not attribute.HasField("i"):
            attribute.i = 0
        elif attribute.type == AttributeProto.FLOAT and not attribute.HasField("f"):
            attribute.f = 0.0


def read_bytes(path: Path) -> bytes:
    """A file as it is. Raises SourceError ModelNotFound, with the nearest name there is, and ModelUnreadable."""
    try:
        if path.is_char_device() or path.is_block_device():
            raise OSError("a device")  # it may never end
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _not_found(path) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise SourceError(
            "ModelUnreadable", f"the file cannot be read: {reason}", at=Loc(str(path)), hint="pass an ONNX file"
        ) from error
    except ValueError:  # a path with a zero byte
        raise SourceError("ModelNotFound", f"no file can have this name: {str(path)!r}") from None


def from_bytes(data: bytes, source: str, folder: Path | None) -> onnx.ModelProto:
    """The model in some bytes. folder: where its data files are; None where it came from no file."""
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise SourceError("NotOnnx", f"not an ONNX model: {error}", at=Loc(source), hint=HINT) from error
    if not model.ir_version or not model.HasField("graph"):
        message = f"not an ONNX model: {len(data)} bytes without an ONNX graph"
        raise SourceError("NotOnnx", message, at=Loc(source), hint=HINT)
    load_external(model, folder, source)
    _complete(model)
    return model


def load_external(model: onnx.ModelProto, folder: Path | None, source: str) -> None:
    """Read what lies outside into the model. Raises SourceError ExternalDataMissing, ExternalDataUnreadable."""
    for place, tensor in outside(model):
        _load(place, tensor, folder, source)


def data_files(path: Path) -> list[Path]:
    """The other files that a model file takes data from. Raises OSError, and ValueError where it cannot be told."""
    data = path.read_bytes()
    if b"location" not in data:
        return []
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise ValueError("not an ONNX model") from error
    locations = sorted({_location(tensor) for _, tensor in outside(model)})
    if not all(map(_stays_inside, locations)):
        raise ValueError("data outside the folder of the model")
    return [path.parent / location for location in locations]


def outside(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    """Every tensor of the model whose data is in another file, and where it stands."""
    for place, tensor in _in_graph(model.graph):
        if external_data_helper.uses_external_data(tensor):
            yield place, tensor
    for function in model.functions:
        for place, tensor in _in_nodes(function.node):
            if external_data_helper.uses_external_data(tensor):
                yield place, tensor


def _in_graph(graph: onnx.GraphProto) -> Iterator[tuple[str, TensorProto]]:
    yield from ((f"initializer '{tensor.name}'", tensor) for tensor in graph.initializer)
    for sparse in graph.sparse_initializer:
        yield f"initializer '{sparse.values.name}'", sparse.values
        yield f"initializer '{sparse.values.name}'", sparse.indices
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[tuple[str, TensorProto]]:
    for node in nodes:
        for attribute in node.attribute:
            place = f"attribute '{attribute.name}' of {node.op_type} '{node.name}'"
            if attribute.type in _OF_TENSORS:
                yield from ((place, tensor) for tensor in (attribute.t, *attribute.tensors))
            elif attribute.type in _OF_SPARSE_TENSORS:
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from ((place, tensor) for tensor in (sparse.values, sparse.indices))
            elif attribute.type in _OF_GRAPHS:
                for body in (attribute.g, *attribute.graphs):
                    yield from _in_graph(body)


def _load(place: str, tensor: TensorProto, folder: Path | None, source: str) -> None:
    location = _location(tensor)
    at, hint = Loc(source, detail=place), "keep the model and its data file together"
    if folder is None:
        what = f"its data is in '{location}', and a model in memory has no folder to look into"
        raise SourceError("ExternalDataMissing", what, at=at, hint="pass the path, or load it with onnx.load(path)")
    try:
        if not _stays_inside(location):
            raise ValueError("it is not in the folder of the model")
        if not (folder / location).is_file():
            what = f"its data is in '{location}', which is missing"
            raise SourceError("ExternalDataMissing", what, at=at, hint=hint)
        external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]
    except _UNUSABLE as error:
        what = f"its data is in '{location}', which is unusable: {error}"
        raise SourceError("ExternalDataUnreadable", what, at=at, hint=hint) from error


def _location(tensor: TensorProto) -> str:
    named = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return named if isinstance(named, str) else ""  # protobuf hands out bytes where they are no UTF-8


def _stays_inside(location: str) -> bool:
    paths = PurePosixPath(location), PureWindowsPath(location)
    return bool(location) and not any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)


def _not_found(path: Path) -> SourceError:
    try:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, 1)
    hint = f"did you mean '{path.parent / near[0]}'?" if near else "check the path of the model"
    return SourceError("ModelNotFound", "no such file", at=Loc(str(path)), hint=hint)
