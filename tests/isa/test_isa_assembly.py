"""Assembly text and back, and what a typo is told."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_strategies import instructions

from isa.assembly import _WORDS, _literals, _parser, format_instruction, format_program, parse_program
from isa.encoding import encode, encode_program
from isa.errors import EncodeError
from isa.instructions import TABLE, Add, Conv, Instruction, Spec
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window, whole
from isa.operands import SramRange, float32_of_bits

PLACE = Place(0x400, Layout(LayoutKind.HCHCW, 64, 1), Shape4(1, 16, 320, 320))


@pytest.mark.parametrize("spec", TABLE, ids=lambda spec: spec.mnemonic)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_parsing_a_printed_instruction_gives_it_back(spec: Spec, data: st.DataObject) -> None:
    insn = data.draw(instructions(spec))
    text = format_instruction(insn)
    (back,) = parse_program(text)
    assert encode(back) == encode(insn)
    assert format_instruction(back) == text


@settings(max_examples=25, deadline=None)
@given(st.lists(instructions(), max_size=5), st.lists(st.text(max_size=20), min_size=5, max_size=5))
def test_comments_never_change_a_program(program: list[Instruction], comments: list[str]) -> None:
    lines = format_program(program).splitlines()
    said = (" ".join(comment.split()) for comment in comments)  # a comment ends with its line
    back = parse_program("\n".join(f"{line}  # {comment}" for line, comment in zip(lines, said, strict=False)))
    assert encode_program(back) == encode_program(program)


def test_defaults_and_whole_boxes_are_left_out() -> None:
    insn = Conv(x=Window(PLACE, Box(0, 1, 0, 16, 10, 20)), y=whole(PLACE), acc=SramRange(8, 16), kh=3, zx=-3,
        ocn=4, kn=16,
    ).scheduled(5, 0b1010)  # fmt: skip
    assert format_instruction(insn) == (
        "conv x=@0x400:HCHCW(64x1):1x16x320x320[h10+20] y=@0x400:HCHCW(64x1):1x16x320x320 acc=@0x8+16 kh=3 ocn=4 kn=16 "
        "zx=-3 -> t5 wait(t1 t3)"
    )


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x3DCCCCCD, "0.1"),
        (0x00000001, "1e-45"),
        (0x7F7FFFFF, "3.4028235e+38"),
        (0x80000000, "-0.0"),
        (0x7F800000, "bits(0x7f800000)"),
        (0x7F800001, "bits(0x7f800001)"),
    ],
)
def test_floats_are_the_shortest_text_that_gives_their_bits(bits: int, text: str) -> None:
    y = whole(PLACE)
    insn = Add(a=y, b=y, y=y, sa=float32_of_bits(bits), sb=1.0, sy=1.0)
    assert f" sa={text} " in format_instruction(insn)
    assert encode(parse_program(format_instruction(insn))[0]) == encode(insn)


def test_blank_lines_comments_tabs_and_windows_line_ends_are_taken() -> None:
    text = "# start\r\n\r\n\tjump to=0x10   # there\r\nend\r\n# done"
    assert [i.mnemonic for i in parse_program(text)] == ["jump", "end"]
    assert parse_program("") == []


WINDOW = "@0x0:HCHCW(1x1):1x1x1x1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("end\nconvv x=1", "error[UnknownMnemonic]: p.s:2:1: no instruction 'convv'\n  hint: did you mean 'conv'?"),
        ("jump too=4", "error[UnknownOperand]: p.s:1:6: jump has no operand 'too'\n  hint: did you mean 'to'?"),
        ("jump to=4 to=8", "error[DuplicateOperand]: p.s:1:11: jump.to is given twice"),
        ("jump", "error[MissingOperand]: p.s:1:1: jump needs operand 'to'\n  hint: to: byte offset in"),
        ("jump to=3", "error[FieldOutOfRange]: p.s:1:9: jump.to: 0x3 is not a multiple of 4"),
        ("jump to=0x40000", "error[FieldOutOfRange]: p.s:1:9: jump.to: 262144 is outside 0..262140"),
        ("jump to=" + "9" * 60, "error[FieldOutOfRange]: p.s:1:9: jump.to: a number of more than 64 bits"),
        ("jump to=x", "error[BadOperand]: p.s:1:9: jump.to: expected a whole number, got 'x'"),
        ("jump to=4?", "error[BadOperand]: p.s:1:10: jump.to: expected the end, got '?'"),
        (f"table x={WINDOW.replace('HCHCW', 'HCWHC')}", "error[BadOperand]: p.s:1:14: table.x: no layout 'HCWHC'"),
        (f"table x={WINDOW[:-2]}", "error[BadOperand]: p.s:1:25: table.x: '1x1x1' is not n x c x h x w"),
        (f"table x={WINDOW}[h0+1 h1+1]", "error[BadOperand]: p.s:1:38: table.x: axis h has two ranges"),
        ("table x=@0x0:HCHCW", "error[BadOperand]: p.s:1:19: table.x: expected '(', got the end"),
        ("table x=@0x0:HCHCW(?", "error[BadOperand]: p.s:1:20: table.x: expected rows and columns of slices like 64x1"),
        ("add sa=1e39", "error[FieldOutOfRange]: p.s:1:8: add.sa: 1e39 is beyond float32"),
        ("end -> t32", "error[FieldOutOfRange]: p.s:1:8: t32 is outside t0..t31"),
        ("end -> 5", "error[AssemblySyntax]: p.s:1:8: expected a tag like t5, got '5'"),
        ("end\nend wait(", "error[AssemblySyntax]: p.s:2:10: expected a tag like t5, got the end"),
        ("end ?", "error[AssemblySyntax]: p.s:1:5: expected '->' or 'wait' or an operand like kh=3 or the end of the"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(EncodeError) as caught:
        parse_program(text, "p.s")
    assert str(caught.value).startswith(message)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.from_regex(r"(conv|jump|load) (x|to|src)=[@0-9xA-Z:()\[\] chn+-]*", fullmatch=True))
def test_any_text_is_a_program_or_an_encode_error(text: str) -> None:
    try:
        program = parse_program(text)
    except EncodeError as error:
        assert error.at.source.startswith("<asm>:")
    else:
        printed = format_program(program)
        assert format_program(parse_program(printed)) == printed


@pytest.mark.slow
def test_twenty_thousand_instructions_parse_in_seconds() -> None:
    line = "conv x=@0x{0:x}:HCHCW(64x1):1x16x320x320[h{1}+20] y=@0x8:HCHCW(64x1):1x16x320x320 kh=3 kw=3 ocn=16 kn=16\n"
    text = "".join(line.format(8 * (i % 5000), i % 300) for i in range(20_000))
    began = time.process_time()
    assert len(parse_program(text)) == 20_000
    assert time.process_time() - began < 10


def test_every_terminal_of_the_grammar_has_a_word_or_is_quoted() -> None:
    """Messages say what was expected: a terminal that they do not know was an internal error, twice."""
    grammar = _parser()
    said = {t.name for t in grammar.terminals} - set(_literals()) - set(grammar.ignore_tokens)
    assert said <= set(_WORDS)
