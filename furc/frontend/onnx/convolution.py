"""Conv, ConvTranspose, Gemm and MatMul: int8 activations against constant int8 weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.frontend.entries import Constant, Entry, Pending, QuantizedConstant
from furc.frontend.onnx.elementwise import operand
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.registry import OnnxContext, operator
from furc.frontend.onnx.windows import auto_pad, lifted, lowered_shape, read_window, read_windows
from isa.errors import LowerError, counted
from isa.operands import MAX_IMAGES
from passes.ir.attributes import Kernel
from passes.ir.op import Array, Value
from passes.ir.types import DType, Quant, TensorType
from passes.ops.base import broadcast
from passes.ops.conv import Conv2d, ConvTranspose2d, Gemm
from passes.ops.matmul import MatMul

VOLUME = 5  # axes of [n, c, d, h, w]
INT32 = np.iinfo(np.int32)
SCALE_TOLERANCE = 2.0**-20  # what rounding of sx * sw in float32 may explain
SYMMETRIC = "quantize again with symmetric int8 weights: furc quantize, or weight_type=QuantType.QInt8 in onnxruntime"


class Weights(NamedTuple):
    """Constant int8 weights."""

    name: str
    stored: NDArray[np.int8]
    scale: NDArray[np.float32]  # one, or one for each output channel
    zero: int  # of all channels
    axis: int | None

    def value(self, context: OnnxContext, stored: Array, axis: int) -> Value:
        """The weights as a constant of the graph, in the order the op wants. axis: of the output channels there."""
        scale = tuple(self.scale.tolist())
        quant = Quant(scale, (self.zero,) * len(scale), None if self.axis is None else axis)
        return context.builder.constant(self.name, stored, TensorType(tuple(stored.shape), DType.I8, quant))


def read_weights(context: OnnxContext, node: Node, index: int, axis: int) -> Weights:
    """The weights of a node. axis: the one that per-channel scales must follow."""
    entry, name = context.entry(node, index), node.inputs[index]
    if isinstance(entry, Constant):
        raise node.unquantized(f"the weights '{name}' are {entry.array.dtype}, not quantized")
    if not isinstance(entry, QuantizedConstant):
        raise node.unsupported(f"{node.op} with weights that are computed ('{name}') does not run on the NPU")
    stored, zero = entry.signed()
    if stored.dtype != np.int8:
        raise node.unsupported(f"the weights '{name}' are {stored.dtype}, the NPU has int8", "quantize to int8")
    if np.any(zero != zero.flat[0]):
        message = f"the weights '{name}' have several zero points, the NPU takes one for all channels"
        raise LowerError("AsymmetricWeights", message, at=node.loc, hint=SYMMETRIC)
    if entry.axis not in (None, axis):
        message = f"the weights '{name}' have scales along axis {entry.axis}, expected the output channels, axis {axis}"
        raise node.unsupported(message, "quantize per output channel or per tensor")
    return Weights(entry.name, stored, entry.scale, int(zero.flat[0]), entry.axis)


def read_bias(context: OnnxContext, node: Node, index: int, x: Value, weights: Weights, channels: int) -> Value | None:
    """The bias as int32 [channels] of scale sx * sw; None where the node has none."""
    if not node.has_input(index):
        return None
    entry, name = context.entry(node, index), node.inputs[index]
    if not isinstance(entry, Constant | QuantizedConstant):
        raise node.unsupported(f"{node.op} with a bias that is computed ('{name}') does not run on the NPU")
    scale: NDArray[np.float32] = np.broadcast_to(np.float32(x.type.q.s) * weights.scale, (channels,))
    shape = entry.shape
    if math.prod(shape) not in (1, channels) or (shape and shape[-1] not in (1, channels)):
        raise node.unsupported(
            f"a bias of {list(shape)} for {counted(channels, 'output channel')} does not run on the NPU"
        )
    beta = node.number("beta", 1.0)
    if beta != 1.0:
        entry = Constant(entry.array * np.float32(beta))
    stored = np.broadcast_to(_bias_integers(entry, scale), (channels,)).astype(np.int32)
    scales = tuple(scale.tolist())
    quant = Quant(scales, (0,) * channels, 0) if len(weights.scale) > 1 else Quant(scales[:1], (0,))
    hint = entry.name if isinstance(entry, QuantizedConstant) else name
    return context.builder.constant(hint, stored, TensorType((channels,), DType.I32, quant))


def _bias_integers(entry: Constant | QuantizedConstant, scale: NDArray[np.float32]) -> Array:
    """int32 of the wanted scale: as stored where its own scale is that one, else rounded from the real values."""
    if isinstance(entry, QuantizedConstant) and entry.stored.dtype == np.int32 and not entry.zero.any():
        own = np.broadcast_to(entry.scale, scale.shape)
        if np.array_equal(own, scale) or np.allclose(own, scale, rtol=SCALE_TOLERANCE, atol=0):
            return entry.stored.reshape(-1)
    real = entry.array.astype(np.float32).reshape(-1)
    rounded: Array = np.clip(np.rint(real / scale).astype(np.float64), INT32.min, INT32.max)
    return rounded


@operator("Conv")
def conv(context: OnnxContext, node: Node) -> Entry:
    original = context.activation(node)
    weights, group = read_weights(context, node, 1, axis=0), node.integer("group", 1)
    kernel = weights.stored.shape[2:]
    if node.integers("kernel_shape", kernel) != list(kernel):
        raise node.invalid(f"kernel_shape is {node.integers('kernel_shape', kernel)}, the weights have {list(kernel)}")
    if original.type.rank == VOLUME:
        return contract_volume(context, node, original, weights, group)
    x = lifted(context.builder, node, original)
    window = read_window(node, original.type.shape[2:], kernel)
    stored = weights.stored.reshape(*weights.stored.shape[:2], *window.size)
    channels = stored.shape[0]
    _check_groups(node, group, x.type.shape[1], stored.shape[1] * group, channels)
    w = weights.value(context, stored, 0)
    bias = read_bias(context, node, 2, x, weights, channels)
    n, _, height, width = x.type.shape
    inner = (n, channels, *window.slides(height, width))
    return Pending(
        op=Conv2d,
        fields={"x": x, "w": w, "bias": bias, "kernel": window, "group": group},
        inner=inner,
        shape=lowered_shape(inner, original.type.rank),
        loc=node.loc,
    )


def contract_volume(context: OnnxContext, node: Node, x: Value, weights: Weights, group: int) -> Pending:
    """Over three axes as over two: each plane of the result is an image, the planes its kernel sees are channels."""
    builder = context.builder
    if weights.stored.ndim != VOLUME:
        raise node.invalid(f"weights of {list(weights.stored.shape)} for {list(x.type.shape)}")
    channels, per_group, kd, *_ = weights.stored.shape
    _check_groups(node, group, x.type.shape[1], per_group * group, channels)
    depth, plane = read_windows(node, x.type.shape[2:], weights.stored.shape[2:])
    pads = (0, 0, depth.pads[0], 0, 0), (0, 0, depth.pads[2], 0, 0)
    x = builder.pad(x, *pads, x.type.q.z, f"{node.output}.padded", node.loc)
    n, c, d, h, w = x.type.shape
    planes = (d - (kd - 1) * depth.dilation[0] - 1) // depth.stride[0] + 1
    if planes < 1:
        raise node.invalid(f"a kernel over {kd} of {d} planes")
    taps = []
    for tap in range(kd):
        first = tap * depth.dilation[0]
        seen = range(first, first + (planes - 1) * depth.stride[0] + 1, depth.stride[0])
        taken = [range(n), range(c), seen, range(h), range(w)]
        part = builder.slice(x, taken, f"{node.output}.tap", node.loc)
        taps.append(builder.reshape(part, (n * c, 1, planes, h * w), f"{node.output}.tap", node.loc))
    x = builder.concat(taps, 1, f"{node.output}.taps", node.loc)
    x = builder.reshape(x, (n, c * kd, planes, h * w), f"{node.output}.seen", node.loc)
    x = builder.transpose(x, (0, 2, 1, 3), f"{node.output}.turned", node.loc)
    x = builder.reshape(x, (n * planes, c * kd, h, w), f"{node.output}.images", node.loc)
    stored = weights.stored.reshape(channels, per_group * kd, *plane.size)
    fields = {
        "x": x, "w": weights.value(context, stored, 0), "bias": read_bias(context, node, 2, x, weights, channels),
        "kernel": plane, "group": group,
    }  # fmt: skip
    rows, columns = plane.slides(h, w)
    inner, outer = (n * planes, channels, rows, columns), (n, channels, planes, rows, columns)
    return Pending(
        op=Conv2d, fields=fields, inner=inner, shape=outer, loc=node.loc,
        laid=(n, planes, channels, rows * columns), perm=(0, 2, 1, 3),
    )  # fmt: skip


def _check_groups(node: Node, group: int, have: int, need: int, out: int) -> None:
    if group < 1 or have != need or out % group:
        channels = f"{counted(have, 'input channel')}, {counted(out, 'output channel')}"
        raise node.invalid(f"{channels} and group {group} do not go with its weights")


@operator("ConvTranspose")
def conv_transpose(context: OnnxContext, node: Node) -> Entry:
    original = context.activation(node)
    x = lifted(context.builder, node, original)
    weights = read_weights(context, node, 1, axis=1)
    group = node.integer("group", 1)
    if group > 1 and weights.axis is not None:
        raise node.unsupported(
            "a grouped ConvTranspose has one scale for several output channels", "quantize it per tensor"
        )
    kernel, spatial = list(weights.stored.shape[2:]), original.type.shape[2:]
    axes = len(kernel)
    if len(spatial) != axes or node.integers("kernel_shape", kernel) != kernel:
        raise node.invalid(f"kernel_shape does not go with weights of {list(weights.stored.shape)}")
    stride, dilation = node.integers("strides", [1] * axes), node.integers("dilations", [1] * axes)
    extra = node.integers("output_padding", [0] * axes)
    if min((*stride, *dilation)) < 1:
        raise node.invalid(f"strides {stride} and dilations {dilation} must be positive")
    spans = [
        (size - 1) * s + d * (k - 1) + 1 + e
        for size, s, d, k, e in zip(spatial, stride, dilation, kernel, extra, strict=True)
    ]
    pads = _transposed_pads(node, spatial, stride, spans)
    missing = [0] * (2 - axes)
    one = [1] * (2 - axes)
    before, after, add = missing + pads[:axes], missing + pads[axes:], missing + extra
    out = one + [span - p - q for span, p, q in zip(spans, pads[:axes], pads[axes:], strict=True)]
    stored = weights.stored.reshape(*weights.stored.shape[:2], *one, *kernel)
    channels = stored.shape[1] * group
    _check_groups(node, group, x.type.shape[1], stored.shape[0], channels)
    fields = {
        "x": x,
        "w": weights.value(context, stored, 1),
        "bias": read_bias(context, node, 2, x, weights, channels),
        "kernel": Kernel(_two(one + kernel), _two(one + stride), (*_two(before), *_two(after)), _two(one + dilation)),
        "output_padding": _two(add),
        "group": group,
    }
    inner = (x.type.shape[0], channels, *out)
    shape = lowered_shape(inner, original.type.rank)
    return Pending(op=ConvTranspose2d, fields=fields, inner=inner, shape=shape, loc=node.loc)


def _two(values: Sequence[int]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns


def _transposed_pads(
    node: Node, spatial: tuple[int, ...], stride: list[int], spans: list[int]
) -> list[int]:  # fmt: skip
    """Pads before, then after. spans: what the op would make without pads."""
    axes, mode = len(spatial), auto_pad(node)
    wanted = node.integers("output_shape", ())[-axes:]
    if not wanted and mode == "VALID":
        return [0] * 2 * axes
    if not wanted and mode == "NOTSET":
        return node.integers("pads", [0] * 2 * axes)
    wanted = wanted or [size * s for size, s in zip(spatial, stride, strict=True)]
    total = [span - want for span, want in zip(spans, wanted, strict=True)]
    if min(total) < 0:  # what is missing is padded behind
        return [max(0, t) // 2 for t in total] + [t - max(0, t) // 2 for t in total]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return less + more if mode == "SAME_UPPER" else more + less


@operator("Gemm")
def gemm(context: OnnxContext, node: Node) -> Entry:
    """alpha goes into the scale of the weights, beta into the bias."""
    transposed = bool(node.integer("transB", 0))
    weights = _scaled(read_weights(context, node, 1, axis=0 if transposed else 1), node)
    stored = weights.stored if transposed else weights.stored.T
    return _product(context, node, weights, stored, turn=bool(node.integer("transA", 0)))


def _scaled(weights: Weights, node: Node) -> Weights:
    alpha = node.number("alpha", 1.0)
    if alpha == 1.0:
        return weights
    stored, zero = (weights.stored, weights.zero) if alpha > 0 else (-np.maximum(weights.stored, -127), -weights.zero)
    if alpha == 0 or (alpha < 0 and (weights.stored.min(initial=0) < -127 or weights.zero == -128)):
        raise node.unsupported(f"Gemm with alpha {alpha:g} does not run on the NPU", "fold it into the weights")
    return weights._replace(stored=stored, zero=zero, scale=weights.scale * np.float32(abs(alpha)))


@operator("MatMul")
def matmul(context: OnnxContext, node: Node) -> Entry:
    """With a constant matrix on the right a Gemm, else the product of two activations."""
    right = context.entry(node, 1)
    if not isinstance(right, Constant) and not (isinstance(right, QuantizedConstant) and len(right.shape) == 2):
        return _activations(context, node)
    weights = read_weights(context, node, 1, axis=1)
    return _product(context, node, weights, weights.stored.T)


def _activations(context: OnnxContext, node: Node) -> Entry:
    """As numpy.matmul: a vector is a row on the left, a column on the right; axes before the last two broadcast."""
    a, b = operand(context, node, 0), operand(context, node, 1)
    if not a.type.shape or not b.type.shape:
        raise node.invalid("MatMul of a scalar")
    left = a.type.shape if a.type.rank > 1 else (1, *a.type.shape)
    right = b.type.shape if b.type.rank > 1 else (*b.type.shape, 1)
    batch = broadcast(left[:-2], right[:-2])
    if -1 in batch or left[-1] != right[-2]:
        raise node.invalid(f"{list(a.type.shape)} times {list(b.type.shape)} does not go together")
    rows, columns = (left[-2],) * (a.type.rank > 1), (right[-1],) * (b.type.rank > 1)
    values = [_on_four_axes(context, node, v, s, batch) for v, s in ((a, left), (b, right))]
    inner = (*_two_batches(batch), left[-2], right[-1])
    fields = {"a": values[0], "b": values[1]}
    return Pending(op=MatMul, fields=fields, inner=inner, shape=(*batch, *rows, *columns), loc=node.loc)


def _two_batches(batch: tuple[int, ...]) -> tuple[int, int]:
    """Axes before the last two as images and channels: the first is images where the machine has so many."""
    first = batch[0] if batch and batch[0] <= MAX_IMAGES else 1
    return first, math.prod(batch) // first


def _on_four_axes(
    context: OnnxContext, node: Node, x: Value, shape: tuple[int, ...], batch: tuple[int, ...]
) -> Value:  # fmt: skip
    """x [..., rows, columns] as [n, c, rows, columns]; repeated where axes that become one differ."""
    n, _ = _two_batches(batch)
    own = (1,) * (len(batch) - (len(shape) - 2)) + shape[:-2]
    x = context.builder.reshape(x, (*own, *shape[-2:]), f"{x.name}.aligned", node.loc)
    merged = own if n == 1 else own[1:]
    wanted = batch if n == 1 else batch[1:]
    if merged != wanted and math.prod(merged) != 1:
        lead = () if n == 1 else own[:1]
        x = context.builder.expand(x, (*lead, *wanted, *shape[-2:]), f"{x.name}.repeated", node.loc)
        merged = wanted
    images = 1 if n == 1 else own[0]
    to = (images, math.prod(merged), *shape[-2:])
    return context.builder.reshape(x, to, f"{x.name}.matrices", node.loc)


def _product(context: OnnxContext, node: Node, weights: Weights, stored: Array, *, turn: bool = False) -> Entry:
    """x [..., k] times stored [o, k] transposed: axes but the last become rows of a Gemm. turn: x is [k, rows]."""
    x = context.activation(node)
    if turn:
        x = context.builder.transpose(x, (1, 0), f"{node.output}.turned", node.loc)
    shape, (out, inner) = x.type.shape, stored.shape
    if not shape or shape[-1] != inner:
        raise node.invalid(f"{list(shape)} times {list(weights.stored.shape)} does not go together")
    rows = math.prod(shape[:-1])
    flat = context.builder.reshape(x, (rows, inner), f"{x.name}.rows", node.loc)
    bias = read_bias(context, node, 2, flat, weights, out)
    return Pending(
        op=Gemm,
        fields={"x": flat, "w": weights.value(context, stored, 0), "bias": bias},
        inner=(rows, out),
        shape=(*shape[:-1], out),
        loc=node.loc,
    )
