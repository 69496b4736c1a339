"""ONNX models from files and from memory, whole: with the data that lies in files beside them, and sound (`soundness`).
TFLite models as ONNX.

Tensors may keep their data outside wherever a tensor may stand: initializers, attributes of nodes (Constant), bodies of
If and Loop, functions. All of them are read here, relative to the model's folder and never from anywhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, TensorProto, external_data_helper

from furc.onnx.soundness import Part, Placed, checked, tensors_of, walk
from furc.tflite.mark import is_tflite
from isa.enf import MAGIC
from isa.errors import FurcError, Loc, SourceError, counted, first_line

Source: TypeAlias = str | Path | bytes | onnx.ModelProto
OLDEST_OPSET, NEWEST_OPSET = 10, 23  # of what furc reads, and has the host run
CONSTANTS_ARE_NO_INPUTS = 4  # IR version
HINT = "pass a model in ONNX's binary form (.onnx), or a TFLite model (.tflite)"
TOGETHER = "keep the model and its data file together"
LONGEST_LOCATION = 255  # letters; no file system has longer names


def load(model: Source, source: str = "") -> onnx.ModelProto:
    """A sound model with all its data: from a file, from bytes, or a copy of one that is loaded already.

    source: the name that messages use, by default the path. Raises SourceError ModelNotFound, ModelUnreadable, NotOnnx,
    AlreadyCompiled, ExternalDataMissing, ExternalDataUnreadable, InvalidGraph, TensorTooLarge, NotTflite; of a TFLite
    model LowerError too.
    """
    folder = None
    if isinstance(model, str | Path):
        folder, source = Path(model).parent, source or str(model)
        proto = _parsed(read_bytes(Path(model)), source)
    elif isinstance(model, bytes):
        proto = _parsed(model, source)
    elif isinstance(model, onnx.ModelProto):
        proto = onnx.ModelProto()
        proto.CopyFrom(model)  # it is changed below
    else:
        message = f"a model is a path, bytes or an onnx.ModelProto, not {type(model).__name__}"
        raise SourceError("NotOnnx", message, hint=HINT)
    parts = list(walk(proto, source))
    for placed in outside(parts):
        _load(placed, folder)
    _complete(proto)
    return checked(proto, source, parts)


@contextmanager
def in_file(model: object) -> Iterator[None]:
    """Errors that do not say which file they are about say it; for a model that is no path, nothing changes."""
    try:
        yield
    except FurcError as error:
        if isinstance(model, str | Path) and not error.at.source:
            error.at = replace(error.at, source=str(model))
        raise


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
        if path.exists() and not path.is_file() and not path.is_dir():
            raise OSError("not a regular file")  # it may never end
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


def data_files(path: Path) -> list[Path]:
    """The other files that a model file takes data from. Raises OSError, and ValueError where it cannot be told."""
    data = path.read_bytes()
    if b"location" not in data:
        return []
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise ValueError("not an ONNX model") from error
    locations = sorted({_location(placed.tensor) for placed in outside(walk(model, ""))})
    if not all(map(_stays_inside, locations)):
        raise ValueError("data outside the folder of the model")
    return [path.parent / location for location in locations]


def outside(parts: Iterable[Part]) -> Iterator[Placed]:
    """Every tensor of a model whose data is in another file, and where it stands."""
    for placed in tensors_of(parts):
        if external_data_helper.uses_external_data(placed.tensor):
            yield placed


def _parsed(data: bytes, source: str) -> onnx.ModelProto:
    if is_tflite(data, source):
        from furc.tflite.convert import to_onnx  # here: ONNX models need not wait for what reads the others

        return to_onnx(data, source)
    if data.startswith(MAGIC):
        raise SourceError("AlreadyCompiled", "this is a binary, a model is wanted", at=Loc(source),
                          hint="pass the model that it was compiled from")  # fmt: skip
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise SourceError("NotOnnx", f"not an ONNX model: {error}", at=Loc(source), hint=HINT) from error
    if not model.ir_version or not model.HasField("graph"):
        message = f"not an ONNX model: {counted(len(data), 'byte')} without an ONNX graph"
        raise SourceError("NotOnnx", message, at=Loc(source), hint=HINT)
    return model


def _load(placed: Placed, folder: Path | None) -> None:
    """Read one tensor from a file beside the model."""
    fields = _fields(placed)
    location = fields.get("location", "")
    where = location if len(location) <= LONGEST_LOCATION else f"{location[:60]}..."
    if folder is None:
        what = f"its data is in '{where}', and the model came without its folder"
        raise _missing(placed, what, "pass the path, or load it with onnx.load(path)")
    for key in ("offset", "length"):
        if not _is_count(fields.get(key, "0")):
            raise _unreadable(placed, f"its data has the {key} '{fields[key][:40]}', no count of bytes")
    if not location or location != where or "\0" in location:
        raise _unreadable(placed, f"its data is in '{where}', which no file is called")
    if not _stays_inside(location):
        raise _unreadable(placed, f"its data is in '{where}', which is not in the folder of the model")
    if not (folder / location).is_file():
        raise _missing(placed, f"its data is in '{where}', which is missing", TOGETHER)
    _read_into(placed, folder, location, int(fields.get("offset", "0")) + int(fields.get("length", "0")))


def _read_into(placed: Placed, folder: Path, location: str, end: int) -> None:
    try:
        size = (folder / location).stat().st_size
        if end > size:
            raise ValueError(f"bytes up to {end} of a file of {size}")
        external_data_helper.load_external_data_for_tensor(placed.tensor, str(folder))
    except Exception as error:  # among others onnx's own checks of the path, in C++
        raise _unreadable(placed, f"its data is in '{location}', which is unusable: {first_line(error)}") from error
    placed.tensor.data_location = TensorProto.DEFAULT
    del placed.tensor.external_data[:]


def _fields(placed: Placed) -> dict[str, str]:
    """What a tensor says of its data's place."""
    found: dict[str, str] = {}
    for entry in placed.tensor.external_data:
        if isinstance(entry.key, bytes) or isinstance(entry.value, bytes):
            raise _unreadable(placed, f"its place {entry.value!r:.40} is not text")
        found[entry.key] = entry.value
    return found


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18


def _missing(placed: Placed, what: str, hint: str) -> SourceError:
    return SourceError("ExternalDataMissing", what, at=placed.at, hint=hint)


def _unreadable(placed: Placed, what: str) -> SourceError:
    return SourceError("ExternalDataUnreadable", what, at=placed.at, hint=TOGETHER)


def _location(tensor: TensorProto) -> str:
    named = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    return named if isinstance(named, str) else ""  # protobuf hands out bytes where they are no UTF-8


def _stays_inside(location: str) -> bool:
    paths = PurePosixPath(location), PureWindowsPath(location)
    return bool(location) and not any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)


def _not_found(path: Path) -> SourceError:
    try:
        files = [p for p in path.parent.iterdir() if p.suffix in (".onnx", ".tflite", path.suffix)]
    except OSError:
        files = []
    stems = {p.stem: p for p in sorted(files, key=lambda p: p.suffix == path.suffix)}  # suffixes make all alike
    near = difflib.get_close_matches(path.stem, stems, 1)
    hint = f"did you mean '{path.parent / stems[near[0]].name}'?" if near else "check the path of the model"
    return SourceError("ModelNotFound", "no such file", at=Loc(str(path)), hint=hint)
