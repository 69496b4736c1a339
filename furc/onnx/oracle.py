"""ONNX Runtime as the oracle of a QDQ model, tensor by tensor.

ONNX Runtime may run a QDQ convolution in float32 or by its integer kernel, as its optimizer and the processor's
instruction set have it. The NPU sums integers, so the oracle pins the integer kernels: every Conv, Gemm and MatMul
between DequantizeLinear and QuantizeLinear becomes QLinearConv (a Gemm one of 1 x 1) or QLinearMatMul, also where
values only move in front of it; everything else stays the QDQ form and runs with graph optimizations off. Every
QuantizeLinear output is then an int8 tensor to compare with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from furc.onnx.graph import Array, Graph, Node, make
from furc.onnx.moves import is_move
from furc.onnx.run import RunModel

SAME_STEP = 2.0**-20  # what rounding of two scales' product in float32 may explain
INT32 = np.iinfo(np.int32)
ACTIVATIONS = {np.dtype(np.uint8): TensorProto.UINT8, np.dtype(np.int8): TensorProto.INT8}
_CLAMPS = ("Relu", "Clip")


class Oracle:
    """A QDQ model with integer convolutions. tensors: the outputs of its activations' QuantizeLinear nodes."""

    def __init__(self, model: onnx.ModelProto, hosted: Collection[str] = ()) -> None:
        """hosted: tensors that the host makes, in float32 as the model has it: their nodes stay what they are."""
        graph = Graph(model)
        activations = _activations(graph)
        graph.nodes = [
            made for node in graph.nodes for made in ([node] if node.output in hosted else _with_integers(graph, node))
        ]
        for name, kind in activations.items():
            if name not in graph.outputs:
                graph.outputs.append(name)
                graph.set_info(helper.make_tensor_value_info(name, kind, None))
        graph.changed()
        self.tensors = tuple(activations)
        self._run = RunModel(graph.model(), plain=True)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Model outputs and every activation, by ONNX name; activations as int8 (uint8 minus 128)."""
        values = self._run(inputs)
        return {name: _as_int8(value) if name in self.tensors else value for name, value in values.items()}


def _as_int8(value: Array) -> Array:
    return value.view(np.int8) ^ np.int8(-128) if value.dtype == np.uint8 else value


def _activations(graph: Graph) -> dict[str, int]:
    """What every QuantizeLinear of a computed tensor makes in 8 bits, and its element type: others are the host's."""
    found = {}
    for node in graph.nodes:
        if node.op == "QuantizeLinear" and not graph.is_constant(node.inputs[0]):
            kind = ACTIVATIONS.get(_zero(graph, node).dtype)
            if kind is not None:
                found[node.output] = kind
    return found


def _with_integers(graph: Graph, node: Node) -> list[Node]:
    """The integer kernel and what brings its result back to float; the node itself where it is not quantized."""
    if node.op == "MatMul":
        return _with_integer_product(graph, node)
    if node.op not in ("Conv", "Gemm"):
        return [node]
    x, w, quantize = _grid_of(graph, node.input(0)), graph.producer(node.input(1)), _quantize_after(graph, node)
    if x is None or w is None or quantize is None or {x.op, w.op} != {"DequantizeLinear"}:
        return [node]
    name, constants = node.output, graph.constants
    weights, scale, zero = constants[w.inputs[0]], constants[w.inputs[1]], _zero(graph, w)
    source, before = _stored(graph, node, 0, x)
    result, after = f"{name}/q", list[Node]()
    if node.op == "Gemm":
        alpha = np.float32(node.get("alpha", 1.0))
        least = min(weights.min(initial=0), zero.min(initial=0))
        if alpha == 0 or (alpha < 0 and (weights.dtype != np.int8 or least < -127)):
            return [node]
        if alpha < 0:
            weights, zero = -weights, -zero
        scale = scale * abs(alpha)
        weights = (weights if node.get("transB", 0) else weights.T)[:, :, None, None]
        if node.get("transA", 0):
            before.append(make("Transpose", [source], [f"{name}/turned"], perm=[1, 0]))
            source = f"{name}/turned"
        constants[f"{name}/4d"] = np.array([0, -1, 1, 1], np.int64)
        constants[f"{name}/2d"] = np.array([0, -1], np.int64)
        before.append(make("Reshape", [source, f"{name}/4d"], [f"{name}/x"]))
        after = [make("Reshape", [result, f"{name}/2d"], [f"{name}/flat"])]
        source, result = f"{name}/x", f"{name}/flat"
    constants[f"{name}/w"], constants[f"{name}/sw"] = np.ascontiguousarray(weights), scale
    constants[f"{name}/zw"] = np.ascontiguousarray(np.broadcast_to(zero, scale.shape))
    inputs = [source, *x.inputs[1:3], f"{name}/w", f"{name}/sw", f"{name}/zw", *quantize.inputs[1:3]]
    if node.input(2):
        steps = np.broadcast_to(constants[x.inputs[1]] * scale, (len(weights),))
        constants[f"{name}/b"] = _bias(graph, node.inputs[2], steps, np.float32(node.get("beta", 1.0)))
        inputs.append(f"{name}/b")
    conv = make("QLinearConv", inputs, [f"{name}/q"], node.name)
    conv.attributes = {} if node.op == "Gemm" else dict(node.attributes)
    back = make("DequantizeLinear", [result, *quantize.inputs[1:3]], [name])
    return [*before, conv, *after, back]


