"""Ops of dfg: the INT8 dataflow graph. Activations are int8, [n, c, h, w] or any rank where the op allows it.

Scales and zero points are on the types. `lo` and `hi` clamp the int8 result: a fused Relu or Clip. A fused table
maps the clamped int8 result once more; `mid_*` is then the quantization in front of the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from passes.ir.graph import Level, Op, Value, register
from passes.ir.types import DType

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


class DfgOp(Op):
    """An op that knows the shape of its result."""

    def shape(self) -> tuple[int, ...]:
        """The result's shape, from the operands' shapes and the attributes."""
        raise NotImplementedError

    def verify(self) -> Iterator[str]:
        """The declared shape is the one the shape rule gives."""
        yield from self.rules()
        if self.result.type.shape != self.shape():
            yield f"the result is {list(self.result.type.shape)}, the shape rule gives {list(self.shape())}"

    def rules(self) -> Iterator[str]:
        """What else must hold."""
        return iter(())


def _int8(**values: Value | None) -> Iterator[str]:
    for name, value in values.items():
        if value is not None and value.type.dtype is not DType.I8:
            yield f"{name} is {value.type.dtype}, expected i8"


def slide(size: int, kernel: int, stride: int, before: int, after: int, dilation: int, *, ceil: bool = False) -> int:
    """Output extent of a sliding kernel. Source: the ONNX operator documentation of Conv and MaxPool."""
    room = size + before + after - dilation * (kernel - 1) - 1
    steps = -(-room // stride) if ceil else room // stride
    if ceil and (steps * stride) >= size + before:  # a window must start inside the input or its left padding
        steps -= 1
    return steps + 1


@dataclass(eq=False, kw_only=True)
class HostOp(DfgOp):
    """Runs on the host, at the edge of the model: below dfg the NPU's side has four axes, the user's side its own."""

    x: Value

    def shape(self) -> tuple[int, ...]:
        return self.x.type.shape

    def verify(self) -> Iterator[str]:
        if self.x.type.elements != self.result.type.elements:
            yield f"{self.x.type.elements} elements in, {self.result.type.elements} out"


@register(*Level)
@dataclass(eq=False, kw_only=True)
class Quantize(HostOp):
    """float32 to int8 with the result's scale and zero point."""

    mnemonic = "quantize"


@register(*Level)
@dataclass(eq=False, kw_only=True)
class Dequantize(HostOp):
    """int8 to float32 with the operand's scale and zero point."""

    mnemonic = "dequantize"


@register(*Level)
@dataclass(eq=False, kw_only=True)
class Recast(HostOp):
    """uint8 to int8 or back by subtracting or adding 128; the zero point moves along."""

    mnemonic = "recast"


@register(Level.LDFG, Level.CDFG, Level.GIR)
@dataclass(eq=False, kw_only=True)
class Lower(HostOp):
    """An int8 input of the model on four axes: the runtime re-lays it anyway."""

    mnemonic = "lower"


@register(Level.LDFG, Level.CDFG, Level.GIR)
@dataclass(eq=False, kw_only=True)
class Unlower(HostOp):
    """An int8 output under the name and shape that the model gives it: the runtime re-lays it anyway."""

    mnemonic = "unlower"


