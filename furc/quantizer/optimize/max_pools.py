"""Turn maxima over axes into max pools, which the NPU has.

before: y = ReduceMax(x [n, c, h, w], axes = [2, 3])     after: y = MaxPool(x, kernel = [h, w])
before: y = ReduceMax(x [n, c, h, w], axes = [1])        after: y = MaxPool(x as [n, 1, c, h * w], kernel = [c, 1]) as y

The second is the attention over places of CBAM. Leaves alone: axes that are no neighbours, or the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from furc.onnx.graph import Graph, Node, make, rewrite
from passes.dfg.legality import MAX_KERNEL

ROWS = 2


def max_pools(graph: Graph) -> None:
    for rule in (_global, _reduced):
        rewrite(graph, rule)
    graph.remove_dead()


def _global(graph: Graph, node: Node) -> bool:
    shape = graph.extents(node.input(0))
    if node.op != "GlobalMaxPool" or shape is None or len(shape) not in (3, 4):
        return False
    kernel = [extent for extent in shape[ROWS:] if extent is not None]
    if len(kernel) != len(shape) - ROWS or max(kernel) > MAX_KERNEL:
        return False
    node.op = "MaxPool"
    node.set(kernel_shape=kernel)
    return True


def _reduced(graph: Graph, node: Node) -> bool:
    x, shape = node.input(0), graph.extents(node.input(0))
    if node.op != "ReduceMax" or not shape or None in shape[1:] or not graph.is_float(x):
        return False
    extents = [extent or 0 for extent in shape]  # 0: the batch may be open
    axes = _axes(graph, node, len(shape))
    if not axes or axes[0] == 0 or axes != list(range(axes[0], axes[-1] + 1)):
        return False
    first, behind = axes[0], axes[-1] + 1
    if len(shape) == 4 and first >= ROWS:
        image = extents
        kernel = [extents[axis] if axis in axes else 1 for axis in (2, 3)]
    else:
        image = [extents[0], math.prod(extents[1:first]), math.prod(extents[first:behind]), math.prod(extents[behind:])]
        kernel = [image[ROWS], 1]
    if max(kernel) > MAX_KERNEL or min(image[1:]) < 1:
        return False
    stem = node.name or node.output
    pooled = [image[0], image[1], image[2] // kernel[0], image[3] // kernel[1]]
    new = list[Node]()
    if image != extents:
        x = _reshaped(graph, new, x, image, f"{stem}.image")
    kept = [1 if axis in axes else extent for axis, extent in enumerate(extents)]
    result = kept if node.get("keepdims", 1) else [extent for axis, extent in enumerate(kept) if axis not in axes]
    y = node.output if result == pooled else graph.fresh(f"{stem}.max")
    new.append(make("MaxPool", [x], [y], node.name, kernel_shape=kernel))
    if y != node.output:
        graph.set_float(y, _opened(pooled))
        to = graph.add_constant(f"{stem}.shape", np.array([0, *result[1:]], np.int64))
        new.append(make("Reshape", [y, to], [node.output], f"{stem}/Reshape"))
    graph.replace(node, new)
    return True


def _axes(graph: Graph, node: Node, rank: int) -> list[int]:
    """In order; none where they are not known, or are all."""
    listed = graph.constants[node.inputs[1]].tolist() if node.input(1) in graph.constants else node.get("axes", ())
    return sorted({int(axis) % rank for axis in listed})


def _reshaped(graph: Graph, new: list[Node], x: str, shape: Sequence[int], name: str) -> str:
    to = graph.add_constant(f"{name}.shape", np.array([0, *shape[1:]], np.int64))
    made = graph.fresh(name)
    new.append(make("Reshape", [x, to], [made], name))
    graph.set_float(made, _opened(shape))
    return made


def _opened(shape: Sequence[int]) -> list[int | None]:
    return [extent or None for extent in shape]
