"""Checksummed sections in one file, and back; knows nothing of what the sections hold. docs/enf.md has the bytes.

A file is accepted only where it is exactly what `pack` would have written: every byte is a header field that is
checked, covered by a checksum, or padding that must be zero.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from isa.errors import EnfError, Loc

SECTION_ALIGNMENT = 64
MAX_HEADER_BYTES = 4096
COMPILE_AGAIN = "compile the model again"

# magic, version, header bytes, total bytes, dialect, sections, crc32 of the header with this field as zero
_PREFIX = struct.Struct("<8sIIQQII")
_ENTRY = struct.Struct("<IIQQ")  # number, crc32, offset, length
_CRC_OFFSET = _PREFIX.size - 4
PREFIX_BYTES = _PREFIX.size


class Format(NamedTuple):
    """What a reader accepts: `dialect` names the meaning of the content where the version alone does not."""

    magic: bytes
    version: int
    dialect: int
    sections: tuple[str, ...]

    @property
    def header_bytes(self) -> int:
        return PREFIX_BYTES + _ENTRY.size * len(self.sections)


class Section(NamedTuple):
    """A section's content and where it stands in the file, for messages."""

    name: str
    offset: int
    data: bytes

    def at(self, detail: str = "") -> Loc:
        where = f"section {self.name}, byte {self.offset}"
        return Loc(detail=f"{where}: {detail}" if detail else where)


def pack(form: Format, contents: Sequence[bytes]) -> bytes:
    """One content a section of the format -> the file."""
    entries, body, offset = [], [], form.header_bytes
    for number, data in enumerate(contents):
        padding = -offset % SECTION_ALIGNMENT
        offset += padding
        entries.append(_ENTRY.pack(number, zlib.crc32(data), offset, len(data)))
        body += [bytes(padding), data]
        offset += len(data)
    count = len(form.sections)
    header = bytearray(_PREFIX.pack(form.magic, form.version, form.header_bytes, offset, form.dialect, count, 0))
    header += b"".join(entries)
    struct.pack_into("<I", header, _CRC_OFFSET, zlib.crc32(header))
    return b"".join([header, *body])


def unpack(form: Format, data: bytes) -> tuple[Section, ...]:
    """The sections of a file. Raises EnfError with the byte where it is wrong."""
    header = data[: check_prefix(form, data[:MAX_HEADER_BYTES], len(data))]
    view = memoryview(data)
    sections, offset = [], len(header)
    for number, name in enumerate(form.sections):
        entry = PREFIX_BYTES + number * _ENTRY.size
        stored, crc, start, length = _ENTRY.unpack_from(header, entry)
        expected = offset + -offset % SECTION_ALIGNMENT
        if stored != number or start != expected or length > len(data) - start:
            what = f"entry ({stored}, offset {start}, length {length}) is not section {number} at byte {expected}"
            raise _corrupt(name, entry, what)
        if any(view[offset:start]):
            raise _corrupt(name, offset, f"the padding before byte {start} is not zero")
        content = bytes(view[start : start + length])
        if zlib.crc32(content) != crc:
            raise _corrupt(name, start, f"checksum 0x{zlib.crc32(content):08x}, the header says 0x{crc:08x}")
        sections.append(Section(name, start, content))
        offset = start + length
    if offset != len(data):
        raise _corrupt("header", 16, f"the last section ends at byte {offset}, the file at byte {len(data)}")
    return tuple(sections)


def check_prefix(form: Format, start: bytes, file_bytes: int) -> int:
    """The header's length, once the start of a file is known to be that of a whole file of this format."""
    magic = start[: len(form.magic)]
    if not magic or magic != form.magic[: len(magic)]:
        raise EnfError(
            "NotAnEnf", f"the file starts with {magic!r}, an ENF with {form.magic!r}",
            at=Loc(detail="header, byte 0"), hint="give a file that `furc compile` wrote",
        )  # fmt: skip
    if len(start) < PREFIX_BYTES:
        raise _truncated(f"{file_bytes} bytes are no header", file_bytes)
    _, version, header_bytes, total, dialect, count, crc = _PREFIX.unpack_from(start)
    if not PREFIX_BYTES <= header_bytes <= MAX_HEADER_BYTES:
        raise _corrupt("header", 12, f"a header of {header_bytes} bytes; at least {PREFIX_BYTES} were expected")
    if len(start) < header_bytes:
        raise _truncated(f"the header takes {header_bytes} bytes", file_bytes)
    header = start[:_CRC_OFFSET] + bytes(4) + start[_CRC_OFFSET + 4 : header_bytes]
    if zlib.crc32(header) != crc:
        raise _corrupt("header", _CRC_OFFSET, f"checksum 0x{zlib.crc32(header):08x}, the file says 0x{crc:08x}")
    # Only now, so that a flipped bit is not taken for another version.
    if version != form.version:
        raise _other_version(f"ENF version {version}", f"version {form.version}", 8)
    if dialect != form.dialect:
        raise _other_version(f"instruction set {dialect:016x}", f"{form.dialect:016x}", 24)
    if count != len(form.sections) or header_bytes != form.header_bytes:
        what = f"{count} sections in a header of {header_bytes} bytes, expected {len(form.sections)}"
        raise _corrupt("header", 32, f"{what} in {form.header_bytes}")
    if total > file_bytes:
        raise _truncated(f"the header says {total} bytes", file_bytes)
    if total < file_bytes:
        raise _corrupt("header", 16, f"the header says {total} bytes, the file has {file_bytes}")
    return form.header_bytes


def _corrupt(section: str, byte: int, what: str) -> EnfError:
    at = Loc(detail=f"section {section}, byte {byte}" if section != "header" else f"header, byte {byte}")
    return EnfError("CorruptEnf", what, at=at, hint=f"the file is damaged; copy it again or {COMPILE_AGAIN}")


def _truncated(what: str, file_bytes: int) -> EnfError:
    at = Loc(detail=f"byte {file_bytes}")
    hint = f"the file is cut off; copy it again or {COMPILE_AGAIN}"
    return EnfError("TruncatedEnf", f"{what}, the file ends at byte {file_bytes}", at=at, hint=hint)


def _other_version(theirs: str, ours: str, byte: int) -> EnfError:
    return EnfError(
        "IncompatibleConfiguration", f"the file has {theirs}, this furc reads {ours}",
        at=Loc(detail=f"header, byte {byte}"), hint=f"{COMPILE_AGAIN} with this furc",
    )  # fmt: skip