HOST_OPS = (Quantize, Dequantize, Recast, Lower, Unlower)
RELAYOUTS = (Lower, Unlower)  # no work of their own: done while the runtime copies tensors to and from DRAM


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Conv2d(DfgOp):
    """Convolution. x [n, c, h, w], w int8 [o, c / group, kh, kw] symmetric, bias int32 [o] of scale sx * sw."""

    mnemonic = "conv2d"
    x: Value
    w: Value
    bias: Value | None = None
    table: Value | None = None
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    group: int = 1
    lo: int = -128
    hi: int = 127
    mid_scale: float = 0.0
    mid_zero: int = 0

    @property
    def kernel(self) -> Pair:
        return self.w.type.shape[2], self.w.type.shape[3]

    def shape(self) -> tuple[int, ...]:
        n, _, h, w = self.x.type.shape
        (kh, kw), (sh, sw), (dh, dw), (top, left, bottom, right) = self.kernel, self.stride, self.dilation, self.pads
        return n, self.w.type.shape[0], slide(h, kh, sh, top, bottom, dh), slide(w, kw, sw, left, right, dw)

    def rules(self) -> Iterator[str]:
        yield from _int8(x=self.x, w=self.w, result=self.result)
        if self.x.type.shape[1] != self.w.type.shape[1] * self.group:
            yield f"{self.x.type.shape[1]} input channels, {self.group} groups of {self.w.type.shape[1]} in the weights"
        if any(z != 0 for z in self.w.type.q.zero):
            yield "the weights are not symmetric"
        if (self.table is not None) != (self.mid_scale > 0):
            yield "a table and mid_scale go together"


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class ConvTranspose2d(DfgOp):
    """Transposed convolution. x [n, c, h, w], w int8 [c, o / group, kh, kw] symmetric, bias int32 [o]."""

    mnemonic = "conv_transpose2d"
    x: Value
    w: Value
    bias: Value | None = None
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    output_padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    group: int = 1
    lo: int = -128
    hi: int = 127

    def shape(self) -> tuple[int, ...]:
        n, _, h, w = self.x.type.shape
        (kh, kw), (dh, dw), (top, left, bottom, right) = self.w.type.shape[2:], self.dilation, self.pads
        oh = (h - 1) * self.stride[0] - top - bottom + dh * (kh - 1) + self.output_padding[0] + 1
        ow = (w - 1) * self.stride[1] - left - right + dw * (kw - 1) + self.output_padding[1] + 1
        return n, self.w.type.shape[1] * self.group, oh, ow

    def rules(self) -> Iterator[str]:
        yield from _int8(x=self.x, w=self.w, result=self.result)
        if self.x.type.shape[1] != self.w.type.shape[0]:
            yield f"{self.x.type.shape[1]} input channels, {self.w.type.shape[0]} in the weights"


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Gemm(DfgOp):
    """Fully connected. x [n, k], w int8 [o, k] symmetric, bias int32 [o] of scale sx * sw."""

    mnemonic = "gemm"
    x: Value
    w: Value
    bias: Value | None = None
    lo: int = -128
    hi: int = 127

    def shape(self) -> tuple[int, ...]:
        return self.x.type.shape[0], self.w.type.shape[0]

    def rules(self) -> Iterator[str]:
        yield from _int8(x=self.x, w=self.w, result=self.result)
        if self.x.type.rank != 2 or self.x.type.shape[1] != self.w.type.shape[1]:
            yield f"x {list(self.x.type.shape)} does not go with w {list(self.w.type.shape)}"


class BinaryOp(DfgOp):
    """Two int8 operands that broadcast as in NumPy."""

    a: Value
    b: Value

    def shape(self) -> tuple[int, ...]:
        return broadcast(self.a.type.shape, self.b.type.shape)

    def rules(self) -> Iterator[str]:
        yield from _int8(a=self.a, b=self.b, result=self.result)


def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of two operands that broadcast as in NumPy; where they do not, the longer of both."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    return tuple(max(x, y) if 1 in (x, y) or x == y else -1 for x, y in zip(left, right, strict=True))


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Add(BinaryOp):
    """a + b, requantized."""

    mnemonic = "add"
    a: Value
    b: Value
    lo: int = -128
    hi: int = 127


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Mul(BinaryOp):
    """a * b, requantized."""

    mnemonic = "mul"
    a: Value
    b: Value
    lo: int = -128
    hi: int = 127


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Table(DfgOp):
    """Look every element up: table int8 [256], indexed by x + 128. Any function of one int8 tensor."""

    mnemonic = "table"
    x: Value
    table: Value

    def shape(self) -> tuple[int, ...]:
        return self.x.type.shape

    def rules(self) -> Iterator[str]:
        yield from _int8(x=self.x, table=self.table, result=self.result)
        if self.table.type.shape != (256,):
            yield f"a table of {list(self.table.type.shape)}, expected [256]"


