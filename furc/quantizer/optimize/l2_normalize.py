"""Recognize a division by the length of a vector, however it is written: the NPU has LpNormalization, and no division.

before: n = Max(ReduceL2(x, axis), tiny); y = Div(x, Expand(n))          as torch's normalize
        n = Add(Sqrt(ReduceSum(Pow(x, 2), axis)), tiny); y = Div(x, n)     as written out
        n = Sqrt(Max(ReduceSum(Mul(x, x), axis), tiny)); y = Mul(x, Reciprocal(n))     as TensorFlow's l2_normalize
after:  y = LpNormalization(x, axis)

`tiny` keeps zeros from being divided by zero, which LpNormalization does too. Leaves alone: lengths over more than one
axis or over the batch, and bounds that are not tiny. The batch may be open.
"""

from __future__ import annotations

import numpy as np

from furc.onnx.graph import Graph, Node, rewrite
from furc.quantizer.grids.operators import clip_bounds
from furc.quantizer.optimize.plain_ops import UNBOUNDED

TINY = 1e-6


def l2_normalize(graph: Graph) -> None:
    rewrite(graph, _recognize)
    graph.remove_dead()


def _recognize(graph: Graph, node: Node) -> bool:
    for x, divisor in _divisions(graph, node):
        shape, axis = graph.extents(x), _axis_of_length(graph, divisor, x)
        if not shape or None in shape[1:] or shape != graph.extents(node.output):
            continue
        if axis is None or axis % len(shape) == 0:
            continue
        node.op, node.inputs, node.attributes = "LpNormalization", [x], {}
        node.set(axis=axis % len(shape), p=2)
        graph.changed()
        return True
    return False


def _divisions(graph: Graph, node: Node) -> list[tuple[str, str]]:
    """What a node may divide by what."""
    if node.op == "Div":
        return [(node.inputs[0], node.inputs[1])]
    found = []
    for x, factor in (node.inputs, node.inputs[::-1]) if node.op == "Mul" else ():
        inverse = graph.producer(factor)
        if inverse is not None and inverse.op == "Reciprocal":
            found.append((x, inverse.inputs[0]))
    return found


def _axis_of_length(graph: Graph, name: str, x: str) -> int | None:
    """The axis along which a tensor is the length of x, but for a tiny bound."""
    squared = False  # behind the root
    while (node := graph.producer(name)) is not None:
        tiny = TINY**2 * 1.01 if squared else TINY * 1.01
        if _is_repeated(graph, node, x) or (node.op in ("Clip", "Max", "Add") and _bounds_by(graph, node, tiny)):
            name = next(each for each in node.inputs if each not in graph.constants)
        elif node.op == "Sqrt" and not squared:
            name, squared = node.inputs[0], True
        elif node.op == ("ReduceSumSquare" if squared else "ReduceL2"):
            return _axis(graph, node) if node.inputs[0] == x else None
        elif node.op == "ReduceSum" and squared:
            return _axis(graph, node) if _is_square(graph, node.inputs[0], x) else None
        else:
            return None
    return None


def _is_repeated(graph: Graph, node: Node, x: str) -> bool:
    """Whether an Expand gives every value its length: to the shape of x, or to a fixed one, which the result shows."""
    if node.op != "Expand":
        return False
    extents, maker = graph.extents(x), graph.producer(node.inputs[1])
    fixed = extents is not None and None not in extents
    return fixed or (maker is not None and maker.op == "Shape" and not maker.attributes and maker.inputs[0] == x)


def _bounds_by(graph: Graph, node: Node, tiny: float) -> bool:
    """Whether a node does no more than keep a tensor that is not negative from being zero."""
    if node.op == "Clip":
        bounds = clip_bounds(graph, node)
        return bounds is not None and bounds[0] <= tiny and bounds[1] >= UNBOUNDED
    constants = [graph.constants[name] for name in node.inputs if name in graph.constants]
    return len(node.inputs) == 2 and len(constants) == 1 and bool(np.all((constants[0] >= 0) & (constants[0] <= tiny)))


def _axis(graph: Graph, node: Node) -> int | None:
    """The one axis of a reduction that keeps it."""
    listed = graph.constants[node.inputs[1]].tolist() if node.input(1) in graph.constants else node.get("axes", ())
    return int(listed[0]) if len(listed) == 1 and node.get("keepdims", 1) else None


def _is_square(graph: Graph, name: str, x: str) -> bool:
    node = graph.producer(name)
    if node is None or node.inputs[0] != x:
        return False
    power = graph.constants.get(node.input(1))
    return (node.op == "Mul" and node.inputs[1] == x) or (
        node.op == "Pow" and power is not None and power.size == 1 and float(power.reshape(())) == 2
    )
