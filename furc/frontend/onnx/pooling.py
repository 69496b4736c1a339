"""MaxPool and AveragePool."""

from __future__ import annotations

from furc.frontend.entries import Entry, Pending
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.registry import OnnxContext, operator
from furc.frontend.onnx.windows import lifted, lowered_shape, read_window
from passes.ir.attributes import Kernel
from passes.ir.op import Value
from passes.ops.pool import AveragePool, MaxPool


@operator("MaxPool", moves=True)
def max_pool(context: OnnxContext, node: Node) -> Entry:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise node.unsupported("MaxPool with the indices of its maxima does not run on the NPU")
    original = context.activation(node)
    x, window = _windowed(context, node, original)
    shape, ceil = _pooled(x, window, bool(node.integer("ceil_mode", 0)))
    outer = lowered_shape(shape, original.type.rank)
    name = node.output if outer == shape else f"{node.output}.inner"
    value = context.builder.add(
        MaxPool, name, x.type.shaped(shape), node.loc,
        x=x, kernel=window, ceil=ceil,
    )  # fmt: skip
    return context.moved(node, context.builder.reshape(value, outer, node.output, node.loc))


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
    x, window = _windowed(context, node, original)
    shape, ceil = _pooled(x, window, bool(node.integer("ceil_mode", 0)))
    padded = bool(node.integer("count_include_pad", 0)) and any(window.pads)
    if ceil and padded:
        raise node.unsupported(
            "AveragePool that counts padding and rounds its size up does not run on the NPU",
            "set ceil_mode to 0 and state the pads",
        )
    return _average(x, window, shape, lowered_shape(shape, original.type.rank), node, ceil=ceil, padded=padded)


def _average(
    x: Value, window: Kernel, inner: tuple[int, ...], shape: tuple[int, ...], node: Node, *, ceil: bool, padded: bool
) -> Pending:
    fields = {"x": x, "kernel": window, "ceil": ceil, "padded": padded}
    return Pending(op=AveragePool, fields=fields, inner=inner, shape=shape, loc=node.loc)
