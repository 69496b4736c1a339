"""Pools, means and sums."""

from __future__ import annotations

import math

import numpy as np

from furc.tflite.activation import fused
from furc.tflite.model import Operator
from furc.tflite.registry import Order, operator
from furc.tflite.windows import pads_of, strides_of
from furc.tflite.writer import TO_IMAGE, TO_PLAIN, Writer

REDUCTIONS = {"MEAN": "ReduceMean", "SUM": "ReduceSum", "REDUCE_MAX": "ReduceMax", "REDUCE_MIN": "ReduceMin"}


@operator("MAX_POOL_2D", "AVERAGE_POOL_2D", order=Order.IMAGE)
def pool(writer: Writer, node: Operator) -> None:
    x = writer.image(node.inputs[0])
    kernel = [node.option("FilterHeight", 1), node.option("FilterWidth", 1)]
    stride = strides_of(node)
    pads = pads_of(node, list(writer.tensor(node.inputs[0]).shape[1:3]), kernel, stride, [1, 1])
    op = "MaxPool" if node.op == "MAX_POOL_2D" else "AveragePool"
    made = writer.emit(op, [x], kernel_shape=kernel, strides=stride, pads=pads)
    writer.result(node.outputs[0], fused(writer, node, made), image=True)


@operator(*REDUCTIONS)
def reduce(writer: Writer, node: Operator) -> None:
    """Axes that are to go stay as extents of 1 until the order of the others is TFLite's again."""
    number, y = node.inputs[0], writer.tensor(node.outputs[0])
    x, rank = writer.tensor(number), writer.tensor(number).rank
    image = rank == 4
    listed = writer.known_ints(node, 1)
    if any(not -rank <= axis < rank for axis in listed):
        raise node.invalid(f"axes {listed} of {list(x.shape)}")
    reduced = sorted({axis % rank for axis in listed})
    axes = sorted(TO_IMAGE.index(axis) for axis in reduced) if image else reduced
    operand = writer.image(number) if image else writer.plain(number)
    if node.op == "SUM":  # its axes are an operand from opset 13 on
        made = writer.emit("ReduceSum", [operand, writer.constant("axes", np.array(axes, np.int64))], keepdims=1)
    elif node.op == "REDUCE_MAX" and image and reduced == [1, 2]:
        made = writer.emit("MaxPool", [operand], kernel_shape=x.shape[1:3])
    else:
        made = writer.emit(REDUCTIONS[node.op], [operand], axes=axes, keepdims=1)
    if node.option("KeepDims") and y.rank == rank:
        writer.result(node.outputs[0], made, image=image)
        return
    kept = [1 if axis in reduced else extent for axis, extent in enumerate(x.shape)]
    if image:
        made = writer.turned(made, [kept[axis] for axis in TO_IMAGE], TO_PLAIN)
    writer.result(node.outputs[0], writer.reshaped(made, writer.shape_of(node.outputs[0], math.prod(kept))))
