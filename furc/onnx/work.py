"""How much a float model multiplies."""

from __future__ import annotations

from furc.onnx.graph import Graph
from passes.analysis.host_share import macs_of


def macs(graph: Graph) -> dict[int, int]:
    """Multiplications of each node, by its id; of tensors whose shape is open as if they were single numbers."""
    return {
        id(node): macs_of(node.proto(), [graph.shape(n) or () for n in node.inputs], graph.shape(node.output) or ())
        for node in graph.nodes
    }