def _with_integer_product(graph: Graph, node: Node) -> list[Node]:
    a, b, quantize = _grid_of(graph, node.input(0)), _grid_of(graph, node.input(1)), _quantize_after(graph, node)
    if a is None or b is None or quantize is None or {a.op, b.op} != {"DequantizeLinear"}:
        return [node]
    inputs, before = list[str](), list[Node]()
    for index, maker in enumerate((a, b)):
        scale, zero = graph.constants[maker.inputs[1]], _zero(graph, maker)
        if scale.size > 1 and not _has_scales_of_columns(graph, node, index, maker):
            return [node]
        zeros = f"{node.output}/z{index}"
        graph.constants[zeros] = np.ascontiguousarray(np.broadcast_to(zero, scale.shape))
        source, more = _stored(graph, node, index, maker)
        inputs += [source, maker.inputs[1], zeros]
        before += more
    result = f"{node.output}/q"
    product = make("QLinearMatMul", [*inputs, *quantize.inputs[1:3]], [result], node.name)
    return [*before, product, make("DequantizeLinear", [result, *quantize.inputs[1:3]], [node.output])]


def _has_scales_of_columns(graph: Graph, node: Node, index: int, maker: Node) -> bool:
    """Whether an operand is a matrix of weights with a scale for each column of the result, as kernels take."""
    matrix = graph.constants.get(maker.inputs[0])
    unmoved = index == 1 and maker.output == node.inputs[1]
    return unmoved and matrix is not None and matrix.ndim == 2 and int(maker.get("axis", 1)) % 2 == 1


def _zero(graph: Graph, node: Node) -> Array:
    """The zero point of a QuantizeLinear or a DequantizeLinear; where it is left out, 0 of the type of the integers."""
    if node.input(2):
        return graph.constants[node.input(2)]
    if node.op == "QuantizeLinear":
        stated = int(node.get("output_dtype", 0))
        return np.zeros((), helper.tensor_dtype_to_np_dtype(stated) if stated else np.uint8)
    if node.inputs[0] in graph.constants:
        return np.zeros((), graph.constants[node.inputs[0]].dtype)
    maker = graph.producer(node.inputs[0])
    quantized = maker is not None and maker.op == "QuantizeLinear"
    return np.zeros((), _zero(graph, maker).dtype if maker is not None and quantized else np.uint8)


def _stored(graph: Graph, node: Node, index: int, maker: Node) -> tuple[str, list[Node]]:
    """The integers of an operand, and what makes them where they have moved since the DequantizeLinear."""
    if maker.output == node.inputs[index]:
        return maker.inputs[0], []
    moved, zero = f"{node.output}/moved{index}", f"{node.output}/zero{index}"
    graph.constants[zero] = _zero(graph, maker)
    return moved, [make("QuantizeLinear", [node.inputs[index], maker.inputs[1], zero], [moved])]


def _grid_of(graph: Graph, name: str) -> Node | None:
    """The node that makes a tensor, or the one that makes what is only moved on the way to it."""
    maker = graph.producer(name)
    while maker is not None and is_move(graph, maker):
        maker = graph.producer(maker.inputs[0])
    return maker


def _quantize_after(graph: Graph, node: Node) -> Node | None:
    """The QuantizeLinear that takes the result, after one Relu or Clip: clamping before or after is the same."""
    readers = graph.readers(node.output)
    if len(readers) == 1 and readers[0].op in _CLAMPS:
        readers = graph.readers(readers[0].output)
    return readers[0] if len(readers) == 1 and readers[0].op == "QuantizeLinear" else None


def _bias(graph: Graph, name: str, steps: Array, beta: np.float32) -> Array:
    """int32 of those steps, one for each channel: as stored where its own are these, else the nearest."""
    maker = graph.producer(name)
    if maker is None or maker.op != "DequantizeLinear":
        real = graph.constants[name]
    else:
        stored, own = graph.constants[maker.inputs[0]].astype(np.int32), graph.constants[maker.inputs[1]]
        zero = _zero(graph, maker)
        if beta == 1 and not zero.any() and np.allclose(own, steps, rtol=SAME_STEP, atol=0):
            return np.ascontiguousarray(np.broadcast_to(stored.reshape(-1), steps.shape))
        real = (stored - zero).astype(np.float32) * own
    found = np.rint((np.asarray(real, np.float32) * beta).reshape(-1) / steps).astype(np.float64)
    return np.ascontiguousarray(np.clip(found, INT32.min, INT32.max).astype(np.int32))
