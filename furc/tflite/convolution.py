"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED. Weights of old uint8 files have a zero point."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from furc.tflite.activation import fused
from furc.tflite.model import Array, Float32, Operator
from furc.tflite.registry import Order, operator
from furc.tflite.windows import dilations_of, pads_of, strides_of
from furc.tflite.writer import Writer


@operator("CONV_2D", order=Order.IMAGE)
def conv(writer: Writer, node: Operator) -> None:
    """Weights [o, kh, kw, i]; fewer input channels than the image has are groups."""
    x, w = (writer.tensor(node.inputs[i]) for i in (0, 1))
    if w.rank != 4 or x.rank != 4 or w.shape[3] < 1 or x.shape[3] % w.shape[3]:
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    _convolved(writer, node, (0, 3, 1, 2), group=x.shape[3] // w.shape[3])


@operator("DEPTHWISE_CONV_2D", order=Order.IMAGE)
def depthwise(writer: Writer, node: Operator) -> None:
    """Weights [1, kh, kw, o]: output channel o reads input channel o // multiplier."""
    x, w = (writer.tensor(node.inputs[i]) for i in (0, 1))
    if w.rank != 4 or x.rank != 4 or w.shape[0] != 1 or x.shape[3] < 1 or w.shape[3] % x.shape[3]:
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    _convolved(writer, node, (3, 0, 1, 2), group=x.shape[3])


def _convolved(writer: Writer, node: Operator, perm: tuple[int, ...], group: int) -> None:
    number = node.inputs[0]
    weights = _weights(writer, node, perm)
    stride, dilation, kernel = strides_of(node), dilations_of(node), list(weights.array.shape[2:])
    pads = pads_of(node, list(writer.tensor(number).shape[1:3]), kernel, stride, dilation)
    bias = _bias(writer, node, weights.scale)
    made = writer.emit(
        "Conv", [writer.on_grid(number, writer.image(number)), _stored(writer, weights, 0), *bias],
        kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads, group=group,
    )  # fmt: skip
    writer.result(node.outputs[0], fused(writer, node, made), image=True)


class Weights(NamedTuple):
    """In ONNX's order: int8 on a grid, or float32 where scale is empty."""

    array: Array
    scale: Float32
    zero: Array


def _weights(writer: Writer, node: Operator, perm: tuple[int, ...]) -> Weights:
    """The second operand, its axes in ONNX's order."""
    writer.known(node, 1)
    w, x = writer.tensor(node.inputs[1]), writer.tensor(node.inputs[0])
    if not x.quantized:
        return Weights(w.real.astype(np.float32).transpose(perm), np.zeros(0, np.float32), np.zeros(0, np.int64))
    if not w.quantized or w.data is None:
        raise node.unsupported(f"weights '{w.name}' of {w.dtype} for an image of {x.dtype} do not run on the NPU",
                               "convert the model as full-integer")  # fmt: skip
    if w.dtype == np.uint8:
        return Weights((w.data ^ np.uint8(0x80)).view(np.int8).transpose(perm), w.scale, w.zero - 128)
    return Weights(w.data.transpose(perm), w.scale, w.zero)


def _stored(writer: Writer, weights: Weights, axis: int) -> str:
    """axis: of the output channels."""
    array, scale, zero = weights
    if not scale.size:
        return writer.constant("weights", array)
    return writer.stored("weights", array, scale, np.broadcast_to(zero, scale.shape), axis if scale.size > 1 else None)


def _bias(writer: Writer, node: Operator, scale: Float32, index: int = 2) -> list[str]:
    """As the last operand of the node, where there is one. Its scale is that of the sums."""
    if not node.has_input(index):
        return []
    writer.known(node, index)
    bias, x = writer.tensor(node.inputs[index]), writer.tensor(node.inputs[0 if index == 2 else 2])
    assert bias.data is not None
    if not scale.size:
        return [writer.constant("bias", bias.real.astype(np.float32))]
    if bias.dtype != np.int32:
        raise node.unsupported(f"a bias of {bias.dtype} does not run on the NPU", "convert the model to int8 of 8 bits")
    sums = np.float32(x.scale[0]) * scale
    return [writer.stored("bias", bias.data, sums, np.zeros(sums.size), 0 if sums.size > 1 else None)]


@operator("TRANSPOSE_CONV", order=Order.IMAGE)
def transpose_conv(writer: Writer, node: Operator) -> None:
    """Operands: output shape, weights [o, kh, kw, i], image, bias. The pads are those of the convolution back."""
    number, w = node.inputs[2], writer.tensor(node.inputs[1])
    x, y = writer.tensor(number), writer.tensor(node.outputs[0])
    if w.rank != 4 or x.rank != 4 or y.rank != 4 or not node.has_input(1):
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    weights = _weights(writer, _as_conv(node), (3, 0, 1, 2))
    stride, kernel = strides_of(node), list(w.shape[1:3])
    spans = [(size - 1) * s + k for size, s, k in zip(x.shape[1:3], stride, kernel, strict=True)]
    shape = tuple(writer.known_ints(node, 0)) if y.open else y.shape
    over = [span - out for span, out in zip(spans, shape[1:3], strict=True)]
    total, extra = [max(o, 0) for o in over], [max(-o, 0) for o in over]
    bias = _bias(writer, node, weights.scale, index=3)
    made = writer.emit(
        "ConvTranspose", [writer.on_grid(number, writer.image(number)), _stored(writer, weights, 1), *bias],
        kernel_shape=kernel, strides=stride, output_padding=extra,
        pads=[t // 2 for t in total] + [t - t // 2 for t in total],
    )  # fmt: skip
    writer.result(node.outputs[0], fused(writer, node, made), image=True)


def _as_conv(node: Operator) -> Operator:
    """With image and weights where a convolution has them."""
    return Operator(op=node.op, index=node.index, label=node.label, source=node.source, options=node.options,
                    outputs=node.outputs, inputs=(node.inputs[2], node.inputs[1]))  # fmt: skip


@operator("FULLY_CONNECTED")
def fully_connected(writer: Writer, node: Operator) -> None:
    """Weights [o, k]; the operand becomes rows of k."""
    number, w = node.inputs[0], writer.tensor(node.inputs[1])
    x = writer.tensor(number)
    if w.rank != 2 or w.shape[1] < 1 or math.prod(x.shape) % w.shape[1]:
        raise node.invalid(f"an operand of {list(x.shape)} and weights of {list(w.shape)}")
    weights = _weights(writer, node, (0, 1))
    rows = math.prod(x.shape) // w.shape[1]
    operand, order = _flat(writer, number, rows, w.shape[1])
    weights = weights._replace(array=weights.array[:, order])
    bias = _bias(writer, node, weights.scale)
    made = writer.emit("Gemm", [writer.on_grid(number, operand), _stored(writer, weights, 0), *bias], transB=1)
    made = fused(writer, node, made)
    shape = writer.shape_of(node.outputs[0], rows * w.shape[0])
    if shape != (rows, w.shape[0]):
        made = writer.reshaped(made, shape)
    writer.result(node.outputs[0], made)


def _flat(writer: Writer, number: int, rows: int, inner: int) -> tuple[str, Array]:
    """The operand as rows, and in which order it has the columns: an image is not turned back, its weights are."""
    source = _image_behind(writer, number)
    if source is not None:
        image = writer.tensor(source)
        if image.shape[0] == rows:
            order = np.arange(inner).reshape(image.shape[1:]).transpose(2, 0, 1).reshape(-1)
            return writer.emit("Flatten", [writer.image(source)], axis=1), order
    name = writer.plain(number)
    if writer.tensor(number).shape != (rows, inner):
        name = writer.reshaped(name, (rows, inner))
    return name, np.arange(inner)


def _image_behind(writer: Writer, number: int) -> int | None:
    """The image of which a tensor is a reshape, in the same quantization."""
    if writer.is_image(number):
        return number
    maker = writer.makers.get(number)
    if maker is None or maker.op not in ("RESHAPE", "SQUEEZE") or not writer.is_image(maker.inputs[0]):
        return None
    source, flat = writer.tensor(maker.inputs[0]), writer.tensor(number)
    same = np.array_equal(source.scale, flat.scale) and np.array_equal(source.zero, flat.zero)
    return maker.inputs[0] if same else None
