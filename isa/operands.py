"""The kinds of operand an instruction can have: how each packs into bit fields and what memory it touches.

An operand kind is stated once; encoder, decoder, assembler, hazard checks and fuzzers walk its fields and know
no instruction by name.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window

OFFSET_UNIT_BYTES = 8  # SRAM offsets: the access width
DRAM_UNIT_BYTES = 64  # DRAM addresses: the I/O alignment
# How far the fields of operands reach, and so every program: extents and images of a tensor, bytes of DRAM.
_EXTENT_BITS, _IMAGE_BITS, _ADDRESS_BITS = 16, 5, 28
MAX_EXTENT, MAX_IMAGES, MAX_DRAM_BYTES = 1 << _EXTENT_BITS, 1 << _IMAGE_BITS, DRAM_UNIT_BYTES << _ADDRESS_BITS


class Space(StrEnum):
    """Address spaces that instructions touch."""

    SRAM = "sram"
    DRAM = "dram"
    WEIGHTS = "weights"
    TABLES = "tables"
    PROGRAM = "program"


class Range(NamedTuple):
    """Addresses start <= a < stop of one space; SRAM addresses are offsets inside every slice."""

    space: Space
    start: int
    stop: int

    def overlaps(self, other: Range) -> bool:
        return self.space is other.space and self.start < other.stop and other.start < self.stop


class Role(StrEnum):
    """What an instruction does to the memory an operand names."""

    VALUE = "value"
    READ = "read"
    WRITE = "write"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class SramRange:
    """The same byte range of every slice."""

    offset: int
    bytes_per_slice: int


def sram_bytes(what: Place | SramRange, access_bytes: int) -> Range:
    """Where a tensor, its padding included, or a range lies in every slice."""
    size = (
        what.bytes_per_slice if isinstance(what, SramRange) else what.layout.bytes_per_slice(what.shape, access_bytes)
    )
    return Range(Space.SRAM, what.offset, what.offset + size)


@dataclass(frozen=True, slots=True)
class DramRange:
    """Consecutive bytes of DRAM."""

    address: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DramWindow:
    """A box of a dense int8 tensor in DRAM, stored (N, H, C, W) for HCHCW and (N, H, W, C) for HCHWC."""

    address: int
    order: LayoutKind
    shape: Shape4
    box: Box

    @property
    def bytes(self) -> int:
        """Bytes of the whole tensor."""
        return self.shape.elements


OperandValue = int | float | Window | DramWindow | SramRange | DramRange


class Field(NamedTuple):
    """Bits of an operand. Stored number = (value - bias) / scale; two's complement where signed."""

    name: str
    bits: int
    signed: bool = False
    scale: int = 1
    bias: int = 0

    @property
    def low(self) -> int:
        """Smallest value the field holds."""
        return (-(1 << (self.bits - 1)) if self.signed else 0) * self.scale + self.bias

    @property
    def high(self) -> int:
        """Largest value the field holds."""
        return ((1 << (self.bits - (1 if self.signed else 0))) - 1) * self.scale + self.bias


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of an instruction: a name, a meaning, and what its value is made of.

    default: what it is where it is left out; None where it must be given.
    """

    name: str
    meaning: str = ""
    role: Role = Role.VALUE
    default: int | SramRange | None = None

    def fields(self) -> tuple[Field, ...]:
        raise NotImplementedError

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        """The value as one number a field, in the units of the fields."""
        raise NotImplementedError

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        raise NotImplementedError

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        """Memory that the operand names; empty for plain numbers."""
        return ()


@dataclass(frozen=True, slots=True)
class Int(Operand):
    """A whole number."""

    bits: int = 8
    signed: bool = False
    scale: int = 1
    bias: int = 0

    def fields(self) -> tuple[Field, ...]:
        return (Field(self.name, self.bits, self.signed, self.scale, self.bias),)

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, int)
        return (value,)

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        return numbers[0]


@dataclass(frozen=True, slots=True)
class Bank(Int):
    """One of the two banks of the weight registers or the tables."""

    space: Space = Space.WEIGHTS

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        assert isinstance(value, int)
        return (Range(self.space, value, value + 1),)


@dataclass(frozen=True, slots=True)
class Float(Operand):
    """A float32, stored as its bits. Values must be exact float32."""

    def fields(self) -> tuple[Field, ...]:
        return (Field(self.name, 32),)

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, float)
        return (float32_bits(value),)

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        return float32_of_bits(numbers[0])


# Converting between float32 and float64 makes every NaN a quiet one: a NaN goes by its bits, so that decoding any
# word and encoding it again gives the word.
_FRACTION_SHIFT = 52 - 23


def float32_bits(value: float) -> int:
    """The bits of a value that is exact in float32."""
    if value == value:
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    bits: int = struct.unpack("<Q", struct.pack("<d", value))[0]
    return bits >> 63 << 31 | 0x7F800000 | bits >> _FRACTION_SHIFT & 0x7FFFFF


def float32_of_bits(bits: int) -> float:
    """The float32 with some bits."""
    value: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    if value == value:
        return value
    wide = bits >> 31 << 63 | 0x7FF << 52 | (bits & 0x7FFFFF) << _FRACTION_SHIFT
    return float(struct.unpack("<d", struct.pack("<Q", wide))[0])


def _shape_and_box(name: str) -> tuple[Field, ...]:
    size = [
        Field(f"{name}.{f}", _EXTENT_BITS, bias=0 if f in ("c0", "h0") else 1)
        for f in ("c", "h", "w", "c0", "cn", "h0", "hn")
    ]
    images = (Field(f"{name}.{f}", _IMAGE_BITS, bias=0 if f == "n0" else 1) for f in ("n", "n0", "nn"))
    return (*size, *images)


def _pack_shape_and_box(shape: Shape4, box: Box) -> tuple[int, ...]:
    return (shape.c, shape.h, shape.w, box.c0, box.c, box.h0, box.h, shape.n, box.n0, box.n)


def _unpack_shape_and_box(numbers: tuple[int, ...]) -> tuple[Shape4, Box]:
    c, h, w, c0, cn, h0, hn, n, n0, nn = numbers
    return Shape4(n, c, h, w), Box(n0, nn, c0, cn, h0, hn)


@dataclass(frozen=True, slots=True)
class WindowOperand(Operand):
    """A window of a tensor that lies in SRAM."""

    def fields(self) -> tuple[Field, ...]:
        return (
            Field(f"{self.name}.offset", 15, scale=OFFSET_UNIT_BYTES),
            Field(f"{self.name}.kind", 1),
            Field(f"{self.name}.ho", 8, bias=1),
            Field(f"{self.name}.co", 8, bias=1),
            *_shape_and_box(self.name),
            Field(f"{self.name}.apart", 1),
        )

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, Window)
        p = value.place
        head = (p.offset, int(p.layout.kind), p.layout.ho, p.layout.co)
        return (*head, *_pack_shape_and_box(p.shape, value.box), int(p.layout.apart))

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        offset, kind, ho, co = numbers[:4]
        shape, box = _unpack_shape_and_box(numbers[4:-1])
        return Window(Place(offset, Layout(LayoutKind(kind), ho, co, bool(numbers[-1])), shape), box)

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        assert isinstance(value, Window)
        return (sram_bytes(value.place, access_bytes),)


@dataclass(frozen=True, slots=True)
class DramWindowOperand(Operand):
    """A window of a dense tensor in DRAM."""

    def fields(self) -> tuple[Field, ...]:
        address = Field(f"{self.name}.address", _ADDRESS_BITS, scale=DRAM_UNIT_BYTES)
        return (address, Field(f"{self.name}.order", 1), *_shape_and_box(self.name))

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, DramWindow)
        return (value.address, int(value.order), *_pack_shape_and_box(value.shape, value.box))

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        shape, box = _unpack_shape_and_box(numbers[2:])
        return DramWindow(numbers[0], LayoutKind(numbers[1]), shape, box)

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        assert isinstance(value, DramWindow)
        return (Range(Space.DRAM, value.address, value.address + value.bytes),)


@dataclass(frozen=True, slots=True)
class SramRangeOperand(Operand):
    """The same bytes of every slice; zero bytes where the instruction has no use for it."""

    def fields(self) -> tuple[Field, ...]:
        unit = OFFSET_UNIT_BYTES
        return (Field(f"{self.name}.offset", 16, scale=unit), Field(f"{self.name}.bytes", 16, scale=unit))

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, SramRange)
        return (value.offset, value.bytes_per_slice)

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        return SramRange(*numbers)

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        assert isinstance(value, SramRange)
        return (sram_bytes(value, access_bytes),) if value.bytes_per_slice else ()


@dataclass(frozen=True, slots=True)
class DramRangeOperand(Operand):
    """Consecutive bytes of DRAM."""

    def fields(self) -> tuple[Field, ...]:
        return (
            Field(f"{self.name}.address", _ADDRESS_BITS, scale=DRAM_UNIT_BYTES),
            Field(f"{self.name}.bytes", 32, bias=1),
        )

    def pack(self, value: OperandValue) -> tuple[int, ...]:
        assert isinstance(value, DramRange)
        return (value.address, value.bytes)

    def unpack(self, numbers: tuple[int, ...]) -> OperandValue:
        return DramRange(*numbers)

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        assert isinstance(value, DramRange)
        return (Range(Space.DRAM, value.address, value.address + value.bytes),)


@dataclass(frozen=True, slots=True)
class ProgramOffset(Int):
    """Where in instruction memory a segment is loaded; `loadp` writes as many bytes as its source has."""

    def touches(self, value: OperandValue, access_bytes: int) -> tuple[Range, ...]:
        # The extent is the source's; the half that a segment goes to is what conflicts, so one unit stands for it.
        assert isinstance(value, int)
        return (Range(Space.PROGRAM, value, value + 1),)
