"""Bring operators to the one form that later passes and the compiler know.

Clip from 0 without upper bound becomes Relu; Gemm's alpha and beta go into its weights; division by a constant becomes
multiplication; PRelu with one slope becomes LeakyRelu; Sum of two becomes Add; a Resize of single rows and columns
repeats them; MatMul of a matrix becomes Gemm; a Pad of some axes says what it adds along each.
"""

from __future__ import annotations

import numpy as np

from furc.onnx.graph import Graph, Node, rewrite
from furc.quantizer.grids.operators import clip_bounds

UNBOUNDED = 1e30  # exporters write the largest float for "no bound"


def plain_ops(graph: Graph) -> None:
    for rule in (
        _clip_to_relu,
        _plain_gemm,
        _div_to_mul,
        _prelu_to_leaky,
        _sum_to_add,
        _resize_to_repeats,
        _matmul_to_gemm,
        _pad_of_every_axis,
    ):
        rewrite(graph, rule)
    graph.remove_dead()


def _clip_to_relu(graph: Graph, node: Node) -> bool:
    bounds = clip_bounds(graph, node) if node.op == "Clip" and graph.is_float(node.output) else None
    if bounds is None or bounds[0] != 0 or bounds[1] < UNBOUNDED:
        return False
    node.op, node.inputs = "Relu", node.inputs[:1]
    graph.changed()
    return True


def _plain_gemm(graph: Graph, node: Node) -> bool:
    weight, bias = graph.constants.get(node.input(1)), graph.constants.get(node.input(2))
    if node.op != "Gemm" or (node.get("alpha", 1.0), node.get("beta", 1.0)) == (1.0, 1.0):
        return False
    if weight is None or (node.input(2) and bias is None):
        return False
    stem = node.name or node.output
    scaled = weight * np.float32(node.get("alpha", 1.0))
    node.inputs[1] = graph.add_constant(f"{stem}.weight", scaled)
    if bias is not None:
        node.inputs[2] = graph.add_constant(f"{stem}.bias", bias * np.float32(node.get("beta", 1.0)))
    node.set(alpha=1.0, beta=1.0)
    graph.changed()
    return True


def _div_to_mul(graph: Graph, node: Node) -> bool:
    divisor = graph.constants.get(node.input(1))
    if node.op != "Div" or divisor is None or divisor.dtype != np.float32 or not divisor.all():
        return False
    inverse = (1 / divisor.astype(np.float64)).astype(np.float32)
    if not np.isfinite(inverse).all():
        return False
    node.op = "Mul"
    node.inputs = [node.inputs[0], graph.add_constant(f"{node.inputs[1]}.inverse", inverse)]
    graph.changed()
    return True


def _prelu_to_leaky(graph: Graph, node: Node) -> bool:
    slope = graph.constants.get(node.input(1))
    if node.op != "PRelu" or slope is None or slope.size == 0 or np.ptp(slope) != 0:
        return False
    node.op, node.inputs = "LeakyRelu", node.inputs[:1]
    node.set(alpha=float(slope.reshape(-1)[0]))
    graph.changed()
    return True


def _sum_to_add(graph: Graph, node: Node) -> bool:
    if node.op != "Sum" or len(node.inputs) != 2 or node.domain not in ("", "ai.onnx"):
        return False
    node.op = "Add"
    graph.changed()
    return True


def _resize_to_repeats(graph: Graph, node: Node) -> bool:
    """Between one row and itself every way to interpolate gives that row: behind the pooled image of DeepLab, say."""
    before, after = graph.shape(node.input(0)), graph.shape(node.output)
    if node.op != "Resize" or node.get("mode", "nearest") == "nearest" or before is None or after is None:
        return False
    if any(was not in (1, is_) for was, is_ in zip(before, after, strict=True)):
        return False
    cropped = node.get("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize"
    if cropped or node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        return False
    axes = {name: value for name, value in node.attributes.items() if name == "axes"}
    node.attributes = axes
    node.set(mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    return True


def _matmul_to_gemm(graph: Graph, node: Node) -> bool:
    """Of a matrix by weights: a Gemm takes the bias and BatchNormalization behind it."""
    weight = graph.constants.get(node.input(1))
    if node.op != "MatMul" or weight is None or weight.ndim != 2 or graph.rank(node.input(0)) != 2:
        return False
    node.op = "Gemm"
    graph.changed()
    return True


def _pad_of_every_axis(graph: Graph, node: Node) -> bool:
    """As before opset 18, which brought `axes`."""
    rank, pads, axes = graph.rank(node.input(0)), graph.constants.get(node.input(1)), graph.constants.get(node.input(3))
    if node.op != "Pad" or rank is None or pads is None or axes is None or pads.size != 2 * axes.size:
        return False
    full = np.zeros((2, rank), np.int64)
    full[:, axes] = pads.reshape(2, -1)
    node.inputs = [node.inputs[0], graph.add_constant(f"{node.name or node.output}.pads", full.reshape(-1)),
                   *node.inputs[2:3]]  # fmt: skip
    if not node.inputs[2]:
        del node.inputs[2]
    graph.changed()
    return True
