"""Operators that only move elements."""

from __future__ import annotations

import math

import numpy as np
import tflite

from furc.tflite.activation import fused
from furc.tflite.elementwise import same_order
from furc.tflite.model import Int64, Operator
from furc.tflite.registry import Order, operator
from furc.tflite.writer import TO_IMAGE, TO_PLAIN, Writer
from isa.errors import counted


@operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(writer: Writer, node: Operator) -> None:
    """The shape of the result says it all; where the file leaves some of it open, the operand does."""
    x, y = writer.tensor(node.inputs[0]), writer.tensor(node.outputs[0])
    elements = math.prod(x.shape)
    if node.op == "RESHAPE" and y.open and node.has_input(1):
        shape = _completed(writer.known_ints(node, 1), elements)
    else:
        shape = writer.shape_of(node.outputs[0], elements)
    if elements != math.prod(shape):
        raise node.invalid(f"{list(x.shape)} does not fit into {list(shape)}")
    writer.result(node.outputs[0], writer.reshaped(writer.plain(node.inputs[0]), shape))


def _completed(shape: list[int], elements: int) -> tuple[int, ...]:
    """With the one extent that may be -1."""
    others = math.prod(extent for extent in shape if extent != -1)
    return tuple(elements // others if extent == -1 and others else extent for extent in shape)


@operator("TRANSPOSE")
def transpose(writer: Writer, node: Operator) -> None:
    perm, number = writer.known_ints(node, 1), node.inputs[0]
    x = writer.tensor(number)
    if sorted(perm) != list(range(x.rank)):
        raise node.invalid(f"{perm} is no order of {counted(x.rank, 'axis', 'axes')}")
    if writer.is_image(number):
        shape = [x.shape[axis] for axis in TO_IMAGE]
        made = writer.turned(writer.image(number), shape, [TO_PLAIN[axis] for axis in perm])
    else:
        made = writer.turned(writer.plain(number), x.shape, perm)
    writer.result(node.outputs[0], made)


@operator("CONCATENATION", order=Order.EITHER)
def concatenation(writer: Writer, node: Operator) -> None:
    """The machine joins channels and rows: channels as n, c, h, w; columns where they are the rows of n, h, w, c."""
    y = writer.tensor(node.outputs[0])
    axis = _axis(node, node.option("Axis"), y.rank, False)
    image = y.rank == 4 and (axis == 3 or (axis != 2 and any(map(writer.is_image, node.inputs))))
    operands = [writer.image(i) if image else writer.plain(i) for i in node.inputs]
    made = writer.emit("Concat", operands, axis=_axis(node, axis, y.rank, image))
    writer.result(node.outputs[0], fused(writer, node, made), image=image)


@operator("PACK")
def pack(writer: Writer, node: Operator) -> None:
    x, y = writer.tensor(node.inputs[0]), writer.tensor(node.outputs[0])
    axis = _axis(node, node.option("Axis"), y.rank, False)
    shape = [*x.shape[:axis], 1, *x.shape[axis:]]
    parts = [writer.reshaped(writer.plain(number), shape) for number in node.inputs]
    writer.result(node.outputs[0], writer.emit("Concat", parts, axis=axis))


@operator("UNPACK")
def unpack(writer: Writer, node: Operator) -> None:
    x, shape = writer.plain(node.inputs[0]), writer.tensor(node.inputs[0]).shape
    axis = _axis(node, node.option("Axis"), len(shape), False)
    rest = [*shape[:axis], *shape[axis + 1 :]]
    for index, number in enumerate(node.outputs):
        part = _sliced(writer, x, {axis: slice(index, index + 1, 1)})
        writer.result(number, writer.reshaped(part, rest))


@operator("SPLIT", "SPLIT_V", order=Order.EITHER)
def split(writer: Writer, node: Operator) -> None:
    """The axis is the first operand of SPLIT, the last of SPLIT_V."""
    at, of = (0, 1) if node.op == "SPLIT" else (2, 0)
    number = node.inputs[of]
    image, rank = writer.is_image(number), writer.tensor(number).rank
    x = writer.image(number) if image else writer.plain(number)
    listed = writer.known_ints(node, at)[0]
    own, axis = _axis(node, listed, rank, False), _axis(node, listed, rank, image)
    first, whole = 0, writer.tensor(number).shape[own]
    for output in node.outputs:
        made = writer.tensor(output)
        size = made.shape[own] if own not in made.open or node.op == "SPLIT_V" else whole // len(node.outputs)
        writer.result(output, _sliced(writer, x, {axis: slice(first, first + size, 1)}), image=image)
        first += size


@operator("SLICE", order=Order.EITHER)
def slice_(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    shape = writer.tensor(node.inputs[0]).shape
    begin, size = writer.known_ints(node, 1), writer.known_ints(node, 2)
    if not len(begin) == len(size) == len(shape):
        raise node.invalid(f"begin {begin} and size {size} of {list(shape)}")
    taken = {
        _axis(node, axis, len(shape), image): slice(first, extent if count == -1 else first + count, 1)
        for axis, (first, count, extent) in enumerate(zip(begin, size, shape, strict=True))
    }
    writer.result(node.outputs[0], _sliced(writer, x, taken), image=image)


@operator("STRIDED_SLICE", order=Order.EITHER)
def strided_slice(writer: Writer, node: Operator) -> None:
    number = node.inputs[0]
    x = writer.tensor(number)
    begin, end, step = (writer.known_ints(node, i) for i in (1, 2, 3))
    if not len(begin) == len(end) == len(step) <= x.rank or 0 in step:
        raise node.invalid(f"begin {begin}, end {end} and strides {step} of {list(x.shape)}")
    if node.option("EllipsisMask") or node.option("NewAxisMask"):
        raise node.unsupported("STRIDED_SLICE with an ellipsis or a new axis does not run on the NPU")
    operand, image = same_order(writer, node)
    taken, kept = {}, list(x.shape)
    for axis, (first, last, stride) in enumerate(zip(begin, end, step, strict=True)):
        low = None if node.option("BeginMask") >> axis & 1 else first
        high = None if node.option("EndMask") >> axis & 1 else last
        if node.option("ShrinkAxisMask") >> axis & 1:
            low, stride = first % x.shape[axis], 1
            high = low + 1
        indices = range(*slice(low, high, stride).indices(x.shape[axis]))
        if not indices:
            raise node.invalid(f"nothing is left of axis {axis} of {list(x.shape)}")
        stop = indices.stop if indices.stop >= 0 else -x.shape[axis] - 1  # ONNX counts from behind as well
        taken[_axis(node, axis, x.rank, image)] = slice(indices.start, stop, indices.step)
        kept[axis] = len(indices)
    made = _sliced(writer, operand, taken)
    if node.option("ShrinkAxisMask"):
        if image:
            made = writer.turned(made, [kept[axis] for axis in TO_IMAGE], TO_PLAIN)
        made, image = writer.reshaped(made, writer.shape_of(node.outputs[0], math.prod(kept))), False
    writer.result(node.outputs[0], made, image=image)


def _sliced(writer: Writer, x: str, taken: dict[int, slice]) -> str:
    columns = ([s.start for s in taken.values()], [s.stop for s in taken.values()], list(taken),
               [s.step for s in taken.values()])  # fmt: skip
    return writer.emit("Slice", [x, *(writer.constant("slice", np.array(c, np.int64)) for c in columns)])


@operator("PAD", "PADV2", order=Order.EITHER)
def pad(writer: Writer, node: Operator) -> None:
    """PAD puts real zeros around, PADV2 a value."""
    x, image = same_order(writer, node)
    value = np.array(0, np.float32)
    if node.op == "PADV2":
        writer.known(node, 2)
        value = writer.tensor(node.inputs[2]).real.astype(np.float32).reshape(-1)[0].reshape(())
    pads, fill = (writer.constant(*c) for c in (("pads", _pads(writer, node, image)), ("value", value)))
    made = writer.emit("Pad", [x, pads, fill])
    writer.result(node.outputs[0], made, image=image)


def _pads(writer: Writer, node: Operator, image: bool) -> Int64:
    """Before all axes, then behind all, in the order that the operand is in."""
    tensor, amounts = writer.tensor(node.inputs[0]), writer.known(node, 1)
    if amounts.shape != (tensor.rank, 2):
        raise node.invalid(f"amounts of {list(amounts.shape)} for {list(tensor.shape)}")
    order = list(TO_IMAGE if image else range(tensor.rank))
    return amounts[order].T.reshape(-1).astype(np.int64)


@operator("MIRROR_PAD", order=Order.EITHER)
def mirror_pad(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    if node.option("Mode") != tflite.MirrorPadMode.REFLECT:
        raise node.unsupported("MIRROR_PAD that repeats the edge does not run on the NPU", "pad by mode REFLECT")
    pads = writer.constant("pads", _pads(writer, node, image))
    writer.result(node.outputs[0], writer.emit("Pad", [x, pads], mode="reflect"), image=image)


@operator("TILE", order=Order.EITHER)
def tile(writer: Writer, node: Operator) -> None:
    x, image = same_order(writer, node)
    rank, repeats = writer.tensor(node.inputs[0]).rank, writer.known_ints(node, 1)
    if len(repeats) != rank:
        raise node.invalid(f"{repeats} repeats of {counted(rank, 'axis', 'axes')}")
    ordered = [repeats[axis] for axis in TO_IMAGE] if image else repeats
    made = writer.emit("Tile", [x, writer.constant("repeats", np.array(ordered, np.int64))])
    writer.result(node.outputs[0], made, image=image)


@operator("BROADCAST_TO")
def broadcast_to(writer: Writer, node: Operator) -> None:
    shape = writer.constant("shape", np.array(writer.known_ints(node, 1), np.int64))
    writer.result(node.outputs[0], writer.emit("Expand", [writer.plain(node.inputs[0]), shape]))


@operator("GATHER", order=Order.EITHER)
def gather(writer: Writer, node: Operator) -> None:
    """Of the parts of one axis that the indices name."""
    if node.option("BatchDims"):
        raise node.unsupported("GATHER with indices for each of a batch does not run on the NPU")
    indices = writer.known(node, 1)
    x, image = same_order(writer, node)
    image = image and indices.ndim == 1
    x = x if image else writer.plain(node.inputs[0])
    axis = _axis(node, node.option("Axis"), writer.tensor(node.inputs[0]).rank, image)
    made = writer.emit("Gather", [x, writer.constant("indices", indices.astype(np.int64))], axis=axis)
    writer.result(node.outputs[0], made, image=image)


@operator("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR", order=Order.IMAGE)
def resize(writer: Writer, node: Operator) -> None:
    x, (height, width) = writer.image(node.inputs[0]), writer.known_ints(node, 1)
    corners, halves = node.option("AlignCorners"), node.option("HalfPixelCenters")
    n, _, _, c = writer.tensor(node.inputs[0]).shape
    nearest = node.op == "RESIZE_NEAREST_NEIGHBOR"
    half = "tf_half_pixel_for_nn" if nearest else "half_pixel"
    made = writer.emit(
        "Resize", [x, "", "", writer.constant("sizes", np.array([n, c, height, width], np.int64))],
        mode="nearest" if nearest else "linear",
        coordinate_transformation_mode="align_corners" if corners else half if halves else "asymmetric",
        **({"nearest_mode": "round_prefer_ceil" if corners else "floor"} if nearest else {}),
    )  # fmt: skip
    writer.result(node.outputs[0], made, image=True)


@operator("DEPTH_TO_SPACE", "SPACE_TO_DEPTH", order=Order.IMAGE)
def regroup(writer: Writer, node: Operator) -> None:
    op = "DepthToSpace" if node.op == "DEPTH_TO_SPACE" else "SpaceToDepth"
    made = writer.emit(op, [writer.image(node.inputs[0])], blocksize=node.option("BlockSize", 1))
    writer.result(node.outputs[0], made, image=True)


def _axis(node: Operator, axis: int, rank: int, image: bool) -> int:
    """A possibly negative axis of TFLite as 0 .. rank - 1, in the order that the operand is in."""
    if not -rank <= axis < rank:
        raise node.invalid(f"axis {axis} of a tensor of rank {rank}")
    return TO_IMAGE.index(axis % rank) if image else axis % rank
