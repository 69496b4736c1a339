"""Operators that only move elements: they work on the int8 values as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from furc.frontend import tables
from furc.frontend.entries import Constant, Entry, Joined, Quantized, Stored
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import checked_axis
from furc.frontend.onnx.registry import OnnxContext, operator
from isa.errors import counted
from passes.dfg.legality import MIRRORED
from passes.ir.op import Value

# Which elements stand in front of an axis, for a padding of so many; counted from its end for what stands behind it.
MIRRORS: dict[str, Callable[[int, int], list[int]]] = {
    "edge": lambda extent, count: [0 if extent > 0 else -1] * count,
    "reflect": lambda extent, count: list(range(count, 0, -1)) if extent > 0 else list(range(-2, -2 - count, -1)),
    "wrap": lambda extent, count: list(range(-count, 0)) if extent > 0 else list(range(count)),
}


@operator("Identity", "Dropout", moves=True)
def identity(context: OnnxContext, node: Node) -> Entry:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("Dropout with its mask does not run on the NPU", "export the model for inference")
    return context.entry(node, 0)


@operator("Shape")
def shape_of(context: OnnxContext, node: Node) -> Entry:
    """Shapes are static, so this is a constant."""
    shape = context.entry(node, 0).shape
    return Constant(np.array(shape[slice(node.integer("start", 0), node.attribute("end"))], np.int64))


@operator("Size")
def size_of(context: OnnxContext, node: Node) -> Entry:
    return Constant(np.array(math.prod(context.entry(node, 0).shape), np.int64))


@operator("Reshape", moves=True)
def reshape(context: OnnxContext, node: Node) -> Entry:
    x, asked = context.activation(node), context.known_ints(node, 1)
    to = list(asked)
    if not node.integer("allowzero", 0):
        to = [x.type.shape[i] if d == 0 else d for i, d in enumerate(to)]
    if to.count(-1) == 1:
        rest = math.prod(d for d in to if d != -1)
        to[to.index(-1)] = x.type.elements // rest
    if min(to, default=1) < 1 or math.prod(to) != x.type.elements:
        raise node.invalid(f"{list(x.type.shape)} does not fit into {asked}")
    return context.moved(node, context.builder.reshape(x, to, node.output, node.loc))


@operator("Flatten", moves=True)
def flatten(context: OnnxContext, node: Node) -> Entry:
    x, axis = context.activation(node), node.integer("axis", 1)
    if axis != x.type.rank:
        axis = checked_axis(axis, x.type.rank, node)
    to = (math.prod(x.type.shape[:axis]), math.prod(x.type.shape[axis:]))
    return context.moved(node, context.builder.reshape(x, to, node.output, node.loc))


def _axes(context: OnnxContext, node: Node) -> list[int]:
    """Axes are an attribute up to opset 12, a constant input from 13 on."""
    return context.known_ints(node, 1) if node.has_input(1) else node.integers("axes", ())


@operator("Squeeze", moves=True)
def squeeze(context: OnnxContext, node: Node) -> Entry:
    x, listed = context.activation(node), _axes(context, node)
    axes = {checked_axis(a, x.type.rank, node) for a in listed} or {i for i, d in enumerate(x.type.shape) if d == 1}
    if any(x.type.shape[a] != 1 for a in axes):
        raise node.invalid(f"axes {sorted(axes)} of {list(x.type.shape)} are not all 1")
    to = [d for i, d in enumerate(x.type.shape) if i not in axes]
    return context.moved(node, context.builder.reshape(x, to, node.output, node.loc))


@operator("Unsqueeze", moves=True)
def unsqueeze(context: OnnxContext, node: Node) -> Entry:
    x, listed = context.activation(node), _axes(context, node)
    rank = x.type.rank + len(listed)
    axes = {checked_axis(a, rank, node) for a in listed}
    if len(axes) != len(listed):
        raise node.invalid(f"axes {listed} name one twice")
    rest = iter(x.type.shape)
    to = [1 if i in axes else next(rest) for i in range(rank)]
    return context.moved(node, context.builder.reshape(x, to, node.output, node.loc))


@operator("Transpose", moves=True)
def transpose(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    perm = node.integers("perm", ()) or list(range(x.type.rank))[::-1]
    if sorted(perm) != list(range(x.type.rank)):
        raise node.invalid(f"perm {perm} is no order of {counted(x.type.rank, 'axis', 'axes')}")
    return context.moved(node, context.builder.transpose(x, perm, node.output, node.loc))


@operator("Slice", moves=True)
def slice_(context: OnnxContext, node: Node) -> Entry:
    x, starts, ends = context.activation(node), context.known_ints(node, 1), context.known_ints(node, 2)
    axes = context.known_ints(node, 3) or list(range(len(starts)))
    steps = context.known_ints(node, 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise node.invalid(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not go together")
    taken = [range(d) for d in x.type.shape]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        at = checked_axis(axis, x.type.rank, node)
        taken[at] = range(*slice(start, end, step).indices(x.type.shape[at]))
    return context.moved(node, context.builder.slice(x, taken, node.output, node.loc))


@operator("Split", moves=True)
def split(context: OnnxContext, node: Node) -> tuple[Entry, ...]:
    """Sizes are an attribute up to opset 12, a constant input from 13 on; without them the parts are equal."""
    x = context.activation(node)
    axis = checked_axis(node.integer("axis", 0), x.type.rank, node)
    extent, count = x.type.shape[axis], len(node.outputs)
    sizes = context.known_ints(node, 1) if node.has_input(1) else node.integers("split", ())
    if not sizes:
        part = -(-extent // count)
        sizes = [part] * (count - 1) + [extent - part * (count - 1)]
    if len(sizes) != count or sum(sizes) != extent or min(sizes) < 1:
        raise node.invalid(f"an axis of {extent} does not split into {sizes} for {counted(count, 'output')}")
    results, first = [], 0
    for name, size in zip(node.outputs, sizes, strict=True):
        taken = [range(d) for d in x.type.shape]
        taken[axis] = range(first, first + size)
        results.append(context.moved(node, context.builder.slice(x, taken, name or f"{x.name}.part", node.loc)))
        first += size
    return tuple(results)


@operator("Gather", moves=True)
def gather(context: OnnxContext, node: Node) -> Entry:
    """Indices that step evenly are a slice."""
    x, indices = context.activation(node), context.known(node, 1).astype(np.int64)
    axis = checked_axis(node.integer("axis", 0), x.type.rank, node)
    extent, flat = x.type.shape[axis], [int(i) for i in indices.reshape(-1)]
    if not flat or any(not -extent <= i < extent for i in flat):
        raise node.invalid(f"indices {flat[:8]} do not fit an axis of {extent}")
    flat = [i % extent for i in flat]
    step = flat[1] - flat[0] if len(flat) > 1 else 1
    if step == 0 or flat != [flat[0] + i * step for i in range(len(flat))]:
        raise node.unsupported(f"Gather of indices {flat[:8]} that do not step evenly does not run on the NPU")
    taken = [range(d) for d in x.type.shape]
    taken[axis] = range(flat[0], flat[0] + step * len(flat), step)
    to = (*x.type.shape[:axis], *indices.shape, *x.type.shape[axis + 1 :])
    sliced = tuple(map(len, taken))
    value = context.builder.slice(x, taken, node.output if sliced == to else f"{node.output}.slice", node.loc)
    return context.moved(node, context.builder.reshape(value, to, node.output, node.loc))


@operator("Expand", moves=True)
def expand(context: OnnxContext, node: Node) -> Entry:
    x, asked = context.activation(node), context.known_ints(node, 1)
    rank = max(x.type.rank, len(asked))
    have, want = (1,) * (rank - x.type.rank) + x.type.shape, (1,) * (rank - len(asked)) + tuple(asked)
    if any(a != b and 1 not in (a, b) for a, b in zip(have, want, strict=True)):
        raise node.invalid(f"{list(x.type.shape)} does not expand to {asked}")
    to = tuple(b if a == 1 else a for a, b in zip(have, want, strict=True))
    return context.moved(node, context.builder.expand(x, to, node.output, node.loc))


@operator("Tile", moves=True)
def tile(context: OnnxContext, node: Node) -> Entry:
    x, repeats = context.activation(node), context.known_ints(node, 1)
    if len(repeats) != x.type.rank or min(repeats, default=1) < 1:
        raise node.invalid(f"repeats {repeats} for {list(x.type.shape)}")
    return context.moved(node, context.builder.repeat(x, repeats, False, node.output, node.loc))


@operator("DepthToSpace", moves=True)
def depth_to_space(context: OnnxContext, node: Node) -> Entry:
    x, block = context.activation(node), node.integer("blocksize", 0)
    mode = node.text("mode", "DCR")
    if x.type.rank != 4 or block < 1 or x.type.shape[1] % (block * block) or mode not in ("DCR", "CRD"):
        raise node.invalid(f"blocks of {block} and mode {mode} for {list(x.type.shape)}")
    n, c, h, w = x.type.shape
    c //= block * block
    split_, order = ((n, block, block, c, h, w), (0, 3, 4, 1, 5, 2))
    if mode == "CRD":
        split_, order = ((n, c, block, block, h, w), (0, 1, 4, 2, 5, 3))
    return _regrouped(context, node, x, split_, order, (n, c, h * block, w * block))


@operator("SpaceToDepth", moves=True)
def space_to_depth(context: OnnxContext, node: Node) -> Entry:
    x, block = context.activation(node), node.integer("blocksize", 0)
    if x.type.rank != 4 or block < 1 or x.type.shape[2] % block or x.type.shape[3] % block:
        raise node.invalid(f"blocks of {block} for {list(x.type.shape)}")
    n, c, h, w = x.type.shape
    parts = (n, c, h // block, block, w // block, block)
    return _regrouped(context, node, x, parts, (0, 3, 5, 1, 2, 4), (n, c * block * block, h // block, w // block))


def _regrouped(
    context: OnnxContext, node: Node, x: Value, parts: tuple[int, ...], order: tuple[int, ...], to: tuple[int, ...]
) -> Entry:
    """Reshape, transpose, reshape."""
    x = context.builder.reshape(x, parts, f"{node.output}.parts", node.loc)
    x = context.builder.transpose(x, order, f"{node.output}.ordered", node.loc)
    return context.moved(node, context.builder.reshape(x, to, node.output, node.loc))


@operator("Pad", moves=True)
def pad(context: OnnxContext, node: Node) -> Entry:
    """Amounts and value are attributes up to opset 10, constant inputs from 11 on."""
    mode = node.text("mode", "constant")
    if mode not in ("constant", *MIRRORS):
        raise node.invalid(f"mode is '{mode}', expected constant, {', '.join(MIRRORS)}")
    x = context.activation(node)
    amounts = context.known_ints(node, 1) if node.has_input(1) else node.integers("pads", ())
    real = float(context.known(node, 2).reshape(-1)[0]) if node.has_input(2) else node.number("value", 0.0)
    axes = [checked_axis(a, x.type.rank, node) for a in context.known_ints(node, 3)] or list(range(x.type.rank))
    if len(amounts) != 2 * len(axes):
        raise node.invalid(f"{counted(len(amounts), 'amount')} for {counted(len(axes), 'axis', 'axes')}")
    before, after = [0] * x.type.rank, [0] * x.type.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = amounts[i], amounts[i + len(axes)]
    if mode != "constant":
        return context.moved(node, mirrored(context, node, x, mode, before, after, node.output))
    integer = isinstance(context.entry(node, 0), Stored)
    x, value = (x, _stored_fill(context, node, real)) if integer else _with_fill(context, node, x, real)
    return context.moved(node, context.builder.pad(x, before, after, value, node.output, node.loc))


def mirrored(
    context: OnnxContext, node: Node, x: Value, mode: str, before: list[int], after: list[int], name: str
) -> Value:
    """x between parts of itself, axis by axis; negative amounts cut elements off. name: of the result."""
    low, high = ([min(0, amount) for amount in amounts] for amounts in (before, after))
    x = context.builder.pad(x, low, high, 0, f"{node.output}.cut", node.loc)  # only cuts: 0 goes nowhere
    for axis, amounts in enumerate(zip(before, after, strict=True)):
        extent = x.type.shape[axis]
        counts = max(0, amounts[0]), max(0, amounts[1])
        if mode != "edge" and max(counts) > extent - (mode == "reflect"):
            raise node.unsupported(
                f"Pad with mode {mode} by {max(counts)}, there are {extent} elements", MIRRORED.remedy
            )
        sides = [[i % extent for i in MIRRORS[mode](s * extent, n)] for s, n in zip((1, -1), counts, strict=True)]
        parts = [*_picked(context, node, x, axis, sides[0]), x, *_picked(context, node, x, axis, sides[1])]
        x = context.builder.concat(parts, axis, f"{node.output}.padded" if axis + 1 < x.type.rank else name, node.loc)
    return x


def _picked(context: OnnxContext, node: Node, x: Value, axis: int, indices: list[int]) -> list[Value]:
    """Slices of one axis, side by side: one where indices step evenly, else one for each."""
    if not indices:
        return []
    step = indices[1] - indices[0] if len(indices) > 1 else 1
    even = step != 0 and indices == [indices[0] + i * step for i in range(len(indices))]
    groups = [range(indices[0], indices[0] + step * len(indices), step)] if even else [range(i, i + 1) for i in indices]
    made = []
    for group in groups:
        taken = [range(extent) for extent in x.type.shape]
        taken[axis] = group
        made.append(context.builder.slice(x, taken, f"{node.output}.side", node.loc))
    return made


def _stored_fill(context: OnnxContext, node: Node, stored: float) -> int:
    entry = context.entry(node, 0)
    return int(stored) - (128 if isinstance(entry, Stored) and entry.unsigned else 0)


def _with_fill(context: OnnxContext, node: Node, x: Value, real: float) -> tuple[Value, int]:
    """x and the int8 form of a padding value; x takes the quantization after the Pad where its own lacks the value."""
    fill = np.array([real], np.float32)
    quant = x.type.q
    after_it = context.quantization_after(node.output)
    exact = tables.grid(quant)[int(tables.quantized(fill, quant)[0]) + 128] == fill[0]
    if not exact and after_it is not None:
        x, quant = context.builder.requantize(x, after_it, f"{node.output}.requantized", node.loc), after_it
    return x, int(tables.quantized(fill, quant)[0])


@operator("Concat", moves=True)
def concat(context: OnnxContext, node: Node) -> Entry:
    """Parts of one quantization are joined as they are; others wait for the quantization of the result."""
    entries = [context.entry(node, i) for i in range(len(node.inputs))]
    ranks = {len(e.shape) for e in entries}
    rank = ranks.pop()
    axis = checked_axis(node.integer("axis", 0), rank, node)
    if ranks or any(_without(e.shape, axis) != _without(entries[0].shape, axis) for e in entries):
        raise node.invalid(f"shapes {[list(e.shape) for e in entries]} do not join along axis {axis}")
    values = [e.value for e in entries if isinstance(e, Quantized | Stored)]
    if len(values) == len(entries) and len({v.type.quant for v in values}) == 1:
        return context.moved(node, context.builder.concat(values, axis, node.output, node.loc))
    if any(isinstance(e, Stored) for e in entries):
        raise node.unquantized("it joins integers of different scales")
    shape = list(entries[0].shape)
    shape[axis] = sum(e.shape[axis] for e in entries)
    return Joined(parts=tuple(entries), axis=axis, shape=tuple(shape), loc=node.loc)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]
