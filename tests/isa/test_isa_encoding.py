"""Words and back for every row of the table, and every other word refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_strategies import instructions

from isa.encoding import MAX_WORDS, body_words, decode, decode_program, encode, encode_program, field_places
from isa.errors import EncodeError
from isa.instructions import BY_MNEMONIC, TABLE, End, Instruction, Jump, LoadWeights, Spec, Unit
from isa.instructions.base import instruction
from isa.machine import Machine
from isa.npu import NpuConfig
from isa.operands import DramRange, float32_bits, float32_of_bits
from isa.timing.formulas import Cost

EVERY_ROW = pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.mnemonic)


@EVERY_ROW
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_decoding_an_encoded_instruction_gives_it_back(spec: Spec, data: st.DataObject) -> None:
    insn = data.draw(instructions(spec))
    words = encode(insn)
    back, end = decode(words)
    assert end == len(words) == 4 * (1 + bool(insn.wait) + body_words(spec))
    assert encode(back) == words
    assert repr(back) == repr(insn)  # by text, because a NaN equals nothing


@settings(max_examples=50, deadline=None)
@given(st.lists(instructions(), max_size=8))
def test_a_program_decodes_front_to_back(program: list[Instruction]) -> None:
    data = encode_program(program)
    decoded = list(decode_program(data))
    assert encode_program([insn for _, insn in decoded]) == data
    assert [insn.mnemonic for _, insn in decoded] == [insn.mnemonic for insn in program]


@EVERY_ROW
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_body_is_refused_or_encodes_to_itself(spec: Spec, data: st.DataObject) -> None:
    count, tags = body_words(spec), data.draw(st.integers(0, 127))
    waits = [data.draw(st.integers(0, 2**32 - 1))] if tags & 64 else []
    head = spec.opcode | tags << 8 | (1 + len(waits) + count) << 16
    body = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    _refused_or_itself(struct.pack(f"<{1 + len(waits) + count}I", head, *waits, *body))


@EVERY_ROW
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_is_refused_or_another_instruction(spec: Spec, data: st.DataObject) -> None:
    words = bytearray(encode(data.draw(instructions(spec))))
    bit = data.draw(st.integers(0, 8 * len(words) - 1))
    words[bit // 8] ^= 1 << bit % 8
    _refused_or_itself(bytes(words))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_are_refused_or_encode_to_themselves(data: bytes) -> None:
    _refused_or_itself(data)


def _refused_or_itself(data: bytes) -> None:
    try:
        program = [insn for _, insn in decode_program(data)]
    except EncodeError as error:
        assert error.name == "BadInstruction" and error.at.detail.startswith("program byte ")
    else:
        assert encode_program(program) == data


@EVERY_ROW
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_a_cut_off_instruction_is_refused(spec: Spec, data: st.DataObject) -> None:
    words = encode(data.draw(instructions(spec)))
    for end in range(1, len(words)):
        with pytest.raises(EncodeError):
            decode(words[:end])


@EVERY_ROW
def test_fields_never_overlap(spec: Spec) -> None:
    taken: dict[int, int] = {}
    for places in field_places(spec):
        for field, word, shift in places:
            mask = (1 << field.bits) - 1 << shift
            assert mask < 1 << 32 and not taken.get(word, 0) & mask, field.name
            taken[word] = taken.get(word, 0) | mask
    assert sorted(taken) == list(range(body_words(spec)))
    assert 2 + body_words(spec) <= MAX_WORDS


@EVERY_ROW
def test_every_operand_says_what_it_means(spec: Spec) -> None:
    assert spec.meaning and all(operand.meaning for operand in spec.operands)
    assert spec.instruction.spec is spec is BY_MNEMONIC[spec.mnemonic]


@EVERY_ROW
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_operands_are_attributes_and_tags_change_nothing_else(spec: Spec, data: st.DataObject) -> None:
    insn = data.draw(instructions(spec))
    assert repr(insn.values) == repr(tuple(getattr(insn, operand.name) for operand in spec.operands))
    other = insn.scheduled(7, 5)
    assert (other.signal, other.wait, repr(other.values)) == (7, 5, repr(insn.values))
    assert (other.reads(8), other.writes(8)) == (insn.reads(8), insn.writes(8))


class Costly(Instruction):
    """Works and costs, but is nothing yet."""

    __slots__ = ()

    def execute(self, machine: Machine) -> None: ...

    def cost(self, npu: NpuConfig) -> Cost:
        return Cost(1.0)


def test_a_class_that_forgets_something_is_no_instruction() -> None:
    class Silent(Costly):
        pass

    class Idle(Instruction):
        """No effect."""

        def cost(self, npu: NpuConfig) -> Cost:
            return Cost(1.0)

    class Free(Instruction):
        """No cost."""

        def execute(self, machine: Machine) -> None: ...

    for cls, what in ((Silent, "has no docstring"), (Idle, r"has no execute\(\)"), (Free, r"has no cost\(\)")):
        with pytest.raises(TypeError, match=f"^{cls.__name__} {what}"):
            instruction("new", 0xFE, Unit.MAIN)(cls)
    assert "new" not in BY_MNEMONIC


@pytest.mark.parametrize(("mnemonic", "opcode"), [("conv", 0xFE), ("new", 0x40)])
def test_a_mnemonic_or_an_opcode_is_taken_once(mnemonic: str, opcode: int) -> None:
    with pytest.raises(TypeError, match=r"^Costly: conv \(opcode 0x40\) is there already$"):
        instruction(mnemonic, opcode, Unit.MAIN)(Costly)


def test_every_default_fits_its_field() -> None:
    for spec in TABLE:
        for operand in spec.operands:
            if operand.default is not None:
                for field, number in zip(operand.fields(), operand.pack(operand.default), strict=True):
                    assert field.low <= number <= field.high, (spec.mnemonic, operand.name)


def test_a_value_outside_its_field_is_named_with_the_range() -> None:
    with pytest.raises(EncodeError, match=r": jump\.to: 262144 is outside 0\.\.262140$"):
        encode(Jump(to=262144))
    with pytest.raises(EncodeError, match=r": jump\.to: 2 is not a multiple of 4$"):
        encode(Jump(to=2))


@pytest.mark.parametrize(("signal", "wait"), [(32, 0), (-1, 0), (None, 1 << 32)])
def test_a_tag_outside_0_to_31_is_refused(signal: int | None, wait: int) -> None:
    with pytest.raises(EncodeError, match=r": end: signal"):
        encode(End().scheduled(signal, wait))


def test_an_instruction_names_its_missing_and_unknown_operands() -> None:
    with pytest.raises(TypeError, match="'src'"):
        LoadWeights()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'form'"):
        LoadWeights(src=DramRange(0, 64), form=1)  # type: ignore[call-arg]


@given(st.integers(0, 2**32 - 1) | st.sampled_from([0x7F800001, 0xFFFFFFFF, 0x7FC00000, 0xFF800000, 0x80000000]))
def test_float32_bits_survive_any_value(bits: int) -> None:
    assert float32_bits(float32_of_bits(bits)) == bits
