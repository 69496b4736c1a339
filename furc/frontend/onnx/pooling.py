"""MaxPool, AveragePool, and means over whole images as pools with a kernel of their size."""

from __future__ import annotations

from furc.frontend.entries import Entry, Pending
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import checked_axis
from furc.frontend.onnx.registry import OnnxContext, operator
from furc.frontend.onnx.windows import lifted, lowered_shape, read_window
from passes.ir.attributes import Kernel
from passes.ir.op import Value
from passes.ops.pool import AveragePool, MaxPool
from passes.ops.reduce import ReduceSum


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


@operator("GlobalAveragePool")
def global_average_pool(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    if x.type.rank < 3:
        raise node.invalid(f"its input is {list(x.type.shape)}")
    return _mean_over(context, node, x, list(range(2, x.type.rank)), keep=True)


@operator("ReduceMean")
def reduce_mean(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    axes = _reduced_axes(context, node, x)
    return _mean_over(context, node, x, axes, keep=_keeps(node)) if axes else context.moved(node, x)


@operator("ReduceSum")
def reduce_sum(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    axes = _reduced_axes(context, node, x)
    if not axes:
        return context.moved(node, x)
    shape, rank = x.type.shape, x.type.rank
    _check_reduction(node, shape, axes)
    image = lifted(context.builder, node, x)
    rows, columns = (axis + rank - 4 in axes for axis in (2, 3))
    n, c, h, w = image.type.shape
    inner = (n, c, 1 if rows else h, 1 if columns else w)
    outer = _reduced(shape, axes, keep=_keeps(node))
    fields = {"x": image, "rows": rows, "columns": columns}
    return Pending(op=ReduceSum, fields=fields, inner=inner, shape=outer, loc=node.loc)


def _reduced_axes(context: OnnxContext, node: Node, x: Value) -> list[int]:
    """In order; none where the node leaves its input alone. An attribute, or a constant input in new opsets."""
    listed = context.known_ints(node, 1) if node.has_input(1) else node.integers("axes", ())
    if not listed and node.integer("noop_with_empty_axes", 0):
        return []
    return sorted({checked_axis(a, x.type.rank, node) for a in listed}) or list(range(x.type.rank))


def _keeps(node: Node) -> bool:
    return bool(node.integer("keepdims", 1))


def _reduced(shape: tuple[int, ...], axes: list[int], *, keep: bool) -> tuple[int, ...]:
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
    return kept if keep else tuple(d for i, d in enumerate(kept) if i not in axes)


def _check_reduction(node: Node, shape: tuple[int, ...], axes: list[int]) -> None:
    if len(shape) not in (3, 4) or min(axes) < 2:
        raise node.unsupported(
            f"{node.op} over axes {axes} of {list(shape)} does not run on the NPU, only height, width"
        )


def _mean_over(context: OnnxContext, node: Node, x: Value, axes: list[int], *, keep: bool) -> Pending:
    shape = x.type.shape
    _check_reduction(node, shape, axes)
    image = lifted(context.builder, node, x)
    kernel = tuple(d if i + len(shape) - 4 in axes else 1 for i, d in enumerate(image.type.shape))[2:]
    window = Kernel((kernel[0], kernel[1]))
    inner, _ = _pooled(image, window, False)
    outer = _reduced(shape, axes, keep=keep)
    return _average(image, window, inner, outer, node, ceil=False, padded=False)
