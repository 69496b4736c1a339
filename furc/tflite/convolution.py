"""CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and FULLY_CONNECTED.

Weights of old uint8 files have a zero point, and w - zero needs nine bits. The machine's weights are int8 with zero
point 0, so such weights are written as a sum of int8 weights, and the convolution reads its operand once for each of
them: as more input channels, or, where every channel has its own kernel, as more rows. The int32 sums are the same.
"""

from __future__ import annotations

import math

import numpy as np

from furc.tflite.activation import fused
from furc.tflite.model import Array, Float32, Operator, Tensor
from furc.tflite.registry import operator
from furc.tflite.windows import dilations_of, pads_of, strides_of
from furc.tflite.writer import Writer


@operator("CONV_2D")
def conv(writer: Writer, node: Operator) -> None:
    """Weights [o, kh, kw, i]; fewer input channels than the image has are groups."""
    x, w = (writer.tensor(node.inputs[i]) for i in (0, 1))
    if w.rank != 4 or x.rank != 4 or w.shape[3] < 1 or x.shape[3] % w.shape[3]:
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    _convolved(writer, node, (0, 3, 1, 2), group=x.shape[3] // w.shape[3])


@operator("DEPTHWISE_CONV_2D")
def depthwise(writer: Writer, node: Operator) -> None:
    """Weights [1, kh, kw, o]: output channel o reads input channel o // multiplier."""
    x, w = (writer.tensor(node.inputs[i]) for i in (0, 1))
    if w.rank != 4 or x.rank != 4 or w.shape[0] != 1 or x.shape[3] < 1 or w.shape[3] % x.shape[3]:
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    _convolved(writer, node, (3, 0, 1, 2), group=x.shape[3])


def _convolved(writer: Writer, node: Operator, perm: tuple[int, ...], group: int) -> None:
    number, w = node.inputs[0], writer.tensor(node.inputs[1])
    parts, scale = _weights(writer, node)
    turned = [part.transpose(perm) for part in parts]
    stride, dilation, kernel = strides_of(node), dilations_of(node), list(turned[0].shape[2:])
    pads = pads_of(node, list(writer.tensor(number).shape[1:3]), kernel, stride, dilation)
    x, weights = writer.image(number), turned[0]
    if len(turned) > 1 and group == 1:
        x, weights = writer.emit("Concat", [x] * len(turned), axis=1), np.concatenate(turned, axis=1)
    elif len(turned) > 1:
        x, weights = _rows_repeated(writer, node, x, turned)
        stride[0], kernel[0] = stride[0] * len(turned), kernel[0] * len(turned)
        pads[0], pads[2] = pads[0] * len(turned), pads[2] * len(turned)
    bias = _bias(writer, node, scale)
    made = writer.emit(
        "Conv", [writer.on_grid(number, x), _stored(writer, w, weights, scale, 0), *bias],
        kernel_shape=kernel, strides=stride, dilations=dilation, pads=pads, group=group,
    )  # fmt: skip
    writer.result(node.outputs[0], fused(writer, node, made), image=True)


def _rows_repeated(writer: Writer, node: Operator, x: str, parts: list[Array]) -> tuple[str, Array]:
    """Every row as often as there are parts, and a kernel that takes them in turn."""
    if dilations_of(node)[0] != 1:
        raise node.unsupported(
            f"{node.op} with dilation and weights with a zero point does not run on the NPU", "convert to int8"
        )  # fmt: skip
    count, (out, inner, rows, columns) = len(parts), parts[0].shape
    factors = writer.constant("factors", np.array([1, 1, count, 1], np.float32))
    repeated = writer.emit(
        "Resize", [x, "", factors], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    )
    return repeated, np.stack(parts, axis=3).reshape(out, inner, rows * count, columns)


def _weights(writer: Writer, node: Operator) -> tuple[list[Array], Float32]:
    """Weights as a sum of int8 arrays of zero point 0, and their scale; in a float model one array and no scale."""
    writer.known(node, 1)
    w, x = writer.tensor(node.inputs[1]), writer.tensor(node.inputs[0])
    if not x.quantized:
        return [w.real.astype(np.float32)], np.zeros(0, np.float32)
    if not w.quantized or w.data is None:
        raise node.unsupported(f"weights '{w.name}' of {w.dtype} for an image of {x.dtype} do not run on the NPU",
                               "convert the model as full-integer")  # fmt: skip
    shape = [1] * w.rank
    if w.zero.size > 1:
        shape[w.axis] = -1
    rest = w.data.astype(np.int64) - w.zero.reshape(shape)
    parts: list[Array] = []
    while not parts or np.any(rest):
        parts.append(np.clip(rest, -128, 127).astype(np.int8))
        rest = rest - parts[-1]
    return parts, w.scale


def _stored(writer: Writer, w: Tensor, array: Array, scale: Float32, axis: int) -> str:
    """Weights in ONNX's order. axis: of the output channels."""
    if not scale.size:
        return writer.constant("weights", array)
    return writer.stored("weights", array, scale, np.zeros(scale.size), axis if scale.size > 1 else None)


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


@operator("TRANSPOSE_CONV")
def transpose_conv(writer: Writer, node: Operator) -> None:
    """Operands: output shape, weights [o, kh, kw, i], image, bias. The pads are those of the convolution back."""
    number, w = node.inputs[2], writer.tensor(node.inputs[1])
    x, y = writer.tensor(number), writer.tensor(node.outputs[0])
    if w.rank != 4 or x.rank != 4 or y.rank != 4 or not node.has_input(1):
        raise node.invalid(f"an image of {list(x.shape)} and weights of {list(w.shape)}")
    parts, scale = _weights(writer, _as_conv(node))
    stride, kernel = strides_of(node), list(w.shape[1:3])
    spans = [(size - 1) * s + k for size, s, k in zip(x.shape[1:3], stride, kernel, strict=True)]
    over = [span - out for span, out in zip(spans, y.shape[1:3], strict=True)]
    total, extra = [max(o, 0) for o in over], [max(-o, 0) for o in over]
    weights = np.concatenate([part.transpose(3, 0, 1, 2) for part in parts], axis=0)
    operand = writer.image(number)
    if len(parts) > 1:
        operand = writer.emit("Concat", [operand] * len(parts), axis=1)
    bias = _bias(writer, node, scale, index=3)
    made = writer.emit(
        "ConvTranspose", [writer.on_grid(number, operand), _stored(writer, w, weights, scale, 1), *bias],
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
    number, w, y = node.inputs[0], writer.tensor(node.inputs[1]), writer.tensor(node.outputs[0])
    x = writer.tensor(number)
    if w.rank != 2 or w.shape[1] < 1 or math.prod(x.shape) % w.shape[1]:
        raise node.invalid(f"an operand of {list(x.shape)} and weights of {list(w.shape)}")
    parts, scale = _weights(writer, node)
    rows = math.prod(x.shape) // w.shape[1]
    operand, order = _flat(writer, number, rows, w.shape[1])
    weights = np.concatenate([part[:, order] for part in parts], axis=1)
    if len(parts) > 1:
        operand = writer.emit("Concat", [operand] * len(parts), axis=1)
    bias = _bias(writer, node, scale)
    made = writer.emit(
        "Gemm", [writer.on_grid(number, operand), _stored(writer, w, weights, scale, 0), *bias], transB=1
    )
    made = fused(writer, node, made)
    if y.shape != (rows, w.shape[0]):
        made = writer.reshaped(made, y.shape)
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
