"""Instructions as text and back: `conv x=@0x400:HCHCW(64x1):1x16x320x320[h0+160] y=... kh=3 -> t5 wait(t1 t3)`.

Walks the operand kinds of the table and knows no instruction by name. Numbers with a default and axes that a box
takes whole are left out. Printing is stable: for all printed text, format_program(parse_program(text)) == text.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple, NoReturn

import numpy as np
from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args
from lark.lexer import PatternStr

from isa.encoding import TAGS
from isa.errors import EncodeError, Loc
from isa.instructions import BY_MNEMONIC, Instruction, Spec
from isa.layout import Box, Layout, LayoutKind, Place, Shape4, Window
from isa.operands import (
    DramRange,
    DramRangeOperand,
    DramWindow,
    DramWindowOperand,
    Float,
    Int,
    Operand,
    OperandValue,
    SramRange,
    SramRangeOperand,
    WindowOperand,
    float32_bits,
    float32_of_bits,
)

# Which rule of the grammar reads the values of an operand; the first class that fits.
_RULES: tuple[tuple[type[Operand], str], ...] = (
    (Int, "integer"),
    (Float, "real"),
    (WindowOperand, "window"),
    (DramWindowOperand, "dram_window"),
    (SramRangeOperand, "sram_range"),
    (DramRangeOperand, "dram_range"),
)
# What the terminals of the grammar are called in messages; those that are one fixed text are quoted.
_WORDS = {
    "NAME": "an instruction",
    "OPERAND": "an operand like kh=3",
    "TAG": "a tag like t5",
    "SIGNED": "a whole number",
    "DECIMAL": "a decimal number",
    "NUMBER": "a number",
    "KIND": "a layout like HCHCW",
    "GRID": "rows and columns of slices like 64x1",
    "EXTENTS": "extents like 1x16x320x320",
    "SPAN": "a range like c0+16",
    "_NEWLINE": "the end of the line",
    "$END": "the end",
    "<END-OF-FILE>": "the end",  # as lark's lexer calls it where its parser says $END
}


def format_instruction(instruction: Instruction) -> str:
    """One line without the line break."""
    parts = [instruction.mnemonic]
    for operand, value in zip(instruction.spec.operands, instruction.values, strict=True):
        if value != operand.default:
            parts.append(f"{operand.name}={_text(operand, value)}")
    if instruction.signal is not None:
        parts += ["->", f"t{instruction.signal}"]
    if instruction.wait:
        parts.append(f"wait({' '.join(f't{tag}' for tag in range(TAGS) if instruction.wait >> tag & 1)})")
    return " ".join(parts)


def format_program(instructions: Iterable[Instruction]) -> str:
    """One line an instruction."""
    return "".join(f"{format_instruction(instruction)}\n" for instruction in instructions)


def parse_program(text: str, source: str = "<asm>") -> list[Instruction]:
    """The instructions of a text. Raises EncodeError with the line, the column and what was expected."""
    try:
        lines: Sequence[_Line] = _parser().parse(text, start="program")  # type: ignore[assignment]
    except UnexpectedInput as error:
        fault, line, column = _fault(error), error.line, error.column
        if isinstance(error, UnexpectedToken) and error.token.type == "$END":
            line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
        raise EncodeError("AssemblySyntax", fault.what, at=Loc(f"{source}:{line}:{column}")) from error
    return [_instruction(line, source) for line in lines]


def _text(operand: Operand, value: OperandValue) -> str:
    """A value as its kind is written. Numbers that count in larger units than one are addresses: hexadecimal."""
    match value:
        case int():
            return f"0x{value:x}" if isinstance(operand, Int) and operand.scale > 1 else str(value)
        case float():
            return _decimal(value)
        case Window(place, box):
            return f"@0x{place.offset:x}:{place.layout}:{_shape_and_box(place.shape, box)}"
        case DramWindow(address, order, shape, box):
            return f"dram@0x{address:x}:{order.name}:{_shape_and_box(shape, box)}"
        case SramRange(offset, size):
            return f"@0x{offset:x}+{size}"
        case DramRange(address, size):
            return f"dram@0x{address:x}+{size}"


def _shape_and_box(shape: Shape4, box: Box) -> str:
    spans = (("n", box.n0, box.n, shape.n), ("c", box.c0, box.c, shape.c), ("h", box.h0, box.h, shape.h))
    ranges = " ".join(f"{axis}{start}+{count}" for axis, start, count, extent in spans if (start, count) != (0, extent))
    return "x".join(map(str, shape)) + (f"[{ranges}]" if ranges else "")


def _decimal(value: float) -> str:
    """The shortest decimal that gives the same float32 back; what is no finite number goes by its bits."""
    if not math.isfinite(value):
        return f"bits(0x{float32_bits(value):08x})"
    shortest = str(np.float32(value))
    # float() rounds to float64 first, which can end beside the float32 that the digits were made for.
    return shortest if float32_bits(float(shortest)) == float32_bits(value) else repr(value)


class _Line(NamedTuple):
    mnemonic: Token
    operands: tuple[Token, ...]  # name=value
    signal: Token | None
    wait: tuple[Token, ...]


class _Fault(Exception):
    """A value that cannot be read: how far into it, and why."""

    def __init__(self, what: str, offset: int = 0, hint: str = "", name: str = "BadOperand") -> None:
        super().__init__(what)
        self.what, self.offset, self.hint, self.name = what, offset, hint, name


def _instruction(line: _Line, source: str) -> Instruction:
    spec = BY_MNEMONIC.get(line.mnemonic)
    if spec is None:
        _fail("UnknownMnemonic", f"no instruction '{line.mnemonic}'", line.mnemonic, source, near=BY_MNEMONIC)
    given: dict[str, OperandValue] = {}
    operands = {operand.name: operand for operand in spec.operands}
    for token in line.operands:
        name, _, text = token.partition("=")
        if name not in operands:
            _fail("UnknownOperand", f"{spec.mnemonic} has no operand '{name}'", token, source, near=operands)
        if name in given:
            _fail("DuplicateOperand", f"{spec.mnemonic}.{name} is given twice", token, source)
        try:
            given[name] = _value(operands[name], text)
        except _Fault as fault:
            what = f"{spec.mnemonic}.{name}: {fault.what}"
            _fail(fault.name, what, token, source, offset=len(name) + 1 + fault.offset, hint=fault.hint)
    signal = None if line.signal is None else _tag(line.signal, source)
    wait = 0
    for tag in line.wait:
        wait |= 1 << _tag(tag, source)
    return spec.instruction.of((_or_default(spec, o, given, line, source) for o in spec.operands), signal, wait)


def _or_default(
    spec: Spec, operand: Operand, given: Mapping[str, OperandValue], line: _Line, source: str
) -> OperandValue:
    value = given.get(operand.name, operand.default)
    if value is None:
        what = f"{spec.mnemonic} needs operand '{operand.name}'"
        _fail("MissingOperand", what, line.mnemonic, source, hint=f"{operand.name}: {operand.meaning}")
    return value


def _tag(tag: Token, source: str) -> int:
    number = int(tag[1:])
    if number >= TAGS:
        _fail("FieldOutOfRange", f"{tag} is outside t0..t{TAGS - 1}", tag, source)
    return number


def _fail(
    name: str, what: str, token: Token, source: str, *, near: Iterable[str] = (), offset: int = 0, hint: str = ""
) -> NoReturn:
    names = list(near)
    if names:
        close = difflib.get_close_matches(token.partition("=")[0], names, 1)
        hint = f"did you mean '{close[0]}'?" if close else f"one of {', '.join(names)}"
    at = Loc(f"{source}:{token.line}:{(token.column or 1) + offset}")
    raise EncodeError(name, what, at=at, hint=hint)


@lru_cache(maxsize=1 << 16)  # most values of a program stand in it many times
def _value(operand: Operand, text: str) -> OperandValue:
    """The value of an operand. Raises _Fault."""
    rule = next(rule for kind, rule in _RULES if isinstance(operand, kind))
    try:
        value: OperandValue = _parser().parse(text, start=rule)  # type: ignore[assignment]
    except UnexpectedInput as error:
        raise _fault(error, text) from error
    for field, number in zip(operand.fields(), operand.pack(value), strict=True):
        if not field.low <= number <= field.high:
            part = field.name.removeprefix(operand.name).lstrip(".")
            what = f"{part} {number}" if part else str(number)
            raise _Fault(f"{what} is outside {field.low}..{field.high}", name="FieldOutOfRange")
        if (number - field.bias) % field.scale:
            raise _Fault(f"0x{number:x} is not a multiple of {field.scale}", name="FieldOutOfRange")
    return value


def _fault(error: UnexpectedInput, text: str = "") -> _Fault:
    """What the parser expected and what came, in words."""
    if isinstance(error, UnexpectedToken):
        expected, found = error.accepts or error.expected, str(error.token)
        offset = len(text) if error.token.type == "$END" else (error.token.column or 1) - 1
        found = (
            "the end" if error.token.type == "$END" else "the end of the line" if not found.strip() else f"'{found}'"
        )
    else:
        assert isinstance(error, UnexpectedCharacters)
        expected, found, offset = error.allowed or set(), repr(error.char), error.column - 1
    words = sorted({_WORDS.get(name, name) if name in _WORDS else f"'{_literals()[name]}'" for name in expected})
    return _Fault(f"expected {' or '.join(words)}, got {found}", offset)


@v_args(inline=True)
class _Records(Transformer[Token, object]):
    """Everything of lark ends here: rules become typed records."""

    def program(self, *lines: _Line) -> tuple[_Line, ...]:
        return lines

    def line(self, mnemonic: Token, *parts: Token | tuple[Token, ...]) -> _Line:
        tokens = [part for part in parts if isinstance(part, Token)]
        wait = next((part for part in parts if not isinstance(part, Token)), ())
        signal = tokens.pop() if tokens and tokens[-1].type == "TAG" else None
        return _Line(mnemonic, tuple(tokens), signal, wait)

    def signal(self, tag: Token) -> Token:
        return tag

    def wait(self, *tags: Token) -> tuple[Token, ...]:
        return tags

    def integer(self, number: Token) -> int:
        return _integer(number)

    def real(self, number: Token) -> float:
        if number.type == "NUMBER":
            return float32_of_bits(_integer(number, 32))
        try:
            return float32_of_bits(float32_bits(float(number)))
        except OverflowError as error:
            raise _Fault(f"{number} is beyond float32", name="FieldOutOfRange") from error

    def window(self, offset: Token, kind: Token, grid: Token, extents: Token, box: _Spans | None = None) -> Window:
        apart = grid.startswith("N")
        ho, co = _extents(grid.update(value=grid.removeprefix("Nx")), "rows x columns of slices")
        shape = Shape4(*_extents(extents, "n x c x h x w"))
        return Window(Place(_integer(offset), Layout(_kind(kind), ho, co, apart), shape), _boxed(shape, box or {}))

    def dram_window(self, address: Token, kind: Token, extents: Token, box: _Spans | None = None) -> DramWindow:
        shape = Shape4(*_extents(extents, "n x c x h x w"))
        return DramWindow(_integer(address), _kind(kind), shape, _boxed(shape, box or {}))

    def sram_range(self, offset: Token, size: Token) -> SramRange:
        return SramRange(_integer(offset), _integer(size))

    def dram_range(self, address: Token, size: Token) -> DramRange:
        return DramRange(_integer(address), _integer(size))

    def box(self, *spans: Token) -> _Spans:
        axes: _Spans = {}
        for span in spans:
            if span[0] in axes:
                raise _Fault(f"axis {span[0]} has two ranges", _offset(span))
            start, count = span[1:].split("+")
            axes[span[0]] = _bounded(start, 32, span), _bounded(count, 32, span)
        return axes


_Spans = dict[str, tuple[int, int]]  # start and count of axes by letter


def _boxed(shape: Shape4, spans: _Spans) -> Box:
    """A box that takes whole what no span is given for."""
    return Box(*spans.get("n", (0, shape.n)), *spans.get("c", (0, shape.c)), *spans.get("h", (0, shape.h)))


def _kind(token: Token) -> LayoutKind:
    if token in LayoutKind.__members__:
        return LayoutKind[token]
    raise _Fault(f"no layout '{token}'", _offset(token), f"one of {', '.join(LayoutKind.__members__)}")


def _extents(token: Token, meaning: str) -> list[int]:
    numbers = token.split("x")
    if len(numbers) != len(meaning.split(" x ")):
        raise _Fault(f"'{token}' is not {meaning}", _offset(token))
    return [_bounded(number, 32, token) for number in numbers]


def _integer(token: Token, bits: int = 64) -> int:
    return _bounded(token, bits, token)


def _bounded(text: str, bits: int, token: Token) -> int:
    """A number of at most so many bits; longer texts are not even converted."""
    value = int(text, 0 if "x" in text.lower() else 10) if len(text) <= 40 else 1 << bits
    if abs(value) >= 1 << bits:
        raise _Fault(f"a number of more than {bits} bits", _offset(token), name="FieldOutOfRange")
    return value


def _offset(token: Token) -> int:
    return (token.column or 1) - 1


@cache
def _parser() -> Lark:
    grammar = (resources.files("isa") / "assembly.lark").read_text(encoding="utf-8")
    starts = ["program", *(rule for _, rule in _RULES)]
    return Lark(grammar, parser="lalr", start=starts, transformer=_Records(), maybe_placeholders=False)


@cache
def _literals() -> dict[str, str]:
    """Terminals that are one fixed text."""
    return {t.name: t.pattern.value for t in _parser().terminals if isinstance(t.pattern, PatternStr)}
