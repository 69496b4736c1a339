"""A float model as the quantizer makes it over, which is what compiles in the end: without its large weights, of which
only the shapes count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from furc.onnx.model_proto import fixed_inputs
from furc.onnx.soundness import node_name
from isa.errors import QuantizeError

LARGE = 4096  # elements of a weight that nobody needs to see to judge a model
Shape = tuple[int, ...]


class MadeOver(NamedTuple):
    """order: the number that a node had in the float model, by name. gone: operators of nodes that are left out or
    folded into others, by name; those that only compute constants are not among them."""

    proto: onnx.ModelProto
    order: dict[str, int]
    gone: dict[str, str]


def as_quantized(
    proto: onnx.ModelProto, weights: Mapping[str, Shape], inputs: Mapping[str, Shape], opset: int
) -> MadeOver | None:
    """None where the quantizer refuses it: whoever quantizes it hears why.

    weights: the large ones, which are inputs of proto instead. inputs: shapes of the others.
    """
    from furc.quantizer.optimize.pipeline import optimize_shapes  # here: with the quantizer; compiling does without

    named = fixed_inputs(proto, inputs)
    for index, node in enumerate(named.graph.node):
        node.name = node_name(node, index)  # so that it is known again
    nodes = {node.name: (index, node.op_type) for index, node in enumerate(named.graph.node)}
    try:
        graph, computing = optimize_shapes(named, weights, opset)
    except QuantizeError:
        return None
    large = {n: v.shape for n, v in graph.constants.items() if v.dtype == np.float32 and v.size > LARGE}
    graph.constants = {name: value for name, value in graph.constants.items() if name not in large}
    made = graph.model()
    made.graph.initializer.extend(without_data(large))
    left = {node.name for node in graph.nodes}
    gone = {name: nodes[name][1] for name in computing if name in nodes and name not in left}
    return MadeOver(made, {name: index for name, (index, _) in nodes.items()}, gone)


def without_data(weights: Mapping[str, Shape]) -> list[onnx.TensorProto]:
    """Initializers that say no more than their shapes."""
    return [TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape) for name, shape in weights.items()]
