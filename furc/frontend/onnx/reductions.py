"""Softmax, norms, sums, means and maxima along axes: each result depends on all elements along some axes."""

from __future__ import annotations

import math

from furc.frontend.entries import Entry, Pending
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.quantization import checked_axis
from furc.frontend.onnx.registry import OnnxContext, operator
from furc.frontend.onnx.windows import lifted
from passes.dfg.legality import MAXIMA, ORDER, no_pool
from passes.ir.attributes import Kernel
from passes.ir.op import Op, Value
from passes.ops.channels import L2Normalize, Reduce, Softmax
from passes.ops.pool import AveragePool, MaxPool
from passes.ops.reduce import ReduceSum

MOST_UNDER_KERNEL = 1024  # rows or columns: larger images are summed as channels
SPATIAL = (2, 3)


@operator("Softmax")
def softmax(context: OnnxContext, node: Node) -> Entry:
    """Up to opset 12 all axes from `axis` on are one."""
    x, outer = context.activation(node), context.entry(node, 0).shape
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    if node.opset >= 13:
        return _along(node, Softmax, x, checked_axis(axis, len(outer), node), outer)
    axis = axis if axis == len(outer) else checked_axis(axis, len(outer), node)
    flat = (math.prod(outer[:axis]), math.prod(outer[axis:]))
    return _along(node, Softmax, context.builder.reshape(x, flat, f"{node.output}.flat", node.loc), 1, outer)


@operator("LpNormalization")
def lp_normalization(context: OnnxContext, node: Node) -> Entry:
    if node.integer("p", 2) != 2:
        raise node.unsupported(f"LpNormalization with p {node.integer('p', 2)}: Warboy accelerates p = 2", ORDER.remedy)
    x = context.activation(node)
    return _along(node, L2Normalize, x, checked_axis(node.integer("axis", -1), x.type.rank, node), x.type.shape)


def _along(node: Node, cls: type[Op], x: Value, axis: int, outer: tuple[int, ...]) -> Pending:
    return Pending(op=cls, fields={"x": x, "axis": axis}, inner=x.type.shape, shape=outer, loc=node.loc)


@operator("GlobalAveragePool")
def global_average_pool(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    if x.type.rank < 3:
        raise node.invalid(f"its input is {list(x.type.shape)}")
    return _reduced(context, node, x, list(range(2, x.type.rank)), "mean", keep=True)


@operator("GlobalMaxPool", moves=True)
def global_max_pool(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    if x.type.rank < 3:
        raise node.invalid(f"its input is {list(x.type.shape)}")
    return _largest(context, node, x, list(range(2, x.type.rank)), keep=True)


@operator("ReduceMax", moves=True)
def reduce_max(context: OnnxContext, node: Node) -> Entry:
    x = context.activation(node)
    axes, keep = _axes(context, node, x), bool(node.integer("keepdims", 1))
    return _largest(context, node, x, axes, keep=keep) if axes else context.moved(node, x)


@operator("ReduceMean")
def reduce_mean(context: OnnxContext, node: Node) -> Entry:
    return _reduction(context, node, "mean")


@operator("ReduceSum")
def reduce_sum(context: OnnxContext, node: Node) -> Entry:
    return _reduction(context, node, "sum")


@operator("ReduceL2")
def reduce_l2(context: OnnxContext, node: Node) -> Entry:
    return _reduction(context, node, "l2")


def _reduction(context: OnnxContext, node: Node, kind: str) -> Entry:
    x = context.activation(node)
    axes = _axes(context, node, x)
    keep = bool(node.integer("keepdims", 1))
    return _reduced(context, node, x, axes, kind, keep=keep) if axes else context.moved(node, x)


def _largest(context: OnnxContext, node: Node, x: Value, axes: list[int], *, keep: bool) -> Entry:
    """A pool under one window: of rows and columns as they are, of other neighbouring axes as the rows of an image."""
    shape, first, behind = x.type.shape, axes[0], axes[-1] + 1
    problem = no_pool(node.op, shape, axes)
    if problem is not None:
        raise node.unsupported(problem, MAXIMA.remedy)
    n, missing = shape[0], 4 - x.type.rank
    if x.type.rank in (3, 4) and first >= 2:
        image = lifted(context.builder, node, x)
        rows, columns = (axis - missing in axes for axis in SPATIAL)
    else:
        flat = (n, math.prod(shape[1:first]), math.prod(shape[first:behind]), math.prod(shape[behind:]))
        image = context.builder.reshape(x, flat, f"{node.output}.image", node.loc)
        rows, columns = True, False
    _, c, h, w = image.type.shape
    window = Kernel((h if rows else 1, w if columns else 1))
    pooled = (n, c, 1 if rows else h, 1 if columns else w)
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    outer = kept if keep else tuple(extent for axis, extent in enumerate(kept) if axis not in axes)
    name = node.output if outer == pooled else f"{node.output}.inner"
    value = context.builder.add(MaxPool, name, image.type.shaped(pooled), node.loc, x=image, kernel=window, ceil=False)
    return context.moved(node, context.builder.reshape(value, outer, node.output, node.loc))


def _axes(context: OnnxContext, node: Node, x: Value) -> list[int]:
    """In order; none where the node leaves its input alone. An attribute, or a constant input in new opsets."""
    listed = context.known_ints(node, 1) if node.has_input(1) else node.integers("axes", ())
    if not listed and node.integer("noop_with_empty_axes", 0):
        return []
    return sorted({checked_axis(a, x.type.rank, node) for a in listed}) or list(range(x.type.rank))


def _reduced(context: OnnxContext, node: Node, x: Value, axes: list[int], kind: str, *, keep: bool) -> Pending:
    """Rows and columns are pooled; whatever else is there becomes channels, which are contracted."""
    shape, missing = x.type.shape, 4 - x.type.rank
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    outer = kept if keep else tuple(extent for axis, extent in enumerate(kept) if axis not in axes)
    spatial = x.type.rank in (3, 4) and min(axes) >= 2 and max(shape[a] for a in axes) <= MOST_UNDER_KERNEL
    if kind == "l2" or not spatial:
        fields: dict[str, object] = {"x": x, "axes": tuple(axes), "kind": kind}
        return Pending(op=Reduce, fields=fields, inner=kept, shape=outer, loc=node.loc)
    image = lifted(context.builder, node, x)
    rows, columns = (axis - missing in axes for axis in SPATIAL)
    n, c, h, w = image.type.shape
    inner = (n, c, 1 if rows else h, 1 if columns else w)
    if kind == "sum":
        return Pending(
            op=ReduceSum, fields={"x": image, "rows": rows, "columns": columns}, inner=inner, shape=outer, loc=node.loc
        )
    window = Kernel((h if rows else 1, w if columns else 1))
    fields = {"x": image, "kernel": window, "ceil": False, "padded": False}
    return Pending(op=AveragePool, fields=fields, inner=inner, shape=outer, loc=node.loc)
