"""Take the mean error of each convolution out of its bias.

Rounding weights and clipping inputs shifts the mean of every output channel. Beside each Conv, ConvTranspose and Gemm
runs a twin with quantized weights and the float model's input put on its grid; the mean difference a channel, over the
samples, is added to the bias. That the input is the float model's is right because layers before are corrected too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Graph, Node, make
from furc.onnx.run import run_session, session
from furc.quantizer.affine import Grid
from furc.quantizer.calibrator import Progress
from furc.quantizer.float_run import Feed
from furc.quantizer.scheme import Scheme
from furc.quantizer.simulate import rounded_weights

CORRECTED = {"Conv", "ConvTranspose", "Gemm"}


def correct_biases(graph: Graph, scheme: Scheme, samples: Sequence[Feed], progress: Progress | None = None) -> None:
    """Change the biases in `graph`. samples: a few are enough, means settle fast."""
    layers = [node for node in graph.nodes if _is_correctable(graph, scheme, node)]
    if not layers or not samples:
        return
    run = session(_with_twins(graph, scheme, layers), layouts=False, integers=False)
    names = [o.name for o in run.get_outputs()]
    total = dict.fromkeys(names, np.zeros(1))
    for done, feed in enumerate(samples, 1):
        for name, shift in zip(names, run_session(run, names, feed), strict=True):
            total[name] = total[name] + shift.reshape(-1).astype(np.float64)
        if progress is not None:
            progress("correct biases", done, len(samples))
    for node in layers:
        _add_to_bias(graph, node, total[f"{node.output}/shift"] / len(samples))
    graph.remove_dead()


def _is_correctable(graph: Graph, scheme: Scheme, node: Node) -> bool:
    if node.op not in CORRECTED or node.inputs[0] not in scheme.grids or graph.rank(node.output) is None:
        return False
    constant = node.input(1) in graph.constants and (not node.input(2) or node.input(2) in graph.constants)
    return constant and (node.op != "Gemm" or not node.get("transA", 0))


def _with_twins(graph: Graph, scheme: Scheme, layers: Sequence[Node]) -> onnx.ModelProto:
    """The float model; beside each layer its twin, and the mean of what the layer makes more than the twin."""
    copy = Graph(graph.model())
    nodes = list(copy.nodes)
    for node in layers:
        source, name = node.inputs[0], node.output
        seen = _quantized_input(copy, nodes, source, scheme.grids)
        rounded = rounded_weights(graph, node, scheme.grids[source].scale)
        assert rounded is not None, node
        copy.constants[f"{name}/weight"] = rounded
        twin = Node(
            node.op, [seen, f"{name}/weight", *node.inputs[2:]], [f"{name}/twin"], "", "", dict(node.attributes)
        )
        axes = [axis for axis in range(graph.rank(name) or 0) if axis != 1]
        nodes += [
            twin,
            make("Sub", [name, f"{name}/twin"], [f"{name}/difference"]),
            make("ReduceMean", [f"{name}/difference"], [f"{name}/shift"], axes=axes, keepdims=0)
            if graph.opset < 18
            else make("ReduceMean", [f"{name}/difference", copy.add_constant(f"{name}/axes", np.array(axes))],
                      [f"{name}/shift"], keepdims=0),
        ]  # fmt: skip
    copy.nodes, copy.outputs = nodes, [f"{node.output}/shift" for node in layers]
    for name in copy.outputs:
        copy.set_info(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    copy.changed()
    copy.remove_dead()
    return copy.model()


def _quantized_input(copy: Graph, nodes: list[Node], name: str, grids: Mapping[str, Grid]) -> str:
    """The tensor put on its grid; made once however many layers read it."""
    seen = f"{name}/seen"
    if f"{name}/scale" not in copy.constants:
        copy.constants[f"{name}/scale"] = np.array(grids[name].scale, np.float32)
        copy.constants[f"{name}/zero"] = np.array(grids[name].zero, np.int8)
        parameters = [f"{name}/scale", f"{name}/zero"]
        nodes.append(make("QuantizeLinear", [name, *parameters], [f"{name}/q"]))
        nodes.append(make("DequantizeLinear", [f"{name}/q", *parameters], [seen]))
    return seen


def _add_to_bias(graph: Graph, node: Node, shift: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    old = graph.constants.get(node.input(2), np.zeros(1, np.float32))
    corrected = (old.astype(np.float64) + shift).astype(np.float32)
    node.inputs = [*node.inputs[:2], graph.add_constant(f"{node.name or node.output}.bias", corrected)]
    graph.changed()
