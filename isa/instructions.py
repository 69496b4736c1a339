"""THE instruction table. Encoder, decoder, assembler, docs/isa.md, hazards and fuzzers are derived from it.

The encoding is furc's own: Warboy's real one is not public. An instruction names its tensors by SRAM offset,
layout, shape and box, works on all slices at once, and covers one weight tile of one low-level operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from isa.layout import Window
from isa.operands import (
    Bank,
    DramRange,
    DramRangeOperand,
    DramWindow,
    DramWindowOperand,
    Float,
    Int,
    Operand,
    OperandValue,
    ProgramOffset,
    Range,
    Role,
    Space,
    SramRange,
    SramRangeOperand,
    WindowOperand,
)


class Unit(StrEnum):
    """Who executes an instruction. Units run concurrently; each takes its own instructions in order."""

    CONTROL = "control"
    DMA_IN = "dma_in"
    DMA_OUT = "dma_out"
    SUB = "sub"
    MAIN = "main"


@dataclass(frozen=True, slots=True)
class Spec:
    """One row of the table: what an instruction is called, who runs it, what it names, what it does."""

    mnemonic: str
    opcode: int
    unit: Unit
    operands: tuple[Operand, ...]
    meaning: str


def _int(name: str, bits: int, meaning: str, default: int | None = None, *, signed: bool = False, bias: int = 0) -> Int:
    return Int(name, meaning, bits=bits, signed=signed, bias=bias, default=default)


def _read(name: str, meaning: str) -> WindowOperand:
    return WindowOperand(name, meaning, Role.READ)


def _write(name: str, meaning: str) -> WindowOperand:
    return WindowOperand(name, meaning, Role.WRITE)


_CLAMP = (
    _int("lo", 8, "smallest int8 result", -128, signed=True),
    _int("hi", 8, "largest int8 result", 127, signed=True),
)
_GEOMETRY = (
    _int("kh", 10, "kernel rows", 1, bias=1),
    _int("kw", 10, "kernel columns", 1, bias=1),
    _int("sh", 5, "row stride", 1, bias=1),
    _int("sw", 5, "column stride", 1, bias=1),
    _int("pt", 10, "padding rows above; those below follow from y", 0, signed=True),
    _int("pl", 10, "padding columns left; those right follow from y", 0, signed=True),
    _int("dh", 4, "row dilation", 1, bias=1),
    _int("dw", 4, "column dilation", 1, bias=1),
)
_BINARY = (
    _read("a", "left operand; an axis of extent 1 is repeated"),
    _read("b", "right operand; an axis of extent 1 is repeated"),
    _write("y", "result"),
    Float("sa", "scale of a"),
    Float("sb", "scale of b"),
    Float("sy", "scale of y"),
    _int("za", 8, "zero point of a", 0, signed=True),
    _int("zb", 8, "zero point of b", 0, signed=True),
    _int("zy", 8, "zero point of y", 0, signed=True),
    *_CLAMP,
)
MOVE_AXES = 6

TABLE: tuple[Spec, ...] = (
    Spec("end", 0x00, Unit.CONTROL, (), "Wait for every unit and stop."),
    Spec(
        "jump",
        0x01,
        Unit.CONTROL,
        (ProgramOffset("to", "byte offset in instruction memory", Role.READ, bits=16, scale=4),),
        "Go on at another offset of instruction memory, once the awaited tags are complete.",
    ),
    Spec(
        "load",
        0x10,
        Unit.DMA_IN,
        (DramWindowOperand("src", "what to read", Role.READ), _write("dst", "where to; the same extents as src")),
        "Copy a box of a DRAM tensor into a box of an SRAM tensor, spreading it over the slices.",
    ),
    Spec(
        "loadw",
        0x11,
        Unit.DMA_IN,
        (
            DramRangeOperand("src", "packed weight tiles", Role.READ),
            SramRangeOperand("dst", "striped: slice s gets bytes [s*P, (s+1)*P), P = dst.bytes", Role.WRITE),
        ),
        "Copy consecutive bytes into a range striped over all slices.",
    ),
    Spec(
        "loadp",
        0x12,
        Unit.DMA_IN,
        (
            DramRangeOperand("src", "encoded instructions", Role.READ),
            ProgramOffset("at", "byte offset in instruction memory", Role.WRITE, bits=16, scale=4),
        ),
        "Load a program segment into instruction memory.",
    ),
    Spec(
        "store",
        0x18,
        Unit.DMA_OUT,
        (_read("src", "what to read"), DramWindowOperand("dst", "where to; the same extents as src", Role.WRITE)),
        "Copy a box of an SRAM tensor into a box of a DRAM tensor.",
    ),
    Spec(
        "preload",
        0x20,
        Unit.SUB,
        (
            SramRangeOperand("src", "striped range that holds the tile", Role.READ),
            _int("start", 32, "first byte of the tile in the striped range", 0),
            _int("wbytes", 14, "weight bytes a channel group"),
            _int("vbytes", 8, "bytes of bias and multiplier a channel group; 8 a channel", 0),
            _int("groups", 8, "channel groups: slice s takes group s mod groups", 1, bias=1),
            Bank("bank", "weight register bank", Role.WRITE, bits=1, default=0, space=Space.WEIGHTS),
        ),
        "Copy one weight tile into a bank of every slice's weight and vector registers. The tile holds, group after "
        "group, wbytes of int8 weights (output channel, input channel, row, column), then vbytes of (int32 bias, "
        "float32 multiplier) pairs.",
    ),
    Spec(
        "loadt",
        0x21,
        Unit.SUB,
        (
            SramRangeOperand("src", "striped range that holds the table", Role.READ),
            _int("start", 32, "first byte of the table in the striped range", 0),
            Bank("bank", "table bank", Role.WRITE, bits=1, default=0, space=Space.TABLES),
        ),
        "Copy a table of 256 int8 entries, indexed by value + 128, into a table bank of every slice.",
    ),
    Spec(
        "move",
        0x28,
        Unit.SUB,
        (
            _read("x", "source"),
            _write("y", "destination"),
            _int("start", 32, "source element of the first destination element", 0, signed=True),
            *(
                operand
                for axis in range(MOVE_AXES)
                for operand in (
                    _int(f"size{axis}", 32, f"extent of loop {axis}, outermost first", 1),
                    _int(f"step{axis}", 32, f"source elements a step of loop {axis} advances", 0, signed=True),
                )
            ),
        ),
        "Re-lay data: the destination box in (N, C, H, W) order takes source element start + sum(index * step), where "
        "source elements are numbered in (N, C, H, W) order of the source box. Copies, reshapes, transposes, slices "
        "with steps, repeats and nearest-neighbour resizes are all one move.",
    ),
    Spec(
        "pad",
        0x29,
        Unit.SUB,
        (
            _read("x", "source"),
            _write("y", "destination"),
            _int("dc", 16, "channel of the destination box where the source starts", 0),
            _int("dh", 16, "row where it starts", 0),
            _int("dw", 16, "column where it starts", 0),
            _int("value", 8, "int8 value of everything else", 0, signed=True),
        ),
        "Put the source into the destination box and set the rest of the box to one value.",
    ),
    Spec(
        "conv",
        0x40,
        Unit.MAIN,
        (
            _read("x", "input box: all channels, the rows of this tile"),
            _write("y", "output box"),
            SramRangeOperand(
                "acc", "int32 partial sums, where the contraction takes several instructions", Role.UPDATE
            ),
            *_GEOMETRY,
            _int("up", 5, "zeros inserted between input elements plus one (transposed convolution)", 1, bias=1),
            _int("groups", 16, "convolution groups", 1, bias=1),
            _int("oc0", 16, "first output channel, counted inside each slice", 0),
            _int("ocn", 8, "output channels of this tile in each slice", 1, bias=1),
            _int("k0", 16, "first input channel of the contraction, counted inside the group", 0),
            _int("kn", 16, "input channels of the contraction", 1, bias=1),
            _int("zx", 8, "zero point of x, also the padding", 0, signed=True),
            _int("zy", 8, "zero point of the requantized sum", 0, signed=True),
            *_CLAMP,
            _int("first", 1, "1: partial sums start at zero", 1),
            _int("last", 1, "1: add bias, requantize and commit; 0: keep partial sums", 1),
            _int("lookup", 1, "1: the clamped result goes through the table", 0),
            Bank("bank", "weight register bank", Role.READ, bits=1, default=0, space=Space.WEIGHTS),
            Bank("tbank", "table bank", Role.READ, bits=1, default=0, space=Space.TABLES),
        ),
        "Contract with the weights in the bank: acc += sum((x - zx) * w); at the last one y = clamp(rint(float32(acc + "
        "bias) * multiplier) + zy, lo, hi), looked up in the table where asked.",
    ),
    Spec(
        "add",
        0x48,
        Unit.MAIN,
        _BINARY,
        "y = clamp(rint(((a - za) * sa + (b - zb) * sb) / sy) + zy, lo, hi), in float32.",
    ),
    Spec(
        "mul",
        0x49,
        Unit.MAIN,
        _BINARY,
        "y = clamp(rint(((a - za) * sa) * ((b - zb) * sb) / sy) + zy, lo, hi), in float32.",
    ),
    Spec(
        "table",
        0x4A,
        Unit.MAIN,
        (
            _read("x", "input"),
            _write("y", "result"),
            Bank("tbank", "table bank", Role.READ, bits=1, default=0, space=Space.TABLES),
        ),
        "y = table[x + 128].",
    ),
    Spec(
        "maxpool",
        0x50,
        Unit.MAIN,
        (_read("x", "input"), _write("y", "result"), *_GEOMETRY, *_CLAMP),
        "y = clamp(max over the kernel, lo, hi); padding never wins.",
    ),
    Spec(
        "avgpool",
        0x51,
        Unit.MAIN,
        (
            _read("x", "input"),
            _write("y", "result"),
            *_GEOMETRY,
            Float("sx", "scale of x"),
            Float("sy", "scale of y"),
            _int("zx", 8, "zero point of x", 0, signed=True),
            _int("zy", 8, "zero point of y", 0, signed=True),
            _int("padded", 1, "1: padding counts in the divisor", 0),
            *_CLAMP,
        ),
        "y = clamp(rint(sum(x - zx) * (sx / (sy * count))) + zy, lo, hi), in float32.",
    ),
)

BY_MNEMONIC = {spec.mnemonic: spec for spec in TABLE}
BY_OPCODE = {spec.opcode: spec for spec in TABLE}
assert len(BY_MNEMONIC) == len(BY_OPCODE) == len(TABLE), "a mnemonic or an opcode stands twice in the table"

_POSITION = {spec.mnemonic: {operand.name: at for at, operand in enumerate(spec.operands)} for spec in TABLE}
_V = TypeVar("_V", int, float, Window, DramWindow, SramRange, DramRange)


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its row, a value for each operand, the tag it completes and the tags it waits for.

    A wait for tag t means: until the latest instruction before this one (in program order) that signals t is
    complete. So a program cannot deadlock: waits point backwards only.
    """

    spec: Spec
    values: tuple[OperandValue, ...]
    signal: int | None = None
    wait: int = 0  # mask of tags

    @property
    def mnemonic(self) -> str:
        return self.spec.mnemonic

    @property
    def unit(self) -> Unit:
        return self.spec.unit

    def value(self, name: str) -> OperandValue:
        """An operand's value by name."""
        return self.values[_POSITION[self.spec.mnemonic][name]]

    def _typed(self, name: str, kind: type[_V]) -> _V:
        value = self.value(name)
        assert isinstance(value, kind)
        return value

    def number(self, name: str) -> int:
        return self._typed(name, int)

    def real(self, name: str) -> float:
        return self._typed(name, float)

    def window(self, name: str) -> Window:
        return self._typed(name, Window)

    def dram_window(self, name: str) -> DramWindow:
        return self._typed(name, DramWindow)

    def sram_range(self, name: str) -> SramRange:
        return self._typed(name, SramRange)

    def dram_range(self, name: str) -> DramRange:
        return self._typed(name, DramRange)

    def scheduled(self, signal: int | None, wait: int) -> Instruction:
        """The same work with other tags."""
        return replace(self, signal=signal, wait=wait)

    def reads(self, access_bytes: int) -> tuple[Range, ...]:
        """Memory this instruction reads."""
        return self._touched((Role.READ, Role.UPDATE), access_bytes)

    def writes(self, access_bytes: int) -> tuple[Range, ...]:
        """Memory this instruction writes."""
        return self._touched((Role.WRITE, Role.UPDATE), access_bytes)

    def _touched(self, roles: tuple[Role, ...], access_bytes: int) -> tuple[Range, ...]:
        return tuple(
            touched
            for operand, value in zip(self.spec.operands, self.values, strict=True)
            if operand.role in roles
            for touched in operand.touches(value, access_bytes)
        )


NO_SRAM = SramRange(0, 0)


def make(mnemonic: str, **operands: OperandValue) -> Instruction:
    """An instruction by operand names; numbers that have a default may be left out."""
    spec = BY_MNEMONIC[mnemonic]
    values = []
    for operand in spec.operands:
        if operand.name in operands:
            values.append(operands.pop(operand.name))
        elif isinstance(operand, Int) and operand.default is not None:
            values.append(operand.default)
        elif isinstance(operand, SramRangeOperand):
            values.append(NO_SRAM)
        else:
            raise KeyError(f"{mnemonic} needs operand {operand.name}")
    if operands:
        raise KeyError(f"{mnemonic} has no operand {', '.join(operands)}")
    return Instruction(spec, tuple(values))
