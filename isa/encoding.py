"""Instructions as 4-byte words and back, walking the fields of the table.

Word 0: opcode 8, signal 5, signals? 1, waits? 1, zero 1, length in words 8, zero 8. Word 1 is the wait mask where
"waits?" is set. Then the fields of the operands in table order, low bits first; a field that would straddle a
word starts the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from isa.errors import EncodeError, Loc, counted
from isa.instructions import BY_OPCODE, Instruction, Spec
from isa.operands import Field, Operand, OperandValue

WORD_BYTES = 4
MAX_WORDS = 255
TAGS = 32  # a tag takes 5 bits, a wait mask one word


def encode(instruction: Instruction) -> bytes:
    """The words of an instruction. Raises EncodeError FieldOutOfRange, naming field, value and range."""
    return encode_program([instruction])


def encode_program(instructions: Iterable[Instruction]) -> bytes:
    """Instructions one after another. Raises as `encode`."""
    return b"".join(map(Encoder().words, instructions))


class Encoder:
    """Encodes the instructions of a program, which it holds: operands that instructions share are packed once."""

    def __init__(self) -> None:
        self._packed: dict[Spec, list[dict[int, tuple[OperandValue, int]]]] = {}

    def words(self, instruction: Instruction) -> bytes:
        """As `encode`."""
        spec, body = instruction.spec, 0
        if spec not in self._packed:
            self._packed[spec] = [{} for _ in spec.operands]
        for value, place, packed in zip(instruction.values, _places(spec), self._packed[spec], strict=True):
            if id(value) not in packed:
                packed[id(value)] = value, _bits(spec, place, value)  # with the value: its id stays its own
            body |= packed[id(value)][1] << place.low
        signal_tag, wait = instruction.signal, instruction.wait
        if not 0 <= (signal_tag or 0) < TAGS or not 0 <= wait < 1 << TAGS:
            what = f"{spec.mnemonic}: signal {signal_tag}, wait mask 0x{wait:x}"
            raise EncodeError("FieldOutOfRange", f"{what}; tags are 0..{TAGS - 1}")
        length = 1 + bool(wait) + body_words(spec)
        signal = 0 if signal_tag is None else signal_tag | 1 << 5
        head = spec.opcode | signal << 8 | bool(wait) << 14 | length << 16
        front = struct.pack("<II", head, wait) if wait else struct.pack("<I", head)
        return front + body.to_bytes(WORD_BYTES * body_words(spec), "little")


def decode(data: bytes, offset: int = 0) -> tuple[Instruction, int]:
    """The instruction at a byte offset, and the offset behind it. Raises EncodeError BadInstruction."""
    return Decoder().instruction(data, offset)


def decode_program(data: bytes) -> Iterator[tuple[int, Instruction]]:
    """Every instruction with its byte offset, front to back."""
    decoder, offset = Decoder(), 0
    while offset < len(data):
        instruction, end = decoder.instruction(data, offset)
        yield offset, instruction
        offset = end


class Decoder:
    """Decodes the instructions of a program: operands with the same bits become one object."""

    def __init__(self) -> None:
        self._unpacked: dict[Spec, list[dict[int, OperandValue]]] = {}

    def instruction(self, data: bytes | bytearray, offset: int) -> tuple[Instruction, int]:
        """As `decode`."""
        head = _word(data, offset)
        spec = BY_OPCODE.get(head & 0xFF)
        if spec is None:
            raise _bad(offset, f"opcode 0x{head & 0xFF:02x} is not an instruction")
        has_signal, has_wait, length = head >> 13 & 1, head >> 14 & 1, head >> 16 & 0xFF
        start = offset + WORD_BYTES * (1 + has_wait)
        expected = 1 + has_wait + body_words(spec)
        if length != expected or head >> 24 or head >> 15 & 1 or (not has_signal and head >> 8 & 0x1F):
            raise _bad(
                offset,
                f"the header 0x{head:08x} is not that of {spec.mnemonic}, which takes {counted(expected, 'word')}",
            )
        wait = _word(data, offset + WORD_BYTES) if has_wait else 0
        if has_wait and not wait:
            raise _bad(offset, "an empty wait mask")
        end = offset + length * WORD_BYTES
        if end > len(data):
            raise _bad(
                offset, f"{spec.mnemonic} takes {counted(length, 'word')} but the program ends at byte {len(data)}"
            )
        body = int.from_bytes(data[start:end], "little")
        unused = body & _unused_bits(spec)
        if unused:
            word = ((unused & -unused).bit_length() - 1) // 32
            bits = unused >> 32 * word & 0xFFFFFFFF
            raise _bad(offset, f"bits 0x{bits:08x} of body word {word} of {spec.mnemonic} must be zero")
        values = self._values(spec, body)
        return spec.instruction.of(values, head >> 8 & 0x1F if has_signal else None, wait), end

    def _values(self, spec: Spec, body: int) -> list[OperandValue]:
        if spec not in self._unpacked:
            self._unpacked[spec] = [{} for _ in spec.operands]
        values = []
        for place, unpacked in zip(_places(spec), self._unpacked[spec], strict=True):
            bits = body >> place.low & place.mask
            value = unpacked.get(bits)
            if value is None:
                value = unpacked[bits] = _value(place, bits)
            values.append(value)
        return values


FieldPlace = tuple[Field, int, int]  # field, word of the body, lowest bit


@cache
def field_places(spec: Spec) -> tuple[tuple[FieldPlace, ...], ...]:
    """Where each field of each operand lies in the body of an instruction."""
    word, bit, operands = 0, 0, []
    for operand in spec.operands:
        places = []
        for field in operand.fields():
            if bit + field.bits > 32:
                word, bit = word + 1, 0
            places.append((field, word, bit))
            bit += field.bits
        operands.append(tuple(places))
    return tuple(operands)


@cache
def body_words(spec: Spec) -> int:
    """Words behind the header and the wait mask."""
    return 1 + max((word for places in field_places(spec) for _, word, _ in places), default=-1)


def instruction_bytes(instruction: Instruction) -> int:
    """What an instruction takes in instruction memory."""
    return (1 + (1 if instruction.wait else 0) + body_words(instruction.spec)) * WORD_BYTES


@cache
def _unused_bits(spec: Spec) -> int:
    """Of the body as one number, the bits that no field takes."""
    free = (1 << 32 * body_words(spec)) - 1
    for places in field_places(spec):
        for field, word, shift in places:
            free &= ~((1 << field.bits) - 1 << 32 * word + shift)
    return free


class _Place(NamedTuple):
    """Where an operand lies in the body, as one number: its lowest bit, all bits from there as a mask, and its fields
    with their lowest bit counted from there."""

    operand: Operand
    low: int
    mask: int
    fields: tuple[tuple[Field, int], ...]


@cache
def _places(spec: Spec) -> tuple[_Place, ...]:
    found = []
    for operand, places in zip(spec.operands, field_places(spec), strict=True):
        bits = [(field, 32 * word + shift) for field, word, shift in places]
        (_, low), (last, high) = bits[0], bits[-1]
        mask = (1 << high + last.bits - low) - 1
        found.append(_Place(operand, low, mask, tuple((field, at - low) for field, at in bits)))
    return tuple(found)


def _bits(spec: Spec, place: _Place, value: OperandValue) -> int:
    """An operand as a number. Raises EncodeError."""
    bits = 0
    for (field, at), number in zip(place.fields, place.operand.pack(value), strict=True):
        if not field.low <= number <= field.high:
            what = f"{spec.mnemonic}.{field.name}: {number} is outside {field.low}..{field.high}"
            raise EncodeError("FieldOutOfRange", what)
        stored, rest = divmod(number - field.bias, field.scale)
        if rest:
            what = f"{spec.mnemonic}.{field.name}: {number} is not a multiple of {field.scale}"
            raise EncodeError("FieldOutOfRange", what)
        bits |= (stored & (1 << field.bits) - 1) << at
    return bits


def _value(place: _Place, bits: int) -> OperandValue:
    """The operand that is stored as a number."""
    numbers = []
    for field, at in place.fields:
        stored = bits >> at & (1 << field.bits) - 1
        if field.signed and stored >> (field.bits - 1):
            stored -= 1 << field.bits
        numbers.append(stored * field.scale + field.bias)
    return place.operand.unpack(tuple(numbers))


def _word(data: bytes | bytearray, offset: int) -> int:
    if offset < 0 or offset + WORD_BYTES > len(data):
        raise _bad(offset, f"the program ends at byte {len(data)}")
    word: int = struct.unpack_from("<I", data, offset)[0]
    return word


def _bad(offset: int, what: str) -> EncodeError:
    return EncodeError("BadInstruction", what, at=Loc(detail=f"program byte {offset}"))
