"""Elements change place, never value: slices, reshapes, transposes and repeats, views of them, and the one move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from isa import instructions as isa
from isa.errors import RunError, counted
from isa.instructions import MOVE_AXES, Instruction
from isa.layout import Box, Shape4
from isa.npu import NpuConfig
from isa.operands import MAX_IMAGES
from passes.ir.op import LOW, Activation, Array, Buffer, Level, Lowering, Op, Read, Runs, Site, Value, op
from passes.ir.strides import Cut, View, cut, taken
from passes.ir.types import InDram
from passes.ops.base import alike, broadcast, four_axes, leaves, within_int8

KINDS = ("Transpose", "Reshape", "Slice", "Expand", "Concat")


@dataclass(eq=False, kw_only=True)
class Movement(Op):
    """Operand and result share their quantization."""

    x: Activation
    kind: ClassVar[str] = "Reshape"  # in profiles

    def rules(self, level: Level) -> Iterator[str]:
        yield from alike((self.x,), self.result.type.quant)
        if self.x.type.dtype is not self.result.type.dtype:
            yield f"{self.x.type.dtype} in, {self.result.type.dtype} out"


@op("slice", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Slice(Movement):
    """Take start, start + step, ... of each axis: extent `size` of them. One entry an axis; steps may be negative."""

    kind = "Slice"
    start: tuple[int, ...]
    size: tuple[int, ...]
    step: tuple[int, ...]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.size,)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        for extent, start, size, step in zip(self.x.type.shape, self.start, self.size, self.step, strict=True):
            if not (0 <= start < extent and 0 <= start + (size - 1) * step < extent):
                yield f"start {start}, size {size}, step {step} leaves an axis of {extent}"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """A slice that takes every image takes those of the batch."""
        axis = axes[self.x]
        one = self.x.type.shape[axis] // factor
        if (self.start[axis], self.size[axis], self.step[axis]) != (0, one, 1):
            return None
        self.size = scaled(self.size, axis, factor)
        return axis

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        x = read(self.x)
        for axis, (start, size, step) in enumerate(zip(self.start, self.size, self.step, strict=True)):
            x = x.take(range(start, start + size * step, step), axis)
        return (x,)

    def lower(self, low: Lowering) -> None:
        low.move(self, self.x, lambda view: view.sliced(self.start, self.size, self.step))


@op("reshape", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Reshape(Movement):
    """The same elements in row-major order under another shape: also Flatten, Squeeze and Unsqueeze."""

    to: tuple[int, ...]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.to,)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if math.prod(self.to) != self.x.type.elements:
            yield f"{counted(self.x.type.elements, 'element')} do not fill {list(self.to)}"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """The axis of the result that starts where the batch axis starts in row-major order."""
        before = math.prod(self.x.type.shape[: axes[self.x]])
        for target in range(len(self.to)):
            if math.prod(self.to[:target]) == before:
                self.to = scaled(self.to, target, factor)
                return target
        return None

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (read(self.x).reshape(self.to),)

    def lower(self, low: Lowering) -> None:
        low.move(self, self.x, lambda view: view.reshaped(self.to), keeps_order=True)


@op("transpose", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Transpose(Movement):
    """Axes in another order."""

    kind = "Transpose"
    perm: tuple[int, ...]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.x.type.shape[axis] for axis in self.perm),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if sorted(self.perm) != list(range(self.x.type.rank)):
            yield f"{list(self.perm)} is no order of {counted(self.x.type.rank, 'axis', 'axes')}"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        return self.perm.index(axes[self.x])

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (np.ascontiguousarray(read(self.x).transpose(self.perm)),)

    def lower(self, low: Lowering) -> None:
        low.move(self, self.x, lambda view: view.transposed(self.perm))


@op("expand", levels=(Level.DFG,))
@dataclass(eq=False, kw_only=True)
class Expand(Movement):
    """Repeat axes of extent 1."""

    to: tuple[int, ...]

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (broadcast(self.x.type.shape, self.to),)

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        axis = axes[self.x] + len(self.to) - self.x.type.rank
        if self.to[axis] != 1:
            self.to = scaled(self.to, axis, factor)
        return axis

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (np.ascontiguousarray(np.broadcast_to(read(self.x), self.result.type.shape)),)

    def lower(self, low: Lowering) -> None:
        shape = self.shapes()[0]
        low.move(self, self.x, lambda view: view.expanded(shape))


def scaled(shape: tuple[int, ...], axis: int, factor: int) -> tuple[int, ...]:
    """A shape with one axis longer."""
    return (*shape[:axis], shape[axis] * factor, *shape[axis + 1 :])


@op("LowLevelSlice", levels=LOW, runs=Runs.NOBODY)
@dataclass(eq=False, kw_only=True)
class LowLevelSlice(Op):
    """A box of x, all columns, without moving data. A box of a DRAM tensor becomes a load."""

    x: Activation
    box: Box

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.box.shape(self.x.type.shape[3])),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from alike((self.x,), self.result.type.quant)
        yield from leaves(self.x, self.box)
        if level is not Level.LDFG and self.loads:
            yield f"a box of a DRAM tensor is loaded at {level}"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        return (boxed(read(self.x), self.box),)

    def alias(self) -> tuple[Value, Box] | None:
        return None if self.loads else (self.x, self.box)

    @property
    def loads(self) -> bool:
        """Whether it brings a box of a DRAM tensor."""
        return isinstance(self.x.type.place, InDram)


def boxed(x: Array, box: Box) -> Array:
    """A box of a tensor: images, channels and rows; all columns."""
    n0, n, c0, c, h0, h = box
    return x[n0 : n0 + n, c0 : c0 + c, h0 : h0 + h]


@dataclass(eq=False, kw_only=True)
class IntoBuffer(Op):
    """A command whose result may be part of a buffer: the result is then the buffer `into` with a box replaced.

    at: n0, c0, h0 of the box."""

    into: Buffer | None = None
    at: tuple[int, ...] = ()

    def made(self) -> Shape4:
        """The extents of what is moved."""
        raise NotImplementedError

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(self.made()) if self.into is None else self.into.type.shape,)

    def rules(self, level: Level) -> Iterator[str]:
        if (self.into is None) != (self.at == ()):
            yield "into and at go together"
        box = self.written()
        if self.into is not None and box is not None:
            yield from leaves(self.into, box)
            if box.shape(self.into.type.shape4.w) != self.made():
                yield f"{list(self.made())} does not fill {list(box)} of {list(self.into.type.shape)}"

    def alias(self) -> tuple[Value, Box] | None:
        return None if self.into is None else (self.into, self.into.type.shape4.box)

    def written(self) -> Box | None:
        if self.into is None or len(self.at) != 3:
            return None
        (n0, c0, h0), (n, c, h, _) = self.at, self.made()
        return Box(n0, n, c0, c, h0, h)

    def placed(self, made: Array, read: Read) -> tuple[Array, ...]:
        """The result: what was moved, or the buffer with its box replaced by it."""
        if self.into is None:
            return (made,)
        buffer, box = read(self.into).copy(), self.written()
        assert box is not None
        boxed(buffer, box)[...] = made
        return (buffer,)


@op("LowLevelMove", levels=LOW)
@dataclass(eq=False, kw_only=True)
class LowLevelMove(IntoBuffer):
    """Element number i (row-major) of the result is element start + sum(index * step) of x (row-major).

    view: start, and sizes of up to six loops whose row-major count is i, with what each advances in x. kind says which
    vendor operator it is in profiles: Transpose, Reshape, Slice, Expand or Concat."""

    x: Activation
    kind: str = "Reshape"
    view: View
    shape: tuple[int, ...]

    def made(self) -> Shape4:
        return Shape4(*self.shape)

    @property
    def profiled_as(self) -> str:
        return f"LowLevel{self.kind}"

    def rules(self, level: Level) -> Iterator[str]:
        yield from alike((self.x,), self.result.type.quant)
        if self.kind not in KINDS:
            yield f"kind '{self.kind}' is not one of {', '.join(KINDS)}"
        if len(self.shape) != 4 or min(self.shape) < 1:
            yield f"shape {list(self.shape)} is no shape of four axes"
            return
        yield from super().rules(level)
        sizes, steps = self.view.sizes, self.view.steps
        if len(sizes) != len(steps) or len(sizes) > MOVE_AXES or any(size < 1 for size in sizes):
            yield f"sizes {list(sizes)} and steps {list(steps)} are not up to {MOVE_AXES} loops"
            return
        if math.prod(sizes) != math.prod(self.shape):
            yield f"loops of {list(sizes)} make {math.prod(sizes)} elements, {list(self.shape)} has other"
        first, last = self.view.reach()
        if not 0 <= first <= last < self.x.type.elements:
            yield f"reads elements {first}..{last} of {self.x.type.elements}"

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        """Reads x through strides of its row-major copy. Raises RunError where the loops leave it."""
        flat, view = read(self.x).flatten(), self.view
        first, last = view.reach()
        if not 0 <= first <= last < flat.size:  # as_strided checks nothing
            raise RunError("MoveOutsideSource", f"elements {first}..{last} of {flat.size}", at=self.loc)
        steps = [step * flat.itemsize for step in view.steps]
        made = np.lib.stride_tricks.as_strided(flat[view.start :], view.sizes, steps).reshape(self.shape)
        return self.placed(made, read)

    def cut_axes(self) -> tuple[int, ...]:
        """Those along which a piece reads a part of x: the axes that need the smallest part first."""
        if self.into is not None:
            return ()
        shape = Shape4(*self.shape)
        halves = {axis: shape.box.cut(axis, 0, -(-shape[axis] // 2)) for axis in range(3) if shape[axis] > 1}
        cuts = {axis: self._cut(half) for axis, half in halves.items()}
        share = {axis: made.extent / self.x.type.shape4[made.axis] for axis, made in cuts.items() if made is not None}
        return tuple(sorted(share, key=lambda axis: share[axis]))

    def _cut(self, piece: Box) -> Cut | None:
        """What of x a piece of the result reads; None where loops do not express it."""
        spans = ((piece.n0, piece.n), (piece.c0, piece.c), (piece.h0, piece.h))
        axis = next((a for a, (_, count) in enumerate(spans) if count != self.shape[a]), None)
        part = self.view if axis is None else taken(self.view, self.shape, axis, *spans[axis])
        if part is None:
            return None
        made = cut(part, tuple(self.x.type.shape4), range(3))
        return made if made is not None and len(made.view.loops()[0]) <= MOVE_AXES else None

    def needs(self, operand: str, piece: Box) -> Box:
        made = self._cut(piece)
        if made is None:
            return self.x.type.shape4.box
        return self.x.type.shape4.box.cut(made.axis, made.first, made.extent)

    def piece(self, piece: Box) -> dict[str, Any]:
        made = self._cut(piece)
        assert made is not None, "a piece of a move that cannot be cut"
        return {
            "shape": (piece.n, piece.c, piece.h, self.shape[3]),
            "view": View(made.view.start, *made.view.loops()),
        }

    def instructions(self, at: Site) -> Iterator[Instruction]:
        missing = MOVE_AXES - len(self.view.sizes)
        sizes, steps = (1,) * missing + self.view.sizes, (0,) * missing + self.view.steps
        loops: dict[str, int] = {f"size{i}": size for i, size in enumerate(sizes)}
        loops |= {f"step{i}": step for i, step in enumerate(steps)}
        yield isa.Move(x=at.window(self.x), y=at.target(self), start=self.view.start, **loops)


@op("pad", levels=(Level.DFG, *LOW), vendor="LowLevelPad")
@dataclass(eq=False, kw_only=True)
class Pad(Movement):
    """Surround with a constant int8 value: `before` and `after` elements on each axis."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    value: int = 0

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (tuple(b + s + a for b, s, a in zip(self.before, self.x.type.shape, self.after, strict=True)),)

    def rules(self, level: Level) -> Iterator[str]:
        yield from super().rules(level)
        if min((*self.before, *self.after), default=0) < 0:
            yield "padding is negative"
        yield from within_int8(value=self.value)
        if level is not Level.DFG:
            yield from four_axes(x=self.x)
            if self.before[0] or self.after[0]:
                yield "images are padded"

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        axis = axes[self.x]
        return None if self.before[axis] or self.after[axis] else axis

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        around = list(zip(self.before, self.after, strict=True))
        return (np.pad(read(self.x), around, constant_values=self.value),)

    def lower(self, low: Lowering) -> None:
        """Channels, rows and columns as they are; other axes two at a time, each with what is behind it as one axis."""
        x, shape = self.x, self.x.type.shape
        four = len(shape) == 4 and shape[0] <= MAX_IMAGES
        if four and not (self.before[0] or self.after[0]):
            super().lower(low)
            return
        padded = [axis for axis in range(len(shape)) if self.before[axis] or self.after[axis]]
        for axes in (padded[at : at + 2] for at in range(0, len(padded), 2)):
            x = self._padded(low, x, axes)
        Reshape(results=self.results, loc=self.loc, x=x, to=self.result.type.shape).lower(low)

    def _padded(self, low: Lowering, x: Value, axes: list[int]) -> Value:
        """x with one or two of its axes padded."""
        shape, first, last = x.type.shape, axes[0], axes[-1]
        lead, behind = math.prod(shape[:first]), math.prod(shape[last + 1 :])
        units = (1, 0)  # elements of rows and columns that one step of the axes is
        extents = (shape[first], behind)
        if first != last:
            between = math.prod(shape[first + 1 : last])
            units, extents = (between, behind), (shape[first] * between, shape[last] * behind)
        four = Value(low.fresh(f"{x.name}.parts"), x.type.shaped((1, lead, *extents)))
        Reshape(results=(four,), loc=self.loc, x=x, to=four.type.shape).lower(low)
        before, after = (
            (0, 0, amounts[first] * units[0], amounts[last] * units[1]) for amounts in (self.before, self.after)
        )
        grown = tuple(b + d + a for b, d, a in zip(before, four.type.shape, after, strict=True))
        made = Value(low.fresh(f"{x.name}.padded"), x.type.shaped(grown))
        Pad(results=(made,), loc=self.loc, x=four, before=before, after=after, value=self.value).lower(low)
        whole_axes = tuple(
            d + self.before[axis] + self.after[axis] if axis in axes else d for axis, d in enumerate(shape)
        )
        result = Value(low.fresh(f"{x.name}.padded"), x.type.shaped(whole_axes))
        Reshape(results=(result,), loc=self.loc, x=made, to=whole_axes).lower(low)
        return result

    def cut_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis in range(3) if not (self.before[axis] or self.after[axis]))

    def needs(self, operand: str, piece: Box) -> Box:
        """All of the axes that are padded."""
        n, c, h = (bool(self.before[axis] or self.after[axis]) for axis in range(3))
        box, everything = piece, self.x.type.shape4.box
        box = box._replace(n0=everything.n0, n=everything.n) if n else box
        box = box._replace(c0=everything.c0, c=everything.c) if c else box
        return box._replace(h0=everything.h0, h=everything.h) if h else box

    def instructions(self, at: Site) -> Iterator[Instruction]:
        _, c, h, w = self.before
        yield isa.Pad(x=at.window(self.x), y=at.target(self), dc=c, dh=h, dw=w, value=self.value)
