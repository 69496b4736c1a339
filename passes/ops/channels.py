"""What is computed of all elements along some axes at once: softmax, norms, sums. The machine does it over channels."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isa import instructions as isa
from isa.errors import counted
from isa.execute import numerics
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from passes.ir.attributes import Clamp
from passes.ir.op import LOW, Activation, Array, Level, Lowering, Op, Read, Site, Value, op
from passes.ir.types import Quant
from passes.ops.base import IMAGES, ROWS, four_axes, int8, quantized
from passes.ops.conv import LowLevelConv2d
from passes.ops.move import Reshape
from passes.ops.turned import over_channels, turned, turned_back

KINDS = ("sum", "mean", "l2")


@dataclass(eq=False, kw_only=True)
class AlongAxis(Op):
    """Every element of the result depends on all elements of x along one axis."""

    x: Activation
    axis: int = 1
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.x.type.shape,)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)
        if not 0 <= self.axis < self.x.type.rank:
            yield f"axis {self.axis} of {counted(self.x.type.rank, 'axis', 'axes')}"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        return None if axes[self.x] == self.axis else axes[self.x]

    def of(self, x: Array) -> Array:
        """The function over axis 1 of [n, c, h, w]."""
        raise NotImplementedError

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        how = turned(self.x.type.shape, (self.axis,))
        made = self.of(read(self.x).transpose(how.perm).reshape(how.four))
        return (np.ascontiguousarray(made.reshape(how.shape).transpose(how.back)),)

    def _lower(self, low: Lowering, cls: type[LowLevelAlongChannels]) -> None:
        how = turned(self.x.type.shape, (self.axis,))
        name, type = self.result.name, self.result.type
        four = Value(low.fresh(f"{name}.channels"), type.shaped(how.four))
        x = over_channels(low, self.x, how, self.loc)
        low.emit(cls(results=(low.result(four),), loc=self.loc, x=x, clamp=self.clamp), four)
        turned_back(low, four, how.shape, how, self.result, self.loc)


@op("softmax", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Softmax(AlongAxis):
    """exp(x) over the sum of exp(x) along an axis, requantized."""

    def of(self, x: Array) -> Array:
        return softmax(x, self.x.type.q, self.result.type.q, self.clamp)

    def lower(self, low: Lowering) -> None:
        self._lower(low, LowLevelSoftmax)


@op("l2_normalize", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class L2Normalize(AlongAxis):
    """x over its Euclidean norm along an axis, requantized."""

    def of(self, x: Array) -> Array:
        return l2_normalize(x, self.x.type.q, self.result.type.q, self.clamp)

    def lower(self, low: Lowering) -> None:
        self._lower(low, LowLevelL2Normalize)


def softmax(x: Array, qx: Quant, qy: Quant, clamp: Clamp) -> Array:
    """Over channels."""
    return numerics.softmax(x, sx=qx.s, sy=qy.s, zy=qy.z, lo=clamp.lo, hi=clamp.hi)


def l2_normalize(x: Array, qx: Quant, qy: Quant, clamp: Clamp) -> Array:
    """Over channels."""
    return numerics.l2_normalize(x, zx=qx.z, sy=qy.s, zy=qy.z, lo=clamp.lo, hi=clamp.hi)


@dataclass(eq=False, kw_only=True)
class LowLevelAlongChannels(Op):
    """x and result [n, c, h, w], all channels of a pixel at once."""

    x: Activation
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.x.type.shape,)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from four_axes(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS

    def needs(self, operand: str, piece: Box) -> Box:
        return self.x.type.shape4.box._replace(n0=piece.n0, n=piece.n, h0=piece.h0, h=piece.h)


@op("LowLevelSoftmax", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelSoftmax(LowLevelAlongChannels):
    """exp(x) over the sum of exp(x) over channels, requantized."""

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (softmax(read(self.x), self.x.type.q, self.result.type.q, self.clamp),)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        x, y, lo, hi = self.x.type.q, self.result.type.q, self.clamp.lo, self.clamp.hi
        yield isa.Softmax(x=at.window(self.x), y=at.target(self), sx=x.s, sy=y.s, zy=y.z, lo=lo, hi=hi)


@op("LowLevelL2Normalize", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelL2Normalize(LowLevelAlongChannels):
    """x over its Euclidean norm over channels, requantized."""

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (l2_normalize(read(self.x), self.x.type.q, self.result.type.q, self.clamp),)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        x, y, lo, hi = self.x.type.q, self.result.type.q, self.clamp.lo, self.clamp.hi
        yield isa.L2Normalize(x=at.window(self.x), y=at.target(self), sy=y.s, zx=x.z, zy=y.z, lo=lo, hi=hi)


@op("reduce", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Reduce(Op):
    """Sum, mean or Euclidean norm (kind: sum, mean, l2) over axes, which keep an extent of 1; requantized once.

    A sum over channels is a contraction with ones: exact in int32."""

    x: Activation
    axes: tuple[int, ...]
    kind: str = "sum"
    clamp: Clamp = Clamp()

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(1 if axis in self.axes else d for axis, d in enumerate(self.x.type.shape)),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)
        if self.kind not in KINDS:
            yield f"kind '{self.kind}' is not one of {', '.join(KINDS)}"
        if not self.axes or sorted(set(self.axes)) != list(self.axes) or self.axes[-1] >= self.x.type.rank:
            yield f"axes {list(self.axes)} of {counted(self.x.type.rank, 'axis', 'axes')}, in order"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        return None if axes[self.x] in self.axes else axes[self.x]

    @property
    def contracted(self) -> int:
        """Elements that become one."""
        return math.prod(self.x.type.shape[axis] for axis in self.axes)

    def _multiplier(self) -> np.float32:
        scale = np.float32(self.x.type.q.s) / np.float32(self.result.type.q.s)
        return np.float32(scale / np.float32(self.contracted if self.kind == "mean" else 1))

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        how, x, y = turned(self.x.type.shape, self.axes), self.x.type.q, self.result.type.q
        four = read(self.x).transpose(how.perm).reshape(how.four)
        if self.kind == "l2":
            made = numerics.l2_norm(four, sx=x.s, zx=x.z, sy=y.s, zy=y.z, lo=self.clamp.lo, hi=self.clamp.hi)
        else:
            sums = (four.astype(np.int64) - x.z).sum(axis=1, keepdims=True).astype(np.int32)
            made = numerics.requantize(
                sums, np.full(1, self._multiplier(), np.float32), y.z, self.clamp.lo, self.clamp.hi
            )
        return (made.reshape(self.result.type.shape),)

    def lower(self, low: Lowering) -> None:
        how, name = turned(self.x.type.shape, self.axes), self.result.name
        n, _, h, w = how.four
        four = Value(low.fresh(f"{name}.channels"), self.result.type.shaped((n, 1, h, w)))
        x, result = over_channels(low, self.x, how, self.loc), low.result(four)
        if self.kind == "l2":
            low.emit(LowLevelL2Norm(results=(result,), loc=self.loc, x=x, clamp=self.clamp), four)
        else:
            constants: dict[str, Any] = {
                "w": low.constant(f"{name}.ones", np.ones((1, self.contracted, 1, 1), np.int8)),
                "bias": low.constant(f"{name}.bias", np.zeros(1, np.int32)),
                "multiplier": low.constant(f"{name}.multiplier", np.full(1, self._multiplier(), np.float32)),
            }
            zero = self.result.type.q.z
            made = LowLevelConv2d(
                results=(result,), loc=self.loc, x=x, channels=1, zero=zero, clamp=self.clamp, **constants
            )
            low.emit(made, four)
        Reshape(results=self.results, loc=self.loc, x=four, to=self.result.type.shape).lower(low)


@op("LowLevelL2Norm", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelL2Norm(Op):
    """The Euclidean norm over channels, requantized. x [n, c, h, w], result [n, 1, h, w]."""

    x: Activation
    clamp: Clamp = Clamp()

    timeless = ("clamp",)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        n, _, h, w = self.x.type.shape
        return ((n, 1, h, w),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from int8(x=self.x, result=self.result)
        yield from four_axes(x=self.x, result=self.result)
        yield from quantized(x=self.x, result=self.result)

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        x, y, lo, hi = self.x.type.q, self.result.type.q, self.clamp.lo, self.clamp.hi
        return (numerics.l2_norm(read(self.x), sx=x.s, zx=x.z, sy=y.s, zy=y.z, lo=lo, hi=hi),)

    def cut_axes(self) -> tuple[int, ...]:
        return IMAGES, ROWS

    def needs(self, operand: str, piece: Box) -> Box:
        return self.x.type.shape4.box._replace(n0=piece.n0, n=piece.n, h0=piece.h0, h=piece.h)

    def instructions(self, at: Site) -> Iterator[Instruction]:
        x, y = self.x.type.q, self.result.type.q
        yield isa.L2Norm(
            x=at.window(self.x), y=at.target(self), sx=x.s, sy=y.s, zx=x.z, zy=y.z, lo=self.clamp.lo, hi=self.clamp.hi
        )
