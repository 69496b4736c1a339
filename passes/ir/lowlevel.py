"""Ops of ldfg, cdfg and gir: what the machine does, on tensors of four axes.

ldfg: operands may lie in SRAM or DRAM, weights are plain constants. cdfg and gir: everything that computes has its
operands in SRAM, weights are packed; `Load`, `LoadWeights` and `Store` move data. A result may be written into a
box of a buffer (`into`, `at`): it is then the buffer with that box replaced. gir adds addresses to the types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isa.layout import Box, Shape4
from passes.ir.graph import Level, Op, Value, register
from passes.ir.types import InDram, InSram

Pair = tuple[int, int]
_LOW = (Level.LDFG, Level.CDFG, Level.GIR)
_COMMANDS = (Level.CDFG, Level.GIR)


@dataclass(eq=False, kw_only=True)
class LowLevelOp(Op):
    """An op of the machine. into: the buffer that the result is part of; at: n0, c0, h0 of the box in it."""

    into: Value | None = None
    at: tuple[int, ...] = ()

    def made(self) -> Shape4:
        """The extents this op computes: those of its result, or of the box it writes."""
        return self.result.type.shape4

    def verify(self) -> Iterator[str]:
        if self.result.type.rank != 4:
            yield f"the result has {self.result.type.rank} axes, expected 4"
        elif self.into is None and self.made() != self.result.type.shape:
            yield f"the result is {list(self.result.type.shape)}, the op makes {list(self.made())}"
        if (self.into is None) != (self.at == ()):
            yield "into and at go together"


@dataclass(eq=False, kw_only=True)
class WindowOp(LowLevelOp):
    """A kernel that slides: padding above and left; below and right follow from `out`, the rows and columns made."""

    x: Value
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    out: Pair = (1, 1)
    lo: int = -128
    hi: int = 127


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelConv2d(WindowOp):
    """Contract. w int8 [o, c / group, kh, kw], bias int32 [o], multiplier f32 [o], table int8 [256], or all packed."""

    mnemonic = "LowLevelConv2d"
    w: Value | None = None
    bias: Value | None = None
    multiplier: Value | None = None
    table: Value | None = None
    packed: Value | None = None
    channels: int
    group: int = 1
    up: int = 1
    zero: int = 0  # of the requantized sum, in front of a table
    lookup: bool = False
    scratch: int = 0  # SRAM offset of the partial sums, from gir on

    def made(self) -> Shape4:
        return Shape4(self.x.type.shape[0], self.channels, *self.out)

    def verify(self) -> Iterator[str]:
        yield from LowLevelOp.verify(self)
        if (self.packed is None) == (self.w is None):
            yield "weights are either plain or packed"
        wanted = (self.channels, self.x.type.shape4.c // self.group, *self.kernel)
        if self.w is not None and self.w.type.shape != wanted:
            yield f"weights {list(self.w.type.shape)}, expected {list(wanted)}"


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelDepthwiseConv2d(LowLevelConv2d):
    """A convolution with one input channel a group."""

    mnemonic = "LowLevelDepthwiseConv2d"


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelMaxPool(WindowOp):
    """Largest element under the kernel."""

    mnemonic = "LowLevelMaxPool"

    def made(self) -> Shape4:
        return Shape4(self.x.type.shape[0], self.x.type.shape[1], *self.out)


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelAveragePool(WindowOp):
    """Mean under the kernel. padded: padding counts in the divisor."""

    mnemonic = "LowLevelAveragePool"
    padded: bool = False

    def made(self) -> Shape4:
        return Shape4(self.x.type.shape[0], self.x.type.shape[1], *self.out)


@dataclass(eq=False, kw_only=True)
class LowLevelBinary(LowLevelOp):
    """Two operands that broadcast on axes of extent 1."""

    a: Value
    b: Value
    lo: int = -128
    hi: int = 127

    def made(self) -> Shape4:
        return Shape4(*(max(p, q) for p, q in zip(self.a.type.shape, self.b.type.shape, strict=True)))


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelAdd(LowLevelBinary):
    """a + b, requantized."""

    mnemonic = "LowLevelAdd"


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelMul(LowLevelBinary):
    """a * b, requantized."""

    mnemonic = "LowLevelMul"


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelTable(LowLevelOp):
    """table[x + 128]; the table is an int8 [256] constant, or packed."""

    mnemonic = "LowLevelTable"
    x: Value
    table: Value | None = None
    packed: Value | None = None

    def made(self) -> Shape4:
        return self.x.type.shape4


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelMove(LowLevelOp):
    """Element number i (row-major) of the result is element start + sum(index * step) of x (row-major).

    sizes: extents of up to six loops whose row-major count is i; steps: what each advances in x. kind says which
    vendor operator it is in profiles: Transpose, Reshape, Slice or Expand.
    """

    mnemonic = "LowLevelMove"
    x: Value
    kind: str = "Reshape"
    start: int = 0
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    shape: tuple[int, ...]

    def made(self) -> Shape4:
        return Shape4(*self.shape)


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelPad(LowLevelOp):
    """Surround with a constant; before and after count elements on the four axes."""

    mnemonic = "LowLevelPad"
    x: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int = 0


@register(*_LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelSlice(LowLevelOp):
    """A box of x without moving data: n0, n, c0, c, h0, h, all columns. A box of a DRAM tensor is loaded in cdfg."""

    mnemonic = "LowLevelSlice"
    x: Value
    box: tuple[int, ...]

    def made(self) -> Shape4:
        return Box(*self.box).shape(self.x.type.shape[3])

    def verify(self) -> Iterator[str]:
        yield from LowLevelOp.verify(self)
        yield from _leaves(self.x, self.box)


def _leaves(x: Value, corner: tuple[int, ...]) -> Iterator[str]:
    """A rule for boxes: inside the tensor."""
    box, shape = Box(*corner), x.type.shape4
    spans = ((box.n0, box.n, shape.n), (box.c0, box.c, shape.c), (box.h0, box.h, shape.h))
    if any(start < 0 or count < 1 or start + count > extent for start, count, extent in spans):
        yield f"the box {list(corner)} leaves {list(shape)}"


@register(Level.LDFG)
@dataclass(eq=False, kw_only=True)
class LowLevelConcat(LowLevelOp):
    """Join along n, c or h (axis 0, 1, 2), in SRAM or in DRAM.

    early: each part goes to DRAM as soon as it is made, for all of them together would not stay in SRAM.
    """

    mnemonic = "LowLevelConcat"
    inputs: tuple[Value, ...]
    axis: int
    early: bool = False


@register(*_COMMANDS)
@dataclass(eq=False, kw_only=True)
class Alloc(Op):
    """A buffer without content."""

    mnemonic = "alloc"


@register(*_COMMANDS)
@dataclass(eq=False, kw_only=True)
class Load(LowLevelOp):
    """DRAM to SRAM: a box of a DRAM tensor."""

    mnemonic = "load"
    x: Value
    box: tuple[int, ...]

    def made(self) -> Shape4:
        return Box(*self.box).shape(self.x.type.shape[3])

    def verify(self) -> Iterator[str]:
        yield from LowLevelOp.verify(self)
        yield from _leaves(self.x, self.box)
        if not isinstance(self.x.type.place, InDram) or not isinstance(self.result.type.place, InSram):
            yield "a load goes from DRAM to SRAM"


@register(*_COMMANDS)
@dataclass(eq=False, kw_only=True)
class LoadWeights(Op):
    """DRAM to SRAM, striped over all slices: packed weights or tables."""

    mnemonic = "load_weights"
    x: Value


@register(*_COMMANDS)
@dataclass(eq=False, kw_only=True)
class Store(LowLevelOp):
    """SRAM to DRAM, the whole tensor or a box of a buffer."""

    mnemonic = "store"
    x: Value

    def made(self) -> Shape4:
        return self.x.type.shape4

    def verify(self) -> Iterator[str]:
        yield from LowLevelOp.verify(self)
        if not isinstance(self.x.type.place, InSram) or not isinstance(self.result.type.place, InDram):
            yield "a store goes from SRAM to DRAM"
