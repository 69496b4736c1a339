"""Append ops to a dfg graph: result types, names, constants and the trivial cases of each movement op."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from furc.frontend import tables
from furc.onnx.soundness import LARGEST
from isa.errors import Loc, LowerError
from passes.ir.graph import Graph, Names, constant
from passes.ir.op import Array, Op, Value
from passes.ir.types import Quant, TensorType
from passes.ops.concat import Concat
from passes.ops.elementwise import TABLE_TYPE, Table
from passes.ops.move import Expand, Pad, Reshape, Slice, Transpose

IDENTITY = np.arange(-128, 128, dtype=np.int8)


class Builder:
    """One graph in the making. `name` arguments are wishes: a name in use gets a number."""

    def __init__(self, graph: Graph, reserved: Sequence[str] = ()) -> None:
        self.graph = graph
        self.names = Names([*graph.names(), *reserved])
        self._requantized: dict[tuple[Value, Quant], Value] = {}

    def add(self, cls: type[Op], name: str, type: TensorType, loc: Loc, **fields: object) -> Value:
        """Append one op; its result is new."""
        if min(type.shape, default=1) < 1:
            message = f"'{name}' would be {list(type.shape)}: it has no elements"
            raise LowerError("EmptyTensor", message, at=loc, hint="use a larger input")
        if math.prod(type.shape) > LARGEST:
            message = f"'{name}' is {list(type.shape)}: more than {LARGEST} elements"
            raise LowerError("TensorTooLarge", message, at=loc, hint="check the shapes the model computes")
        result = Value(self.names.fresh(name), type)
        self.graph.ops.append(cls(results=(result,), loc=loc, **fields))
        return result

    def constant(self, name: str, array: Array, type: TensorType) -> Value:
        return constant(self.graph, self.names, name, array, type)

    def table(self, x: Value, entries: Array, quant: Quant, name: str, loc: Loc) -> Value:
        """Look x up; nothing where that changes neither values nor quantization."""
        if quant == x.type.quant and np.array_equal(entries, IDENTITY):
            return x
        table = self.constant(f"{name}.table", entries, TABLE_TYPE)
        return self.add(Table, name, replace(x.type, quant=quant), loc, x=x, table=table)

    def requantize(self, x: Value, quant: Quant, name: str, loc: Loc) -> Value:
        """x under another scale or zero point: quantize(dequantize(x)), by table; made once for each quantization."""
        if x.type.quant == quant:
            return x
        if (x, quant) not in self._requantized:
            entries = tables.quantized(tables.grid(x.type.q), quant)
            self._requantized[x, quant] = self.table(x, entries, quant, name, loc)
        return self._requantized[x, quant]

    def reshape(self, x: Value, to: Sequence[int], name: str, loc: Loc) -> Value:
        shape = tuple(to)
        if shape == x.type.shape:
            return x
        return self.add(Reshape, name, x.type.shaped(shape), loc, x=x, to=shape)

    def transpose(self, x: Value, perm: Sequence[int], name: str, loc: Loc) -> Value:
        order = tuple(perm)
        if order == tuple(range(x.type.rank)):
            return x
        type = x.type.shaped(tuple(x.type.shape[axis] for axis in order))
        return self.add(Transpose, name, type, loc, x=x, perm=order)

    def slice(self, x: Value, ranges: Sequence[range], name: str, loc: Loc) -> Value:
        """ranges: the indices to take of each axis, in order."""
        if all(r == range(d) for r, d in zip(ranges, x.type.shape, strict=True)):
            return x
        size = tuple(len(r) for r in ranges)
        start, step = tuple(r.start for r in ranges), tuple(r.step for r in ranges)
        return self.add(Slice, name, x.type.shaped(size), loc, x=x, start=start, size=size, step=step)

    def expand(self, x: Value, to: Sequence[int], name: str, loc: Loc) -> Value:
        """Broadcast x to a shape of the same or a higher rank."""
        shape = tuple(to)
        if shape == x.type.shape:
            return x
        aligned = (1,) * (len(shape) - x.type.rank) + x.type.shape
        if aligned != shape:
            x = self.reshape(x, aligned, f"{name}.aligned", loc)
            return self.add(Expand, name, x.type.shaped(shape), loc, x=x, to=shape)
        return self.reshape(x, aligned, name, loc)

    def repeat(self, x: Value, axis_repeats: Sequence[int], each: bool, name: str, loc: Loc) -> Value:
        """Repeat elements (each) or whole axes, through a reshape to twice the axes, an expand and a reshape back."""
        if all(r == 1 for r in axis_repeats):
            return x
        narrow: list[int] = []
        wide: list[int] = []
        for axis, (extent, times) in enumerate(zip(x.type.shape, axis_repeats, strict=True)):
            if times == 1 and axis < 2:  # batch and channels stay as they are
                narrow, wide = [*narrow, extent], [*wide, extent]
            elif each:
                narrow, wide = [*narrow, extent, 1], [*wide, extent, times]
            else:
                narrow, wide = [*narrow, 1, extent], [*wide, times, extent]
        out = tuple(d * r for d, r in zip(x.type.shape, axis_repeats, strict=True))
        x = self.reshape(x, narrow, f"{name}.unsqueezed", loc)
        x = self.expand(x, wide, f"{name}.expanded", loc)
        return self.reshape(x, out, name, loc)

    def pad(self, x: Value, before: Sequence[int], after: Sequence[int], value: int, name: str, loc: Loc) -> Value:
        """Surround with an int8 value; negative amounts cut elements off."""
        if not any(before) and not any(after):
            return x
        kept = [range(max(0, -b), d - max(0, -a)) for d, b, a in zip(x.type.shape, before, after, strict=True)]
        grown = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
        grows = any(map(any, grown))
        x = self.slice(x, kept, f"{name}.cut" if grows else name, loc)
        if not grows:
            return x
        shape = tuple(b + d + a for d, (b, a) in zip(x.type.shape, grown, strict=True))
        low, high = tuple(b for b, _ in grown), tuple(a for _, a in grown)
        return self.add(Pad, name, x.type.shaped(shape), loc, x=x, before=low, after=high, value=value)

    def concat(self, xs: Sequence[Value], axis: int, name: str, loc: Loc) -> Value:
        if len(xs) == 1:
            return xs[0]
        shape = list(xs[0].type.shape)
        shape[axis] = sum(x.type.shape[axis] for x in xs)
        return self.add(Concat, name, xs[0].type.shaped(tuple(shape)), loc, inputs=tuple(xs), axis=axis)
