"""Instructions as 4-byte words and back, walking the fields of the table.

Word 0: opcode 8, signal 5, signals? 1, waits? 1, zero 1, length in words 8, zero 8. Word 1 is the wait mask where
"waits?" is set. Then the fields of the operands in table order, low bits first; a field that would straddle a
word starts the next one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from isa.errors import EncodeError, Loc
from isa.instructions import BY_OPCODE, Instruction, Spec
from isa.operands import Field, OperandValue

WORD_BYTES = 4
MAX_WORDS = 255
TAGS = 32  # a tag takes 5 bits, a wait mask one word


def encode(instruction: Instruction) -> bytes:
    """The words of an instruction. Raises EncodeError FieldOutOfRange, naming field, value and range."""
    spec = instruction.spec
    body = [0] * body_words(spec)
    for operand, value, places in zip(spec.operands, instruction.values, _bounded_places(spec), strict=True):
        for (field, word, shift, low, high), number in zip(places, operand.pack(value), strict=True):
            if not low <= number <= high:
                what = f"{spec.mnemonic}.{field.name}: {number} is outside {low}..{high}"
                raise EncodeError("FieldOutOfRange", what)
            body[word] |= _stored(spec, field, number) << shift
    signal_tag, waits = instruction.signal, [instruction.wait] if instruction.wait else []
    if not 0 <= (signal_tag or 0) < TAGS or not 0 <= instruction.wait < 1 << TAGS:
        what = f"{spec.mnemonic}: signal {signal_tag}, wait mask 0x{instruction.wait:x}"
        raise EncodeError("FieldOutOfRange", f"{what}; tags are 0..{TAGS - 1}")
    length = 1 + len(waits) + len(body)
    signal = 0 if signal_tag is None else signal_tag | 1 << 5
    head = spec.opcode | signal << 8 | (1 << 14 if waits else 0) | length << 16
    return struct.pack(f"<{length}I", head, *waits, *body)


def encode_program(instructions: list[Instruction]) -> bytes:
    """Instructions one after another."""
    return b"".join(encode(i) for i in instructions)


def decode(data: bytes, offset: int = 0) -> tuple[Instruction, int]:
    """The instruction at a byte offset, and the offset behind it. Raises EncodeError BadInstruction."""
    head = _word(data, offset)
    spec = BY_OPCODE.get(head & 0xFF)
    if spec is None:
        raise _bad(offset, f"opcode 0x{head & 0xFF:02x} is not an instruction")
    has_signal, has_wait, length = head >> 13 & 1, head >> 14 & 1, head >> 16 & 0xFF
    start = offset + WORD_BYTES * (1 + has_wait)
    expected = 1 + has_wait + body_words(spec)
    if length != expected or head >> 24 or head >> 15 & 1 or (not has_signal and head >> 8 & 0x1F):
        raise _bad(offset, f"the header 0x{head:08x} is not that of {spec.mnemonic}, which takes {expected} words")
    wait = _word(data, offset + WORD_BYTES) if has_wait else 0
    if has_wait and not wait:
        raise _bad(offset, "an empty wait mask")
    end = offset + length * WORD_BYTES
    if end > len(data):
        raise _bad(offset, f"{spec.mnemonic} takes {length} words but the program ends at byte {len(data)}")
    body = struct.unpack_from(f"<{body_words(spec)}I", data, start)
    for word, (value, unused) in enumerate(zip(body, _unused_bits(spec), strict=True)):
        if value & unused:
            raise _bad(offset, f"bits 0x{value & unused:08x} of body word {word} of {spec.mnemonic} must be zero")
    values = _operand_values(spec, body)
    return spec.instruction.of(values, head >> 8 & 0x1F if has_signal else None, wait), end


def decode_program(data: bytes) -> Iterator[tuple[int, Instruction]]:
    """Every instruction with its byte offset, front to back."""
    offset = 0
    while offset < len(data):
        instruction, end = decode(data, offset)
        yield offset, instruction
        offset = end


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
def _unused_bits(spec: Spec) -> tuple[int, ...]:
    """For each word of the body, the bits that no field takes."""
    free = [0xFFFFFFFF] * body_words(spec)
    for places in field_places(spec):
        for field, word, shift in places:
            free[word] &= ~((1 << field.bits) - 1 << shift)
    return tuple(free)


@cache
def _bounded_places(spec: Spec) -> tuple[tuple[tuple[Field, int, int, int, int], ...], ...]:
    """As `field_places`, with the smallest and the largest value of each field: a program asks for them millions of
    times."""
    return tuple(
        tuple((field, word, shift, field.low, field.high) for field, word, shift in places)
        for places in field_places(spec)
    )


def _stored(spec: Spec, field: Field, value: int) -> int:
    stored, rest = divmod(value - field.bias, field.scale)
    if rest:
        raise EncodeError(
            "FieldOutOfRange", f"{spec.mnemonic}.{field.name}: {value} is not a multiple of {field.scale}"
        )
    return stored & (1 << field.bits) - 1


def _operand_values(spec: Spec, body: tuple[int, ...]) -> tuple[OperandValue, ...]:
    values = []
    for operand, places in zip(spec.operands, field_places(spec), strict=True):
        numbers = []
        for field, word, shift in places:
            stored = body[word] >> shift & (1 << field.bits) - 1
            if field.signed and stored >> (field.bits - 1):
                stored -= 1 << field.bits
            numbers.append(stored * field.scale + field.bias)
        values.append(operand.unpack(tuple(numbers)))
    return tuple(values)


def _word(data: bytes, offset: int) -> int:
    if offset < 0 or offset + WORD_BYTES > len(data):
        raise _bad(offset, f"the program ends at byte {len(data)}")
    word: int = struct.unpack_from("<I", data, offset)[0]
    return word


def _bad(offset: int, what: str) -> EncodeError:
    return EncodeError("BadInstruction", what, at=Loc(detail=f"program byte {offset}"))
