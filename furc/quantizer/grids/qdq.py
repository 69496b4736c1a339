"""Write a float graph and its grids as QDQ ONNX: float operators between QuantizeLinear and DequantizeLinear.

    x -> Q -> DQ -> Conv(., DQ(int8 weights), DQ(int32 bias)) -> Relu -> Q -> DQ -> y

Tensor `t` becomes `t_quantized` (int8) and `t_dequantized`; a graph output keeps its name on the DequantizeLinear, and
what the operator makes is then called `t_float`. Weights are named `w_quantized`, `w_scale`, `w_zero`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from furc.onnx.graph import Array, Float32, Graph, Node, blamed, make
from furc.quantizer.grids.affine import (
    Grid,
    grid,
    quantize_array,
    quantize_bias,
    quantize_weights,
    smallest_weight_scale,
    weight_scale,
)
from furc.quantizer.grids.operators import BROADCAST, LINEAR, is_quantized
from furc.quantizer.grids.scheme import Scheme
from isa.errors import QuantizeError


def check_not_quantized(graph: Graph) -> None:
    """Raises QuantizeError[AlreadyQuantized] where a model has quantized operators."""
    for node in graph.nodes:
        if node.op in ("QuantizeLinear", "DequantizeLinear") or node.op.startswith("QLinear"):
            raise QuantizeError(
                "AlreadyQuantized",
                f"the model already holds {node.op}",
                at=node.loc,
                hint="quantize the float model it was made from, or compile this one as it is",
            )


def write_qdq(graph: Graph, scheme: Scheme) -> onnx.ModelProto:
    """The quantized model. graph: optimized, not changed."""
    return _Writer(graph.copied(), scheme).write()


def weight_axis(node: Node) -> int | None:
    """The axis of a linear node's weights that has a scale of its own for each entry; None: one scale for all."""
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op)


def scales_of(graph: Graph, node: Node, x_scale: float) -> Float32:
    """Scales of a linear node's weights, which also keep its bias inside int32."""
    weight, axis = graph.constants[node.inputs[1]], weight_axis(node)
    bias = graph.constants.get(node.input(2))
    if axis is None:
        largest = None if bias is None or not bias.size else np.abs(bias).max(keepdims=True).reshape(1)
        return weight_scale(weight, None, smallest_weight_scale(largest, x_scale, np.array([bool(weight.any())])).max())
    if node.op == "ConvTranspose" and bias is not None:  # the scale of entry j serves channel j of every group
        bias = np.abs(bias).reshape(-1, weight.shape[1]).max(axis=0)
    used = np.asarray(np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1).any(axis=1))
    return weight_scale(weight, axis, smallest_weight_scale(bias, x_scale, used))


