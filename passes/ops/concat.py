"""Join tensors along an axis."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from isa import instructions as isa
from isa.errors import counted
from isa.instructions import Instruction
from isa.layout import Box
from isa.npu import NpuConfig
from isa.operands import MAX_IMAGES
from passes.ir.op import Activation, Array, Level, Lowering, Op, Read, Site, Value, op
from passes.ir.strides import View
from passes.ir.types import InDram
from passes.ops.base import ROWS, alike
from passes.ops.move import LowLevelMove, Reshape


@dataclass(eq=False, kw_only=True)
class Joined(Op):
    """All operands share one quantization, and their extents on the other axes."""

    inputs: tuple[Activation, ...]
    axis: int = 1

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        first = self.inputs[0].type.shape
        joined = sum(v.type.shape[self.axis] for v in self.inputs)
        return ((*first[: self.axis], joined, *first[self.axis + 1 :]),)

    def rules(self, level: Level) -> Iterator[str]:
        if not self.inputs:
            yield "nothing to join"
            return
        yield from alike(self.inputs, self.result.type.quant)
        first = self.inputs[0].type.shape
        if not 0 <= self.axis < len(first):
            yield f"axis {self.axis} of {counted(len(first), 'axis', 'axes')}"
            return
        for value in self.inputs:
            shape = value.type.shape
            if (*shape[: self.axis], *shape[self.axis + 1 :]) != (*first[: self.axis], *first[self.axis + 1 :]):
                yield f"{value} {list(shape)} does not go with {list(first)} along axis {self.axis}"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (np.concatenate([read(v) for v in self.inputs], self.axis),)


@op("concat", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Concat(Joined):
    """Join along an axis; all share one quantization."""

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """Images are not joined; a constant part has no batch to grow, image by image it fits."""
        axis = next(iter(axes.values()))
        if self.axis == axis or len(axes) < len(dict.fromkeys(self.inputs)):
            return None
        return super().grown(axes, factor)

    def lower(self, low: Lowering) -> None:
        """Along channels and rows as it is; along other axes as rows of [1, what is before, axis, what is behind]."""
        shape, axis = self.result.type.shape, self.axis
        wide = len(shape) > 4 or (len(shape), axis) in ((4, 3), (3, 2)) or shape[0] > MAX_IMAGES
        if not wide:
            inputs = tuple(low.value(v) for v in self.inputs)
            made = LowLevelConcat(results=(low.result(self.result),), loc=self.loc, inputs=inputs, axis=axis)
            low.emit(made, self.result)
            return
        four = Value(low.fresh(f"{self.result.name}.rows"), self.result.type.shaped(_as_rows(shape, axis)))
        parts = {value: self._part(low, value) for value in dict.fromkeys(self.inputs)}
        inputs = tuple(parts[value] for value in self.inputs)
        low.emit(LowLevelConcat(results=(low.result(four),), loc=self.loc, inputs=inputs, axis=ROWS), four)
        Reshape(results=self.results, loc=self.loc, x=four, to=shape).lower(low)

    def _part(self, low: Lowering, value: Value) -> Value:
        to = _as_rows(value.type.shape, self.axis)
        part = Value(low.fresh(f"{value.name}.rows"), value.type.shaped(to))
        Reshape(results=(part,), loc=self.loc, x=value, to=to).lower(low)
        return low.value(part)


def _as_rows(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return 1, math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@op("LowLevelConcat", levels=(Level.LDFG,))
@dataclass(eq=False, kw_only=True)
class LowLevelConcat(Joined):
    """Join along n, c or h (axis 0, 1, 2), in SRAM or in DRAM.

    early: each part goes to its place as soon as it is made, mostly for all of them together would not stay in SRAM."""

    early: bool = False

    at_once = False  # part after part

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if self.axis == 3:
            yield "tensors are not joined along columns"
        if self.early and len(dict.fromkeys(self.inputs)) != len(self.inputs) and not self._in_dram:
            yield "an early concatenation lies in DRAM"

    @property
    def _in_dram(self) -> bool:
        return isinstance(self.result.type.place, InDram)

    def needs(self, operand: str, piece: Box) -> Box:
        raise AssertionError("a concatenation is not cut: it goes to DRAM")

    def parts(self) -> Iterator[tuple[Value, tuple[int, ...]]]:
        """Each operand with n0, c0, h0 of its box in the result."""
        at = 0
        for value in self.inputs:
            yield value, tuple(at if axis == self.axis else 0 for axis in range(3))
            at += value.type.shape4[self.axis]

    def nested(self, makers: Mapping[Value, Op]) -> Iterator[tuple[Value, tuple[int, ...]]]:
        """The same with what early concatenations in DRAM join instead of what they make: it goes there at once."""
        for value, at in self.parts():
            maker = makers.get(value)
            if isinstance(maker, LowLevelConcat) and maker.early:
                for inner, more in maker.nested(makers):
                    yield inner, tuple(a + b for a, b in zip(at, more, strict=True))
            else:
                yield value, at

    def instructions(self, at: Site) -> Iterator[Instruction]:
        """What the moves of its parts will be; parts in DRAM are stored, which takes no tensor unit."""
        if self._in_dram:
            return
        target = at.window(self.result)
        for value, (n0, c0, h0) in self.parts():
            box = value.type.shape4.box._replace(n0=n0, c0=c0, h0=h0)
            yield isa.Move(
                x=at.window(value), y=target.sub(box), start=0, step5=1, size5=box.shape(target.shape.w).elements
            )


def part_move(result: Value, concat: LowLevelConcat, x: Value, into: Value, at: tuple[int, ...]) -> LowLevelMove:
    """The command that puts one part into its buffer in SRAM."""
    shape = x.type.shape4
    return LowLevelMove(
        results=(result,), loc=concat.loc, x=x, kind="Concat", view=View(0, (shape.elements,), (1,)),
        shape=tuple(shape), into=into, at=at,
    )  # fmt: skip
