"""A compiled model as bytes and as a file (docs/enf.md has the layout).

Made for one target and one NPU configuration. Loading never executes anything from the file and survives any
bytes: what is wrong raises EnfError with the byte offset. The same content gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from isa import unfinished
from isa.enf import rules
from isa.enf.container import COMPILE_AGAIN, MAX_HEADER_BYTES, Format, Section, check_prefix, pack, unpack
from isa.enf.metadata import MetadataError, from_json, to_json
from isa.enf.model import Enf
from isa.errors import EnfError, Loc
from isa.instructions import TABLE

MAGIC = b"FURCENF\0"
VERSION = 2
GIVE = "give a file that `furc compile` wrote"
# Which section holds which fields of the metadata, one after another in the order they stand there.
EXTERNAL = {"models": "steps.model", "operator_of": "steps.operator_of", "image": "image"}
SECTIONS = ("metadata", *EXTERNAL)


def write(enf: Enf) -> bytes:
    """The bytes of a compiled model. Raises EnfError BadEnf for content that `read` would refuse."""
    rules.check_rules(enf, Loc(enf.model_name))
    try:
        metadata, outside = to_json(enf, frozenset(EXTERNAL.values()))
    except UnicodeEncodeError as error:
        raise EnfError("BadEnf", f"a name is not text: {error.object!r}", at=Loc(enf.model_name)) from error
    return pack(file_format(), [metadata, *(_joined(outside[field]) for field in EXTERNAL.values())])


def read(data: bytes) -> Enf:
    """The compiled model in some bytes. Raises EnfError: see docs/enf.md for the names."""
    metadata, *sections = unpack(file_format(), data)
    contents = {field: _Content(section) for field, section in zip(EXTERNAL.values(), sections, strict=True)}
    try:
        enf = from_json(Enf, metadata.data, contents)
        for content in contents.values():
            content.check_used()
    except MetadataError as error:
        raise EnfError("BadEnf", str(error), at=metadata.at(), hint=COMPILE_AGAIN) from error
    rules.check_rules(enf, metadata.at())
    return enf


def _joined(values: list[bytes | tuple[int, ...]]) -> bytes:
    return b"".join(v if isinstance(v, bytes) else struct.pack(f"<{len(v)}i", *v) for v in values)


class _Content:
    """What is left of a section while the metadata takes its parts, front to back."""

    def __init__(self, section: Section) -> None:
        self.section, self.at = section, 0

    def take_bytes(self, count: int) -> bytes:
        if not 0 <= count <= len(self.section.data) - self.at:
            left = len(self.section.data) - self.at
            raise MetadataError(f"{count} bytes of section {self.section.name}, which has {left} left")
        self.at += count
        return self.section.data[self.at - count : self.at]

    def take_integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take_bytes(4 * count))

    def check_used(self) -> None:
        left = len(self.section.data) - self.at
        if left:
            raise MetadataError(f"{left} bytes of section {self.section.name} are nobody's")


def load(path: Path | str) -> Enf:
    """Read a file; one that is no ENF is refused after its first bytes. Raises EnfError."""
    # Read, not mapped: a mapped file that another process cuts off kills the reader.
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # before it is opened: opening a pipe waits for a writer
            raise EnfError("EnfUnreadable", "not a regular file", at=Loc(str(path)), hint=GIVE)
        with open(path, "rb") as file:
            start = file.read(MAX_HEADER_BYTES)
            with _placed(path):
                check_prefix(file_format(), start, status.st_size)
            file.seek(0)
            data = file.read()
    except OSError as error:
        what = error.strerror or str(error)
        raise EnfError("EnfUnreadable", what, at=Loc(str(path)), hint=GIVE) from error
    with _placed(path):
        return read(data)


def save(enf: Enf, path: Path | str) -> None:
    """Write a file in one step: it is whole, or as it was before. Raises EnfError."""
    data, target = write(enf), Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():  # a pipe or a device cannot be replaced
            target.write_bytes(data)
            return
        unfinished.remove_abandoned(target)
        beside = unfinished.beside(target)
        try:
            with open(beside, "xb") as file:
                file.write(data)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise EnfError("EnfUnwritable", error.strerror or str(error), at=Loc(str(path))) from error


@cache
def file_format() -> Format:
    """The dialect is the instruction set: programs encoded with another table mean something else."""
    rows = [
        (s.mnemonic, s.opcode, str(s.unit), [(f.name, *f[1:]) for o in s.operands for f in o.fields()]) for s in TABLE
    ]
    digest = hashlib.sha256(repr(rows).encode()).digest()
    return Format(MAGIC, VERSION, int.from_bytes(digest[:8], "little"), SECTIONS)


@contextlib.contextmanager
def _placed(path: Path | str) -> Iterator[None]:
    """Say which file an error is in."""
    try:
        yield
    except EnfError as error:
        at = Loc(str(path), error.at.nodes, error.at.detail)
        raise EnfError(error.name, error.message, at=at, hint=error.hint, also=error.also) from error
