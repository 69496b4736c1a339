"""How much a float model multiplies."""

from __future__ import annotations

from furc.onnx.graph import Graph
from passes.analysis.host_share import macs_of


def macs(graph: Graph) -> dict[int, int]:
    """Multiplications of each node, by its id; of tensors whose shape is open as if they were single numbers."""
    protos = {name: proto for proto in graph.model().graph.node for name in proto.output}
    return {
        id(node): macs_of(
            protos[node.output], [graph.shape(name) or () for name in node.inputs], graph.shape(node.output) or ()
        )
        for node in graph.nodes
    }
