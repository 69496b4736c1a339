"""Take the mean error of each convolution out of its bias.

Rounding weights and clipping inputs shifts the mean of every output channel. Beside each Conv, ConvTranspose and Gemm
runs a twin with quantized weights; the mean difference a channel, over the samples, is added to the bias. What the twin
reads is the float model's results of the layers before, put on their grids and through quantized activations: that they
are the float model's is right because those layers are corrected too, and that activations are quantized is needed
because rounding before a bent function shifts the mean behind it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Graph, Node, make
from furc.onnx.run import run_session, session
from furc.quantizer.calibrator import Progress
from furc.quantizer.float_run import Feed
from furc.quantizer.operators import LINEAR, is_quantized
from furc.quantizer.scheme import Scheme
from furc.quantizer.simulate import rounded_weights

CORRECTED = {"Conv", "ConvTranspose", "Gemm"}


def correct_biases(graph: Graph, scheme: Scheme, samples: Sequence[Feed], progress: Progress | None = None) -> None:
    """Change the biases in `graph`. samples: a few are enough, means settle fast."""
    layers = [node for node in graph.nodes if _is_correctable(graph, scheme, node)]
    if not layers or not samples:
        return
    run = session(_with_twins(graph, scheme, layers), integers=False)
    names = [o.name for o in run.get_outputs()]
    total = dict.fromkeys(names, np.zeros(1))
    for done, feed in enumerate(samples, 1):
        for name, shift in zip(names, run_session(run, names, feed), strict=True):
            total[name] = total[name] + shift.reshape(-1).astype(np.float64)
        if progress is not None:
            progress("correct biases", done, len(samples))
    for node in layers:
        _add_to_bias(graph, node, total[f"{node.output}/shift"] / len(samples))
    graph.changed()
    graph.remove_dead()


def _is_correctable(graph: Graph, scheme: Scheme, node: Node) -> bool:
    if node.op not in CORRECTED or not is_quantized(graph, node) or graph.rank(node.output) is None:
        return False
    if node.inputs[0] not in scheme.grids:
        return False
    constant = node.input(1) in graph.constants and (not node.input(2) or node.input(2) in graph.constants)
    return constant and (node.op != "Gemm" or not node.get("transA", 0))


def _with_twins(graph: Graph, scheme: Scheme, layers: Sequence[Node]) -> onnx.ModelProto:
    """The float model; beside each layer its twin, and the mean of what the layer makes more than the twin."""
    copy = Graph(graph.model())
    nodes, seen, twins = list[Node](), dict[str, str](), {id(node) for node in layers}
    for name in graph.inputs:
        _put_on_grid(copy, nodes, seen, scheme, name, name)
    for node, original in zip(list(copy.nodes), graph.nodes, strict=True):
        nodes.append(node)
        inputs = [seen.get(name, name) for name in node.inputs]
        if id(original) in twins:
            nodes += _compared(copy, graph, scheme, original, inputs)
        made = node.outputs
        if node.op not in LINEAR and inputs != node.inputs:
            made = [f"{name}/twin" for name in node.outputs]
            nodes.append(Node(node.op, inputs, made, "", node.domain, dict(node.attributes)))
        for name, source in zip(node.outputs, made, strict=True):
            _put_on_grid(copy, nodes, seen, scheme, name, source)
    copy.nodes, copy.outputs = nodes, [f"{node.output}/shift" for node in layers]
    for name in copy.outputs:
        copy.set_info(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    copy.changed()
    copy.remove_dead()
    return copy.model()


def _compared(copy: Graph, graph: Graph, scheme: Scheme, node: Node, inputs: Sequence[str]) -> list[Node]:
    """A layer's twin, and the mean a channel of what the layer makes more than it."""
    name = node.output
    rounded = rounded_weights(graph, node, scheme.grids[node.inputs[0]].scale)
    assert rounded is not None, node
    copy.constants[f"{name}/weight"] = rounded
    axes = [axis for axis in range(graph.rank(name) or 0) if axis != 1]
    compared, seen, before = name, inputs[0], list[Node]()
    if _is_of_points(graph, node):
        compared, seen = f"{name}/mean", f"{name}/seen/mean"
        before = [_mean(copy, name, compared, axes, keepdims=1), _mean(copy, inputs[0], seen, axes, keepdims=1)]
    twin = Node(node.op, [seen, f"{name}/weight", *inputs[2:]], [f"{name}/twin"], "", "", dict(node.attributes))
    difference = make("Sub", [compared, f"{name}/twin"], [f"{name}/difference"])
    return [*before, twin, difference, _mean(copy, f"{name}/difference", f"{name}/shift", axes, keepdims=0)]


def _is_of_points(graph: Graph, node: Node) -> bool:
    """Whether every place of the result is the same function of one place of the input: then that of its mean is the
    mean of the results, and the twin has one place to compute."""
    if node.op != "Conv" or set(node.get("strides", [1])) | set(graph.constants[node.inputs[1]].shape[2:]) != {1}:
        return False
    return not any(node.get("pads", [])) and node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _mean(copy: Graph, source: str, made: str, axes: Sequence[int], *, keepdims: int) -> Node:
    if copy.opset < 18:
        return make("ReduceMean", [source], [made], keepdims=keepdims, axes=list(axes))
    return make("ReduceMean", [source, copy.add_constant(f"{made}/axes", np.array(axes))], [made], keepdims=keepdims)


def _put_on_grid(copy: Graph, nodes: list[Node], seen: dict[str, str], scheme: Scheme, name: str, source: str) -> None:
    """What later layers see of a tensor: `source` on the tensor's grid, where the tensor is one that rounds."""
    if scheme.leader.get(name) != name:
        if source != name or name in scheme.leader:
            seen[name] = source
        return
    g, parameters = scheme.grids[name], [f"{name}/scale", f"{name}/zero"]
    copy.constants[parameters[0]], copy.constants[parameters[1]] = (
        np.array(g.scale, np.float32),
        np.array(g.zero, np.int8),
    )
    nodes.append(make("QuantizeLinear", [source, *parameters], [f"{name}/q"]))
    nodes.append(make("DequantizeLinear", [f"{name}/q", *parameters], [f"{name}/seen"]))
    seen[name] = f"{name}/seen"


def _add_to_bias(graph: Graph, node: Node, shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    old = graph.constants.get(node.input(2), np.zeros(1, np.float32))
    corrected = (old.astype(np.float64) + shift).astype(np.float32)
    node.inputs = [*node.inputs[:2], graph.add_constant(f"{node.name or node.output}.bias", corrected)]
