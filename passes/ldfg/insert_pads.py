"""Pad the input of a convolution by an operator of its own, as the vendor's profiles show it.

before:
    %y = LowLevelConv2d(x=%x, ...) {kernel=(size=[3,3], pads=[1,1,1,1]), channels=8}
after:
    %x.padded = LowLevelPad(x=%x) {before=[0,0,1,1], after=[0,0,1,1], value=-3}
    %y = LowLevelConv2d(x=%x.padded, ...) {kernel=(size=[3,3]), channels=8}

ldfg -> ldfg. Needs: splits. Convolutions that pad one tensor alike share the padded one. Keeps: every value.
Leaves alone: upsampling convolutions, and padding whose result would not fit SRAM beside what it is made from."""

from __future__ import annotations

from dataclasses import replace

from passes.analysis.aliases import Aliases
from passes.analysis.footprint import WHOLE_SHARE, Room
from passes.ir.graph import Graph, Names
from passes.ir.op import Op, Value
from passes.ir.types import InDram
from passes.ops.conv import LowLevelConv2d
from passes.ops.move import Pad
from passes.options import CompileOptions

Sides = tuple[int, int, int, int]  # elements on the four axes


def insert_pads(graph: Graph, options: CompileOptions) -> Graph:
    """Put a pad before padded convolutions."""
    names, made, aliases = Names(graph.names()), dict[tuple[Value, Sides, Sides], Value](), Aliases(graph)
    ops: list[Op] = []
    for op in graph.ops:
        sides = _padding(op) if isinstance(op, LowLevelConv2d) else None
        if isinstance(op, LowLevelConv2d) and sides is not None and _fits(op, *sides, aliases, options):
            key = (op.x, *sides)
            if key not in made:
                shape = tuple(sum(axis) for axis in zip(*sides, op.x.type.shape4, strict=True))
                made[key] = Value(names.fresh(f"{op.x.name}.padded"), op.x.type.shaped(shape))
                before, after = sides
                zero = op.x.type.q.z
                ops.append(Pad(results=(made[key],), loc=op.loc, x=op.x, before=before, after=after, value=zero))
            bottom, right = op.kernel.pads[2:]
            left_out = (0, 0, min(0, bottom), min(0, right))  # rows and columns that it does not read stay so
            op.x, op.kernel = made[key], replace(op.kernel, pads=left_out)
        ops.append(op)
    graph.ops = ops
    return graph


def _padding(op: LowLevelConv2d) -> tuple[Sides, Sides] | None:
    """What surrounds the input; None where nothing does, or where it is not the same for all taps."""
    kernel, out, shape = op.kernel, op.result.type.shape4, op.x.type.shape4
    if op.up != 1 or min(kernel.pads[:2]) < 0:
        return None
    top, left = kernel.pads[:2]
    below = max(0, (out.h - 1) * kernel.stride[0] + kernel.reach[0] + 1 - top - shape.h)
    right = max(0, (out.w - 1) * kernel.stride[1] + kernel.reach[1] + 1 - left - shape.w)
    return ((0, 0, top, left), (0, 0, below, right)) if any((top, left, below, right)) else None


def _fits(op: LowLevelConv2d, before: Sides, after: Sides, aliases: Aliases, options: CompileOptions) -> bool:
    if isinstance(op.x.type.place, InDram):
        return False
    room, shape, made = Room(options.npu, options.layout_slices), op.x.type.shape4, op.result.type.shape4
    padded = room.of(shape._replace(h=shape.h + before[2] + after[2], w=shape.w + before[3] + after[3]))
    root, box = aliases.of(op.x)
    read, makes = room.of(root.type.shape4), room.of(made) + room.of_constants(op, made)
    other = max(read, makes) if box == root.type.shape4.box else read + makes  # the rest of it is still to be read
    return padded + other <= WHOLE_SHARE * room.bytes_per_slice
