"""Operators of ONNX that only move elements: what of their result is known without computing anything."""

from __future__ import annotations

from furc.onnx.graph import Graph, Node

# The result holds the values of the first input, each as often: one histogram serves both.
PERMUTATIONS = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "DepthToSpace", "SpaceToDepth", "Identity"}
# Every value of the result is one of the first input: it is on that input's grid, and quantizing it rounds nothing.
MOVES = PERMUTATIONS | {"MaxPool", "GlobalMaxPool", "Slice", "Split", "Expand", "Tile", "Gather"}


def is_move(graph: Graph, node: Node) -> bool:
    """Whether every value of the result is a value of the first input (or zero)."""
    match node.op:
        case "Resize":
            return str(node.get("mode", "nearest")) == "nearest"
        case "Pad":
            fill = graph.constants.get(node.input(2))
            zero = not node.input(2) or (fill is not None and not fill.any())
            return zero or node.get("mode", "constant") != "constant"
        case "Gather":
            return node.inputs[0] not in graph.constants
        case _:
            return node.op in MOVES
