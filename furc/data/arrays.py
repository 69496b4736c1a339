"""Arrays in files: .npy and .npz from anywhere, and .npz written so that the same arrays give the same bytes.

Files come from anywhere: what is declared is compared with what is needed before anything is unpacked, and only numbers
are read, in this computer's byte order.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from isa.errors import Loc, SourceError

Array = NDArray[Any]
NUMBERS = "biufc"  # bool, int, uint, float, complex, by NumPy's letters
SPELLED = {"O": "Python objects", "S": "text", "U": "text", "M": "dates", "m": "durations", "V": "records"}
SLACK = 16  # times what is needed: another dtype or a larger batch is told by its name, not by its size
FREE_BYTES = 64 << 20  # never too large
UNPACKED_BYTES = 1 << 30  # where nobody says what is needed: more than this, and
UNPACKED_RATIO = 20  # so many times the size of the file, is a bomb
LONGEST_NAME = 1 << 12  # bytes of an array's name in an archive

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)
_HEADERS: dict[tuple[int, int], Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype[Any]]]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_array(path: Path, name: str, *, needed: int | None = None, scalar: bool = False) -> Array:
    """An .npy file, or of an .npz the entry `name` or the only one. needed: bytes that the reader can use.

    scalar: one number without axes will do. Raises SourceError ArrayNotFound, BadArray, NoSuchArray, ArrayTooLarge.
    """
    with _opened(path) as file:
        if path.suffix != ".npz":
            if _is_archive(file):
                raise _bad(path, "an archive of arrays", "call it .npz")
            return _checked_axes(_read(path, name, file, path.stat().st_size, needed), path, name, scalar)
        with _archive(path, file) as archive:
            members = _members(archive)
            if name not in members and len(members) != 1:
                held = ", ".join(f"'{key}'" for key in members) or "nothing"
                raise SourceError(
                    "NoSuchArray", f"no array '{name}', it holds {held}", at=Loc(str(path)),
                    hint="name it like the input",
                )  # fmt: skip
            chosen = name if name in members else next(iter(members))
            return _checked_axes(_member(path, chosen, archive, members[chosen], needed), path, chosen, scalar)


def samples_in(arrays: Mapping[str, Array], path: Path) -> int:
    """How many arrays [samples, ...] of a file hold, all of them. Raises SourceError BadData."""
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        told = ", ".join(f"'{name}' {count}" for name, count in counts.items())
        raise SourceError("BadData", f"arrays of unlike numbers of samples: {told}", at=Loc(str(path)),
                          hint="give as many of each: row i of all of them is one sample")  # fmt: skip
    return max(counts.values())


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of an .npz. Raises SourceError as `read_array`."""
    with _opened(path) as file, _archive(path, file) as archive:
        return {name: _member(path, name, archive, info, None) for name, info in _members(archive).items()}


def array_names(path: Path) -> list[str]:
    """What an .npz holds. Raises SourceError ArrayNotFound, BadArray."""
    with _opened(path) as file, _archive(path, file) as archive:
        return list(_members(archive))


def npz_bytes(arrays: Mapping[str, Array], comment: str = "") -> bytes:
    """An .npz of these arrays. comment: of the archive, which NumPy does not see.

    Names that would lead out of a folder when the archive is unpacked are escaped; `read_arrays` undoes it. Raises
    SourceError NameTooLong.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = comment.encode()
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{escaped(name)}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def escaped(name: str) -> str:
    """A name as a member of an archive: no part of it is "..", and no zero byte ends it early."""
    if len(name.encode()) > LONGEST_NAME:
        raise SourceError("NameTooLong", f"the name '{name[:40]}...' has {len(name)} characters", hint="rename it")
    safe = name.replace("%", "%25").replace("\0", "%00").replace("\\", "%5C")
    return "/".join("%2E%2E" if part == ".." else part for part in safe.split("/"))


def _unescaped(name: str) -> str:
    for code, character in (("%2E", "."), ("%5C", "\\"), ("%00", "\0"), ("%25", "%")):
        name = name.replace(code, character)
    return name


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file; what goes wrong while it is read becomes BadArray."""
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise SourceError("ArrayNotFound", what, at=Loc(str(path)), hint="check the path")
    try:
        with path.open("rb") as file:
            yield file
    except _UNREADABLE as error:
        words = str(error).strip().splitlines()
        what = f"not an array: {words[0] if words else type(error).__name__}"
        raise _bad(path, what, "write it with numpy.save or numpy.savez") from error


def _is_archive(file: IO[bytes]) -> bool:
    start = file.read(2)
    file.seek(0)
    return start == b"PK"


def _archive(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    if not _is_archive(file) and file.read(6) == np.lib.format.MAGIC_PREFIX:
        raise _bad(path, "one array, no archive", "call it .npy")
    file.seek(0)
    return zipfile.ZipFile(file)


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    return {_unescaped(i.filename.removesuffix(".npy")): i for i in archive.infolist() if i.filename.endswith(".npy")}


def _member(path: Path, name: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, needed: int | None) -> Array:
    with archive.open(info) as file:
        return _read(path, name, file, info.file_size, needed)


def _read(path: Path, name: str, file: IO[bytes], size: int, needed: int | None) -> Array:
    """An array from the open file of an .npy. size: of that file, as declared."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise _bad(path, f"array '{name}' holds {SPELLED['V']}, expected numbers", "write numbers")
    try:
        shape, by_columns, dtype = _HEADERS[version](file)
    except TokenError as error:  # numpy reads headers of old files by tokens
        raise ValueError(f"its header cannot be read: {error}") from error
    if dtype.kind not in NUMBERS:
        raise _bad(path, f"array '{name}' holds {SPELLED.get(dtype.kind, dtype)}, expected numbers", "write numbers")
    count = math.prod(shape)
    _check_size(path, name, max(size, count * dtype.itemsize), needed)
    if min(shape, default=0) < 0 or count * dtype.itemsize > size:
        raise _bad(path, f"array '{name}' is {dtype}{list(shape)}, the file is too short for it", "write it again")
    held = np.empty(count * dtype.itemsize, np.uint8)
    if file.readinto(held.data) != held.size:  # type: ignore[attr-defined]
        raise EOFError("the file ends early")
    array = held.view(dtype).reshape(shape, order="F" if by_columns else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _check_size(path: Path, name: str, size: int, needed: int | None) -> None:
    if needed is not None:
        most, than = max(SLACK * needed, FREE_BYTES), f"{needed} are needed"
    else:
        packed = path.stat().st_size
        most, than = max(UNPACKED_BYTES, UNPACKED_RATIO * packed), f"the file has {packed}"
    if size > most:
        raise SourceError(
            "ArrayTooLarge", f"array '{name}' unpacks to {size} bytes, {than}", at=Loc(str(path)),
            hint="write only what is needed",
        )  # fmt: skip


def _checked_axes(array: Array, path: Path, name: str, scalar: bool) -> Array:
    if array.ndim == 0 and not scalar:
        raise _bad(path, f"array '{name}' is one number without axes", "give it the shape of the input")
    return array


def _bad(path: Path, what: str, hint: str) -> SourceError:
    return SourceError("BadArray", what, at=Loc(str(path)), hint=hint)