def bias_step(node: Node, bias: Float32, x_scale: float, scale: Float32) -> Float32:
    """Of a linear node's int32 bias, [] or [channels]. scale: of its weights."""
    if node.op == "ConvTranspose":  # a scale serves one channel of every group
        scale = np.tile(scale, bias.size // scale.size)
    return np.asarray(np.float32(x_scale) * scale, np.float32)


def operand_grids(graph: Graph, node: Node) -> dict[int, Grid]:
    """The grids of a quantized node's constant operands, by their number: all but those that `scales_of` is for."""
    found = dict[int, Grid]()
    if node.op not in BROADCAST | {"Concat", "MatMul", "Gemm"} or not is_quantized(graph, node):
        return found
    for index, name in enumerate(node.inputs):
        value = graph.constants.get(name)
        if value is not None and value.dtype == np.float32 and not (node.op in ("MatMul", "Gemm") and index > 0):
            found[index] = grid(float(value.min(initial=0.0)), float(value.max(initial=0.0)))
    return found


PARTS = ("quantized", "dequantized", "scale", "zero", "float")


@dataclass
class _Writer:
    graph: Graph
    scheme: Scheme
    nodes: list[Node] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)  # names of tensors, the model's and those given so far
    read_as: dict[str, str] = field(default_factory=dict)  # what readers of a tensor read instead

    def write(self) -> onnx.ModelProto:
        graph = self.graph
        self.taken = {*graph.constants, *graph.inputs, *(name for node in graph.nodes for name in node.outputs)}
        for name in graph.inputs:
            if name in self.scheme.grids:
                self._store(name, self._stem(name), name)
        for node in list(graph.nodes):
            with blamed(node):
                self._node(node)
        graph.nodes = self.nodes
        graph.changed()
        graph.remove_dead()
        return graph.model()

    def _node(self, node: Node) -> None:
        graph = self.graph
        if node.op in LINEAR and is_quantized(graph, node):
            self._weights(node)
        self._constants(node)
        node.inputs = [self.read_as.get(name, name) for name in node.inputs]
        self.nodes.append(node)
        for index, name in enumerate(node.outputs):
            if name not in self.scheme.grids:
                continue
            stem = self._stem(name)
            made = f"{stem}_float" if name in graph.outputs else name
            node.outputs[index] = made
            self._store(name, stem, made)

    def _store(self, name: str, stem: str, made: str) -> None:
        """Q and DQ behind the tensor `made`, which readers know as `name`."""
        g = self.scheme.grids[name]
        parameters = self._parameters(stem, np.array(g.scale, np.float32), np.array(g.zero, np.int8))
        stored, final = f"{stem}_quantized", name if made != name else f"{stem}_dequantized"
        self.nodes.append(make("QuantizeLinear", [made, *parameters], [stored], f"{stem}/QuantizeLinear"))
        self.nodes.append(make("DequantizeLinear", [stored, *parameters], [final], f"{stem}/DequantizeLinear"))
        self.read_as[name] = final

    def _stem(self, name: str) -> str:
        """What the names of a tensor's parts start with: its own name, unless the model or another copy has them."""
        while any(f"{name}_{part}" in self.taken for part in PARTS):
            name += "_"
        self.taken.update(f"{name}_{part}" for part in PARTS)
        return name

    def _parameters(self, stem: str, scale: Float32, zero: Array) -> list[str]:
        self.graph.constants[f"{stem}_scale"] = scale
        self.graph.constants[f"{stem}_zero"] = zero
        return [f"{stem}_scale", f"{stem}_zero"]

    def _weights(self, node: Node) -> None:
        """Quantize a linear node's weights and bias where both are constant and its input is on a grid."""
        graph, name = self.graph, node.inputs[1]
        weight, bias, g = graph.constants.get(name), node.input(2), self.scheme.grids.get(node.inputs[0])
        if weight is None or weight.dtype != np.float32 or g is None:
            return
        scale, axis = scales_of(graph, node, g.scale), weight_axis(node)
        node.inputs[1] = self._stored_constant(name, quantize_weights(weight, scale, axis).values, scale, axis)
        if bias in graph.constants:
            node.inputs[2] = self._bias(node, graph.constants[bias], g, scale)

    def _bias(self, node: Node, bias: Float32, g: Grid, scale: Float32) -> str:
        step = bias_step(node, bias, g.scale, scale)
        return self._stored_constant(node.inputs[2], quantize_bias(bias, step), step, 0 if step.ndim else None)

    def _stored_constant(self, name: str, values: Array, scale: Float32, axis: int | None, zero: int = 0) -> str:
        """An integer constant and the DQ that reads it; one that two nodes share is stored for each of them."""
        stem = self._stem(name)
        self.graph.constants[f"{stem}_quantized"] = values
        zeros = np.full(np.shape(scale), zero, values.dtype)
        parameters = self._parameters(stem, np.asarray(scale, np.float32), zeros)
        result = f"{stem}_dequantized"
        node = make("DequantizeLinear", [f"{stem}_quantized", *parameters], [result], f"{stem}/DequantizeLinear")
        if axis is not None:
            node.set(axis=axis)
        self.nodes.append(node)
        return result

    def _constants(self, node: Node) -> None:
        """Quantize the other constant operands, each on its own grid."""
        for index, g in operand_grids(self.graph, node).items():
            name, scale = node.inputs[index], np.array(g.scale, np.float32)
            values = quantize_array(self.graph.constants[name], g)
            node.inputs[index] = self._stored_constant(name, values, scale, None, g.zero)
