"""Models that leave extents open, the batch above all: they are surveyed and split with those of the samples.

What follows from shapes is not folded meanwhile, so that the result can be opened again and takes any batch, as the
float model did.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from furc.onnx.graph import Graph, activations
from furc.onnx.model_proto import fixed_inputs, infer_shapes
from furc.quantizer.observe.float_run import Feed
from furc.quantizer.optimize import fold_all


def at_extents_of(graph: Graph, samples: Sequence[Feed]) -> Graph:
    """A copy whose shapes are those of the samples; the graph itself where nothing is open or samples differ."""
    if not samples or all(graph.shape(name) is not None for name in graph.inputs):
        return graph
    shapes = {name: samples[0][name].shape for name in graph.inputs}
    if any(feed[name].shape != shape for feed in samples for name, shape in shapes.items()):
        return graph
    fixed = Graph(infer_shapes(fixed_inputs(graph.model(), shapes)))
    if any(fixed.shape(name) is None for name in activations(fixed)):
        _take_shapes(fixed)
    return fixed


def _take_shapes(graph: Graph) -> None:
    """What only computing with shapes tells: inference looks through a Concat of extents, but not through their Slice,
    which is how tf2onnx takes the batch."""
    folded = graph.copied()
    fold_all(folded)
    for name in activations(graph):
        shape = folded.shape(name)
        if graph.shape(name) is None and shape is not None:
            graph.set_float(name, shape)


def opened_again(model: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """The model with inputs and outputs as open as those of the graph that it was made from."""
    was = graph.model().graph
    shapes = {info.name: info.type.tensor_type for info in (*was.input, *was.output)}
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
        if info.name in shapes and shapes[info.name].HasField("shape"):
            info.type.tensor_type.shape.CopyFrom(shapes[info.name].shape)
    del model.graph.value_info[:]
    return infer_shapes(model)
