"""MaxPool and AveragePool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from furc.frontend.entries import Entry, Pending
from furc.frontend.onnx.convolution import Weights, contract_volume
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.registry import OnnxContext, operator
from furc.frontend.onnx.windows import lifted, lowered_shape, read_window, read_windows
from passes.dfg.legality import COUNTED
from passes.ir.attributes import Kernel
from passes.ir.op import Value
from passes.ops.move import Pad
from passes.ops.pool import AveragePool, MaxPool

VOLUME = 5  # axes of [n, c, d, h, w]


@operator("MaxPool", moves=True)
def max_pool(context: OnnxContext, node: Node) -> Entry:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("MaxPool with the indices of its maxima does not run on the NPU")
    original = context.activation(node)
    if original.type.rank == VOLUME:
        return _volume(context, node, original)
    x, window = _windowed(context, node, original)
    shape, ceil = _pooled(x, window, bool(node.integer("ceil_mode", 0)))
    outer = lowered_shape(shape, original.type.rank)
    name = node.output if outer == shape else f"{node.output}.inner"
    value = context.builder.add(
        MaxPool, name, x.type.shaped(shape), node.loc,
        x=x, kernel=window, ceil=ceil,
    )  # fmt: skip
    return context.moved(node, context.builder.reshape(value, outer, node.output, node.loc))


def _volume(context: OnnxContext, node: Node, x: Value) -> Entry:
    """Over rows and columns of each plane, then over planes: the largest of the largest."""
    kernel, up = node.integers("kernel_shape", ()), bool(node.integer("ceil_mode", 0))
    depth, plane = read_windows(node, x.type.shape[2:], kernel)
    n, c, d, h, w = x.type.shape
    x = context.builder.reshape(x, (n, c * d, h, w), f"{node.output}.planes", node.loc)
    x = _max(context, node, x, plane, up, f"{node.output}.flat")
    _, _, h, w = x.type.shape
    x = context.builder.reshape(x, (n, c, d, h * w), f"{node.output}.depth", node.loc)
    x = _max(context, node, x, depth, up, f"{node.output}.deep")
    return context.moved(node, context.builder.reshape(x, (n, c, x.type.shape[2], h, w), node.output, node.loc))


def _max(context: OnnxContext, node: Node, x: Value, window: Kernel, up: bool, name: str) -> Value:
    shape, ceil = _pooled(x, window, up)
    return context.builder.add(MaxPool, name, x.type.shaped(shape), node.loc, x=x, kernel=window, ceil=ceil)


def _windowed(context: OnnxContext, node: Node, original: Value) -> tuple[Value, Kernel]:
    x = lifted(context.builder, node, original)
    return x, read_window(node, original.type.shape[2:], node.integers("kernel_shape", ()))


def _pooled(x: Value, window: Kernel, ceil: bool) -> tuple[tuple[int, int, int, int], bool]:
    """The pool's shape, and whether rounding up makes a difference."""
    n, c, h, w = x.type.shape
    rounded, exact = (window.slides(h, w, ceil=up) for up in (ceil, False))
    return (n, c, *rounded), rounded != exact


@operator("AveragePool")
def average_pool(context: OnnxContext, node: Node) -> Entry:
    original = context.activation(node)
    if original.type.rank == VOLUME:
        return _mean_of_volume(context, node, original)
    x, window = _windowed(context, node, original)
    shape, ceil = _pooled(x, window, bool(node.integer("ceil_mode", 0)))
    padded = bool(node.integer("count_include_pad", 0)) and any(window.pads)
    if ceil and padded:
        x, window = _with_padding(context, node, x, window, shape)
        ceil, padded = window.slides(*x.type.shape[2:]) != shape[2:], False
    return _average(x, window, shape, lowered_shape(shape, original.type.rank), node, ceil=ceil, padded=padded)


def _with_padding(
    context: OnnxContext, node: Node, x: Value, window: Kernel, shape: tuple[int, ...]
) -> tuple[Value, Kernel]:
    """Zeros as elements, so that they count, and what windows reach beyond them does not. Below and on the right no
    more of them than the last window that is made reads: ONNX makes none that would begin there."""
    before = (0, 0, *window.pads[:2])
    after = [0, 0]
    for axis, pad in ((0, window.pads[2]), (1, window.pads[3])):
        read = (shape[2 + axis] - 1) * window.stride[axis] + window.reach[axis] + 1
        after.append(min(max(0, read - before[2 + axis] - x.type.shape[2 + axis]), pad))
    grown = tuple(b + extent + a for b, extent, a in zip(before, x.type.shape, after, strict=True))
    padded = context.builder.add(
        Pad, f"{node.output}.padded", x.type.shaped(grown), node.loc,
        x=x, before=before, after=tuple(after), value=x.type.q.z,
    )  # fmt: skip
    return padded, replace(window, pads=(0, 0, 0, 0))


def _mean_of_volume(context: OnnxContext, node: Node, x: Value) -> Entry:
    """A contraction with ones, channel by channel: where every window has as many elements that count."""
    kernel, spatial = node.integers("kernel_shape", ()), x.type.shape[2:]
    windows, up = read_windows(node, spatial, kernel), bool(node.integer("ceil_mode", 0))
    planes = ((spatial[0], 1), spatial[1:])
    rounds = up and any(k.slides(*p) != k.slides(*p, ceil=True) for k, p in zip(windows, planes, strict=True))
    padded = any(any(window.pads) for window in windows) and not node.integer("count_include_pad", 0)
    if rounds or padded:
        why = "rounds its size up" if rounds else "leaves padding out of the mean"
        raise node.unsupported(f"AveragePool over 3 axes that {why} does not run on the NPU", COUNTED.remedy)
    channels = x.type.shape[1]
    scale = np.array([1 / np.prod(kernel)], np.float32)
    ones = Weights(f"{node.output}.ones", np.ones((channels, 1, *kernel), np.int8), scale, 0, None)
    return contract_volume(context, node, x, ones, channels)


def _average(
    x: Value, window: Kernel, inner: tuple[int, ...], shape: tuple[int, ...], node: Node, *, ceil: bool, padded: bool
) -> Pending:
    fields = {"x": x, "kernel": window, "ceil": ceil, "padded": padded}
    return Pending(op=AveragePool, fields=fields, inner=inner, shape=shape, loc=node.loc)
