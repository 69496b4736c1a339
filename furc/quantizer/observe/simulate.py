"""The float model with quantization simulated in it, its grids being inputs: one session tries any ranges.

Constants are replaced by what their integers stand for; behind every tensor that sets a grid stands a QuantizeLinear
and DequantizeLinear whose scale and zero point are fed in. Biases are rounded to int32 as they will be: fine as that
is, it decides to which side a value near the middle of two steps falls, and with it a whole flat region, such as the
border of a letterbox, in every image alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto, helper

from furc.onnx.graph import Array, Graph, Node, make
from furc.onnx.run import run_session, session
from furc.quantizer.grids.affine import Grid, Weights, on_grid, quantize_bias, quantize_weights
from furc.quantizer.grids.operators import LINEAR, is_quantized
from furc.quantizer.grids.qdq import bias_step, operand_grids, scales_of, weight_axis
from furc.quantizer.grids.scheme import Scheme
from furc.quantizer.observe.float_run import Feed


class Simulation:
    """Runs a graph on grids given at each call."""

    def __init__(self, graph: Graph, scheme: Scheme, outputs: Sequence[str] = ()) -> None:
        """outputs: tensors to return, by default the graph's outputs."""
        self._leaders = sorted(set(scheme.leader.values()))
        self._session = session(_simulating(graph, scheme, outputs), integers=False)
        self._outputs = [o.name for o in self._session.get_outputs()]
        self._fed = {i.name for i in self._session.get_inputs()}

    def __call__(self, feed: Feed, grids: Mapping[str, Grid]) -> dict[str, Array]:
        """One run. grids: of each tensor, as in Scheme.grids."""
        full: dict[str, Array] = dict(feed)
        for name in self._leaders:
            full[f"{name}/scale"] = np.array(grids[name].scale, np.float32)
            full[f"{name}/zero"] = np.array(grids[name].zero, np.int8)
        values = run_session(self._session, None, {name: full[name] for name in self._fed})
        return {name.removesuffix("/out"): value for name, value in zip(self._outputs, values, strict=True)}


def rounded_weights(graph: Graph, node: Node, x_scale: float) -> Array | None:
    """What a linear node's int8 weights stand for; None where its weights are not constant."""
    found = _stored_weights(graph, node, x_scale)
    return None if found is None else found.real()


def _stored_weights(graph: Graph, node: Node, x_scale: float) -> Weights | None:
    weight = graph.constants.get(node.input(1))
    if node.op not in LINEAR or weight is None or weight.dtype != np.float32 or not is_quantized(graph, node):
        return None
    return quantize_weights(weight, scales_of(graph, node, x_scale), weight_axis(node))


def _rounded(graph: Graph, node: Node, source: Grid | None) -> dict[int, Array]:
    """What the integers of a node's constants stand for, by the number of the operand. source: grid of the first."""
    found = {i: on_grid(graph.constants[node.inputs[i]], g) for i, g in operand_grids(graph, node).items()}
    if source is not None and (weights := _stored_weights(graph, node, source.scale)) is not None:
        found[1] = weights.real()
        if (bias := graph.constants.get(node.input(2))) is not None:
            step = bias_step(node, bias, source.scale, weights.scale)
            found[2] = quantize_bias(bias, step).astype(np.float32) * step
    return found


def _simulating(graph: Graph, scheme: Scheme, outputs: Sequence[str]) -> Graph:
    copy = graph.copied()
    wanted = list(outputs) or graph.outputs
    nodes, seen_as = list[Node](), dict[str, str]()
    for name in graph.inputs:
        _simulate(nodes, seen_as, scheme, name)
    for node in copy.nodes:
        rounded = _rounded(graph, node, scheme.grids.get(node.input(0)))
        node.inputs = [seen_as.get(name, name) for name in node.inputs]
        for index, value in rounded.items():
            node.inputs[index] = f"{node.output}/constant{index}"
            copy.constants[node.inputs[index]] = value
        nodes.append(node)
        for name in node.outputs:
            _simulate(nodes, seen_as, scheme, name)
    nodes += [make("Identity", [seen_as.get(name, name)], [f"{name}/out"]) for name in wanted]
    copy.nodes, copy.outputs = nodes, [f"{name}/out" for name in wanted]
    copy.changed()
    copy.remove_dead()
    for name in wanted:
        copy.set_alike(f"{name}/out", name)
    for name in sorted(set(scheme.leader.values())):
        copy.set_float(f"{name}/scale", [])
        copy.set_info(helper.make_tensor_value_info(f"{name}/zero", TensorProto.INT8, []))
        copy.inputs += [f"{name}/scale", f"{name}/zero"]
    return copy


def _simulate(nodes: list[Node], seen_as: dict[str, str], scheme: Scheme, name: str) -> None:
    if scheme.leader.get(name) == name:  # the rest of the class holds values that this one rounds
        parameters = [f"{name}/scale", f"{name}/zero"]
        nodes.append(make("QuantizeLinear", [name, *parameters], [f"{name}/q"]))
        nodes.append(make("DequantizeLinear", [f"{name}/q", *parameters], [f"{name}/seen"]))
        seen_as[name] = f"{name}/seen"