class PoolOp(DfgOp):
    """A kernel that slides over each channel."""

    x: Value
    kernel: Pair
    stride: Pair
    pads: Pads
    dilation: Pair
    ceil: bool

    def shape(self) -> tuple[int, ...]:
        n, c, h, w = self.x.type.shape
        (kh, kw), (sh, sw), (dh, dw), (top, left, bottom, right) = self.kernel, self.stride, self.dilation, self.pads
        return (
            n,
            c,
            slide(h, kh, sh, top, bottom, dh, ceil=self.ceil),
            slide(w, kw, sw, left, right, dw, ceil=self.ceil),
        )

    def rules(self) -> Iterator[str]:
        yield from _int8(x=self.x, result=self.result)


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class MaxPool(PoolOp):
    """Largest element under the kernel; operand and result share their quantization."""

    mnemonic = "maxpool"
    x: Value
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False
    lo: int = -128
    hi: int = 127


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class AveragePool(PoolOp):
    """Mean under the kernel, requantized. padded: padding counts in the divisor."""

    mnemonic = "avgpool"
    x: Value
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    ceil: bool = False
    padded: bool = False
    lo: int = -128
    hi: int = 127


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Concat(DfgOp):
    """Join along an axis; all share one quantization."""

    mnemonic = "concat"
    inputs: tuple[Value, ...]
    axis: int = 1

    def shape(self) -> tuple[int, ...]:
        shape = list(self.inputs[0].type.shape)
        shape[self.axis] = sum(v.type.shape[self.axis] for v in self.inputs)
        return tuple(shape)

    def rules(self) -> Iterator[str]:
        if any(v.type.quant != self.result.type.quant for v in self.inputs):
            yield "operands and result differ in quantization"


class MovementOp(DfgOp):
    """Elements change place, never value: operand and result share their quantization."""

    x: Value

    def rules(self) -> Iterator[str]:
        if self.x.type.quant != self.result.type.quant:
            yield "operand and result differ in quantization"


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Slice(MovementOp):
    """Take start, start + step, ... of each axis: extent `size` of them. One entry an axis; steps may be negative."""

    mnemonic = "slice"
    x: Value
    start: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]

    def shape(self) -> tuple[int, ...]:
        return self.size

    def rules(self) -> Iterator[str]:
        yield from MovementOp.rules(self)
        for extent, start, size, step in zip(self.x.type.shape, self.start, self.size, self.step, strict=True):
            if not (0 <= start < extent and 0 <= start + (size - 1) * step < extent):
                yield f"start {start}, size {size}, step {step} leaves an axis of {extent}"


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Pad(MovementOp):
    """Surround with a constant int8 value: `before` and `after` elements on each axis."""

    mnemonic = "pad"
    x: Value
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int = 0

    def shape(self) -> tuple[int, ...]:
        return tuple(b + s + a for b, s, a in zip(self.before, self.x.type.shape, self.after, strict=True))


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Reshape(MovementOp):
    """The same elements in row-major order under another shape: also Flatten, Squeeze and Unsqueeze."""

    mnemonic = "reshape"
    x: Value
    to: tuple[int, ...]

    def shape(self) -> tuple[int, ...]:
        return self.to

    def rules(self) -> Iterator[str]:
        yield from MovementOp.rules(self)
        if math.prod(self.to) != self.x.type.elements:
            yield f"{self.x.type.elements} elements do not fill {list(self.to)}"


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Transpose(MovementOp):
    """Axes in another order."""

    mnemonic = "transpose"
    x: Value
    perm: tuple[int, ...]

    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.type.shape[axis] for axis in self.perm)


@register(Level.DFG)
@dataclass(eq=False, kw_only=True)
class Expand(MovementOp):
    """Repeat axes of extent 1."""

    mnemonic = "expand"
    x: Value
    to: tuple[int, ...]

    def shape(self) -> tuple[int, ...]:
        return broadcast(self.x.type.shape, self.to)
