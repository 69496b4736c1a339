"""Arrays in files: .npy and .npz from anywhere, and .npz written so that the same arrays give the same bytes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.errors import Loc, SourceError

Array = NDArray[Any]
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_array(path: Path, name: str) -> Array:
    """An .npy file, or of an .npz the entry `name` or the only one. Raises SourceError BadArray, NoSuchArray."""
    if path.suffix == ".npz":
        archive = read_arrays(path)
        if name in archive:
            return archive[name]
        if len(archive) == 1:
            return next(iter(archive.values()))
        held = ", ".join(f"'{key}'" for key in archive) or "nothing"
        raise SourceError(
            "NoSuchArray", f"no array '{name}', it holds {held}", at=Loc(str(path)), hint="name it like the input"
        )
    loaded = _load(path)
    if not isinstance(loaded, np.ndarray):
        raise _bad(path, "an archive of arrays", "call it .npz")
    return loaded


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of an .npz. Raises SourceError BadArray."""
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise _bad(path, "one array, no archive", "call it .npy")
    try:
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except _UNREADABLE as error:
        raise _bad(path, _reason(error), "write it with numpy.savez") from error


def npz_bytes(arrays: Mapping[str, Array]) -> bytes:
    """An .npz of these arrays; any name is allowed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _load(path: Path) -> Any:
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise SourceError("ArrayNotFound", what, at=Loc(str(path)), hint="check the path")
    try:
        return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)  # numpy leaves a bad archive open
    except _UNREADABLE as error:
        raise _bad(path, _reason(error), "write it with numpy.save or numpy.savez") from error


def _reason(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"not an array: {words[0] if words else type(error).__name__}"


def _bad(path: Path, what: str, hint: str) -> SourceError:
    return SourceError("BadArray", what, at=Loc(str(path)), hint=hint)
