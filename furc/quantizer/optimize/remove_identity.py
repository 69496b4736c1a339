"""Remove nodes that pass their input on: Identity, Dropout at inference, casts and reshapes to the same.

before: y = Identity(x); z = Conv(y, w)      after: z = Conv(x, w)

A removed node's name lives on where it was a graph output: the producer then makes that name.
"""

from __future__ import annotations

from onnx import TensorProto

from furc.onnx.graph import Graph, Node, rewrite


def remove_identity(graph: Graph) -> None:
    rewrite(graph, _without_empty)
    rewrite(graph, _bypass)
    graph.remove_dead()


def _without_empty(graph: Graph, node: Node) -> bool:
    """A Concat without operands that have no elements, such as the columns behind the classes of a detector."""
    if node.op != "Concat" or len(node.inputs) < 2:
        return False
    kept = [name for name in node.inputs if 0 not in (graph.shape(name) or ())]
    if not kept or len(kept) == len(node.inputs):
        return False
    node.inputs = kept
    graph.changed()
    return True


def _bypass(graph: Graph, node: Node) -> bool:
    if not _passes_on(graph, node) or any(graph.readers(mask) or mask in graph.outputs for mask in node.outputs[1:]):
        return False
    source, target = node.input(0), node.output
    if target not in graph.outputs:
        graph.remove([node])
        graph.rename_reads(target, source)
        return True
    producer = graph.producer(source)
    if producer is None or source in graph.outputs:  # a graph input that is also an output needs a node between
        return False
    producer.outputs = [target if name == source else name for name in producer.outputs]
    graph.remove([node])
    graph.rename_reads(source, target)
    return True


def _passes_on(graph: Graph, node: Node) -> bool:
    shapes = graph.shape(node.input(0)), graph.shape(node.output)
    same_shape = shapes[0] is not None and shapes[0] == shapes[1]
    match node.op:
        case "Identity":
            return True
        case "Dropout":
            training = node.input(2)
            return not training or (training in graph.constants and not graph.constants[training].any())
        case "Cast":
            return bool(node.get("to") == TensorProto.FLOAT and graph.is_float(node.input(0)))
        case "Reshape" | "Flatten" | "Expand":
            return same_shape
        case "Pad":
            pads = graph.constants.get(node.input(1))
            return pads is not None and not pads.any()
        case "Concat":
            return len(node.inputs) == 1
        case _:
            return False
