"""Fold BatchNormalization, and Mul, Add, Sub and Div by constants, into the Conv, ConvTranspose or Gemm before them.

before: c = Conv(x, w); y = BatchNormalization(c, scale, bias, mean, variance)
after:  y = Conv(x, w * f, (0 - mean) * f + bias)      with f = scale / sqrt(variance + epsilon)

A BatchNormalization with nothing to fold into becomes a depthwise 1 x 1 Conv, which the NPU runs, and so do two of Mul,
Add, Sub and Div by channel in a row: (x - mean) / deviation at the input. Leaves alone: a Conv whose result something
else reads, and constants that are not one number a channel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Graph, Node, make, rewrite
from isa.operands import MAX_IMAGES

LINEAR = ("Conv", "ConvTranspose", "Gemm")
Float64 = NDArray[np.float64]


class Affine(NamedTuple):
    """y = x * factor + offset, a number a channel [c]."""

    factor: Float64
    offset: Float64


def fold_affine(graph: Graph) -> None:
    rewrite(graph, _fold)
    rewrite(graph, _batchnorm_to_conv)
    rewrite(graph, _pair_to_conv)
    rewrite(graph, _fold)
    graph.remove_dead()


def _fold(graph: Graph, node: Node) -> bool:
    """Fold `node` into the linear node before it."""
    found = _linear_before(graph, node)
    if found is None:
        return False
    linear, channels = found
    affine = _as_affine(graph, node, linear.output, channels)
    if affine is None:
        return False
    _scale_weights(graph, linear, affine, channels)
    linear.outputs = [node.output]
    graph.remove([node])
    return True


def _linear_before(graph: Graph, node: Node) -> tuple[Node, int] | None:
    if node.op not in ("BatchNormalization", "Mul", "Add", "Sub", "Div"):
        return None
    for name in node.inputs[:2]:
        linear = graph.producer(name)
        if linear is None or linear.op not in LINEAR or graph.only_reader(name) is not node:
            continue
        weight, bias = graph.constants.get(linear.input(1)), linear.input(2)
        if weight is not None and weight.dtype == np.float32 and (not bias or bias in graph.constants):
            return linear, _output_channels(linear, weight)
    return None


def _output_channels(linear: Node, weight: Array) -> int:
    match linear.op:
        case "Conv":
            return int(weight.shape[0])
        case "ConvTranspose":
            return int(weight.shape[1]) * int(linear.get("group", 1))
        case _:
            return int(weight.shape[0 if linear.get("transB", 0) else 1])


def _as_affine(graph: Graph, node: Node, data: str, channels: int) -> Affine | None:
    if node.op == "BatchNormalization":
        return _batchnorm(graph, node)
    first = node.inputs[0] == data
    other = graph.constants.get(node.inputs[1 if first else 0])
    if node.inputs[0] == node.inputs[1] or other is None or other.dtype != np.float32:
        return None
    value = _per_channel(other, graph.rank(data) or graph.rank(node.output), channels)
    if value is None or (node.op == "Div" and (not first or not value.all())):
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    match node.op:
        case "Mul":
            return Affine(value, zero)
        case "Div":
            return Affine(1 / value, zero)
        case "Add":
            return Affine(one, value)
        case _:
            return Affine(one, -value) if first else Affine(-one, value)


def _per_channel(value: Array, rank: int | None, channels: int) -> Float64 | None:
    """A constant that broadcasts along axis 1 only, as [channels]; else None."""
    if value.size == 1 and (rank is None or value.ndim <= rank):
        return np.full(channels, value.reshape(()), np.float64)
    if rank is None or value.ndim > rank:
        return None
    shape = (1,) * (rank - value.ndim) + value.shape
    if shape[1] != channels or value.size != channels:
        return None
    return value.reshape(channels).astype(np.float64)


def _batchnorm(graph: Graph, node: Node) -> Affine | None:
    parts = [graph.constants.get(name) for name in node.inputs[1:5]]
    if any(part is None for part in parts) or node.get("training_mode", 0):
        return None
    scale, bias, mean, variance = (np.asarray(part, np.float64) for part in parts)
    factor = scale / np.sqrt(variance + node.get("epsilon", 1e-5))
    return Affine(factor, bias - mean * factor)


def _scale_weights(graph: Graph, linear: Node, affine: Affine, channels: int) -> None:
    weight = graph.constants[linear.inputs[1]].astype(np.float64)
    bias = graph.constants.get(linear.input(2), np.zeros(channels)).astype(np.float64)
    if linear.op == "Gemm":  # so that the weights and the bias are what is computed with
        weight, bias = weight * linear.get("alpha", 1.0), bias * linear.get("beta", 1.0)
        linear.set(alpha=1.0, beta=1.0)
        bias = np.broadcast_to(bias, (*bias.shape[:-1], channels)) if bias.ndim else np.full(channels, bias)
    scaled = weight * weight_factor(linear, weight, affine.factor)
    stem = linear.name or linear.output
    names = [graph.add_constant(f"{stem}.weight", scaled.astype(np.float32))]
    names.append(graph.add_constant(f"{stem}.bias", (bias * affine.factor + affine.offset).astype(np.float32)))
    linear.inputs = [linear.inputs[0], *names]
    graph.changed()


def weight_factor(linear: Node, weight: Array, factor: Float64) -> Float64:
    """A number an output channel, shaped so that it multiplies the weights."""
    if linear.op == "Conv":
        return factor.reshape(-1, *[1] * (weight.ndim - 1))
    if linear.op == "ConvTranspose":
        groups = int(linear.get("group", 1))
        rows = factor.reshape(groups, 1, weight.shape[1]).repeat(weight.shape[0] // groups, 1)
        return rows.reshape(weight.shape[0], weight.shape[1], *[1] * (weight.ndim - 2))
    return factor.reshape(-1, 1) if linear.get("transB", 0) else factor.reshape(1, -1)


def _pair_to_conv(graph: Graph, node: Node) -> bool:
    """The first of two nodes; the second then folds into it."""
    data = next((name for name in node.inputs if name not in graph.constants), "")
    extents, behind = graph.extents(data), graph.only_reader(node.output)
    if extents is None or len(extents) not in (3, 4, 5) or extents[1] is None or behind is None:
        return False
    if {node.op, behind.op} - {"Mul", "Add", "Sub", "Div"} or extents != graph.extents(node.output):
        return False
    affine = _as_affine(graph, node, data, extents[1])
    if affine is None or _as_affine(graph, behind, node.output, extents[1]) is None or not graph.is_float(data):
        return False
    if not np.ptp(affine.factor) and not np.ptp(affine.offset):
        return False  # by one number: a table
    _make_depthwise(graph, node, data, affine, len(extents))
    return True


def _batchnorm_to_conv(graph: Graph, node: Node) -> bool:
    affine = _batchnorm(graph, node) if node.op == "BatchNormalization" else None
    rank = graph.rank(node.input(0))
    if affine is None or rank is None or rank not in (2, 3, 4, 5):
        return False
    channels = len(affine.factor)
    stem = node.name or node.output
    if rank == 2:
        if ((graph.extents(node.inputs[0]) or (None,))[0] or 1) > MAX_IMAGES:
            return False  # tokens, not images
        _lift(graph, node, channels, stem)
        rank = 4
    _make_depthwise(graph, node, node.inputs[0], affine, rank)
    return True


def _make_depthwise(graph: Graph, node: Node, data: str, affine: Affine, rank: int) -> None:
    """Put a depthwise 1 x 1 Conv in the place of a node."""
    channels, stem = len(affine.factor), node.name or node.output
    weight = affine.factor.reshape(channels, 1, *[1] * (rank - 2)).astype(np.float32)
    names = (
        graph.add_constant(f"{stem}.weight", weight),
        graph.add_constant(f"{stem}.bias", affine.offset.astype(np.float32)),
    )
    conv = make("Conv", [data, *names], [node.output], node.name, group=channels, kernel_shape=[1] * (rank - 2))
    graph.replace(node, [conv])


def _lift(graph: Graph, node: Node, channels: int, stem: str) -> None:
    """Let a node work on [n, c] as [n, c, 1, 1]."""
    wide, result = graph.fresh(f"{stem}.wide"), graph.fresh(f"{stem}.wide_result")
    extents = graph.extents(node.inputs[0])
    for name in (wide, result):
        graph.set_float(name, [extents[0] if extents else None, channels, 1, 1])
    to = graph.add_constant(f"{stem}.shape", np.array([0, channels, 1, 1], np.int64))
    lift = make("Reshape", [node.inputs[0], to], [wide], f"{stem}/Reshape")
    lower = make("Flatten", [result], [node.output], f"{stem}/Flatten")
    node.inputs[0], node.outputs = wide, [result]
    graph.replace(node, [lift, node, lower])
