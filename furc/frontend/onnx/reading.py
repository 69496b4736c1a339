"""From a file to an ONNX model whose weights are all in memory, in the form that the rest may rely on (`soundness`)."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, external_data_helper

from furc.frontend.onnx.soundness import Placed, checked, tensors_of, walk
from isa.errors import FurcError, Loc, SourceError

IN_BINARY = "pass a model in ONNX's binary form (.onnx)"
TOGETHER = "keep the model and its data file together"
TFLITE_MARK = slice(4, 8), b"TFL3"
LONGEST_LOCATION = 255  # letters; no file system has longer names


def read_proto(model: str | Path | bytes | onnx.ModelProto, source: str = "") -> onnx.ModelProto:
    """A sound model; never the caller's own object. source: what messages call it, the path by default.

    Raises SourceError ModelNotFound, ModelUnreadable, NotOnnx, TfliteModel, ExternalDataMissing,
    ExternalDataUnreadable, InvalidGraph, TensorTooLarge.
    """
    folder = None
    if isinstance(model, str | Path):
        folder, source = Path(model).parent, source or str(model)
        proto = _parsed(_bytes_of(Path(model)), source)
    elif isinstance(model, bytes):
        proto = _parsed(model, source)
    elif isinstance(model, onnx.ModelProto):
        proto = onnx.ModelProto()
        proto.CopyFrom(model)  # it is changed below
    else:
        message = f"a model is a path, bytes or an onnx.ModelProto, not {type(model).__name__}"
        raise SourceError("NotOnnx", message, hint=IN_BINARY)
    for placed in tensors_of(walk(proto, source)):
        if external_data_helper.uses_external_data(placed.tensor):
            _load(placed, folder)
    checked(proto, source)
    return proto


@contextmanager
def in_file(model: object) -> Iterator[None]:
    """Errors that do not say which file they are about say it; for a model that is no path, nothing changes."""
    try:
        yield
    except FurcError as error:
        if isinstance(model, str | Path) and not error.at.source:
            error.at = replace(error.at, source=str(model))
        raise


def external_files(proto: onnx.ModelProto) -> Iterator[str]:
    """Where the weights lie that are not in the model itself, as it says: initializers, attributes, bodies."""
    for placed in tensors_of(walk(proto, "")):
        if external_data_helper.uses_external_data(placed.tensor):
            yield _fields(placed).get("location", "")


def _bytes_of(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise SourceError("ModelUnreadable", "not a regular file", at=Loc(str(path)), hint="pass an ONNX file")
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


def _not_found(path: Path) -> SourceError:
    try:
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, 1)
    hint = f"did you mean '{path.parent / near[0]}'?" if near else "check the path of the model"
    return SourceError("ModelNotFound", "no such file", at=Loc(str(path)), hint=hint)


def _parsed(data: bytes, source: str) -> onnx.ModelProto:
    part, mark = TFLITE_MARK
    if data[part] == mark:
        raise SourceError(
            "TfliteModel", "this is a TFLite model, furc reads ONNX", at=Loc(source),
            hint="convert it: python -m tf2onnx.convert --tflite MODEL.tflite --output MODEL.onnx --opset 13",
        )  # fmt: skip
    try:
        proto = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise SourceError("NotOnnx", f"not an ONNX model: {error}", at=Loc(source), hint=IN_BINARY) from error
    if not proto.ir_version or not proto.HasField("graph"):
        message = f"not an ONNX model: {len(data)} bytes without an ONNX graph"
        raise SourceError("NotOnnx", message, at=Loc(source), hint=IN_BINARY)
    return proto


def _fields(placed: Placed) -> dict[str, str]:
    """What a tensor says of its data's place."""
    found: dict[str, str] = {}
    for entry in placed.tensor.external_data:
        if isinstance(entry.key, bytes) or isinstance(entry.value, bytes):
            raise _unreadable(placed, f"its place {entry.value!r:.40} is not text")
        found[entry.key] = entry.value
    return found


def _load(placed: Placed, folder: Path | None) -> None:
    """Read one tensor from a file beside the model; paths that leave its folder are refused by onnx."""
    fields = _fields(placed)
    location = fields.get("location", "")
    where = location if len(location) <= LONGEST_LOCATION else f"{location[:60]}..."
    if folder is None:
        raise _missing(placed, f"its data is in '{where}', and the model came without its folder", "pass its path")
    for key in ("offset", "length"):
        if not _is_count(fields.get(key, "0")):
            raise _unreadable(placed, f"its data has the {key} '{fields[key][:40]}', no count of bytes")
    if not location or location != where or "\0" in location:
        raise _unreadable(placed, f"its data is in '{where}', which no file is called")
    offset, length = int(fields.get("offset", "0")), fields.get("length")
    try:
        size = os.stat(folder / location).st_size
    except OSError:
        raise _missing(placed, f"its data is in '{where}', which is missing", TOGETHER) from None
    if offset + int(length or 0) > size:
        reason = f"bytes {offset}..{offset + int(length or 0)} of a file of {size}"
        raise _unreadable(placed, f"its data is in '{where}', which is unusable: {reason}")
    try:
        external_data_helper.load_external_data_for_tensor(placed.tensor, str(folder))
    except Exception as error:  # onnx's own checks of the path, in C++
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise _unreadable(placed, f"its data is in '{where}', which is unusable: {words[0]}") from error
    placed.tensor.data_location = TensorProto.DEFAULT
    del placed.tensor.external_data[:]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _missing(placed: Placed, what: str, hint: str) -> SourceError:
    return SourceError("ExternalDataMissing", what, at=placed.at, hint=hint)


def _unreadable(placed: Placed, what: str) -> SourceError:
    return SourceError("ExternalDataUnreadable", what, at=placed.at, hint=TOGETHER)
