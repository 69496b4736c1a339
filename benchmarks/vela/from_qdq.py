"""A quantized ONNX model, as furc's quantizer writes it, as a TFLite model of int8 in and int8 out: the same integers.

Images are n, h, w, c there. Every QuantizeLinear is a tensor of the file, and what makes it an operator. Where ONNX's
pads are not TFLite's SAME a PAD stands before, and where TFLite asks for one grid on both sides a QUANTIZE, as
TensorFlow's own converter writes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import onnx

from benchmarks.vela.tflite_file import Array, TfliteFile
from furc.onnx.graph import Graph, Node
from furc.onnx.model_proto import infer_shapes
from isa.errors import LowerError

NONE, RELU, RELU6 = 0, 1, 3  # ActivationFunctionType
SAME, VALID = 0, 1  # Padding
TO_NHWC = (0, 2, 3, 1)
LOGISTIC_GRID = (1 / 256, -128)  # it makes no other


def with_logistic_grids(model: onnx.ModelProto) -> onnx.ModelProto:
    """Results of Sigmoid as TFLite has them: furc's quantizer gives them 1 / 255, so that 1.0 is in reach."""
    graph = Graph(model)
    for node in graph.nodes:
        source = graph.producer(node.input(0))
        if node.op == "QuantizeLinear" and source is not None and source.op == "Sigmoid":
            scale, zero = LOGISTIC_GRID
            graph.constants[node.input(1)] = np.array(scale, np.float32)
            graph.constants[node.input(2)] = np.array(zero, np.int8)
    return graph.model()


def tflite_of(model: onnx.ModelProto) -> bytes:
    """Raises LowerError UnsupportedOperator for what has no counterpart here."""
    return _Converter(Graph(infer_shapes(model))).file()


class _Tensor(NamedTuple):
    """One of the file. grid: scale and zero point. positive: it is known to have no element below zero."""

    number: int
    shape: tuple[int, ...]
    grid: tuple[float, int]
    positive: bool = False


class _Converter:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.out = graph, TfliteFile()
        self.made: dict[str, _Tensor] = {}  # by the name of the quantized tensor

    def file(self) -> bytes:
        for node in self.graph.nodes:
            if node.op == "QuantizeLinear":
                self._tensor(node)
        return self.out.bytes(*(self.operand(self._maker(name), name).number for name in self.graph.outputs))

    def _tensor(self, quantizer: Node) -> None:
        source = self.graph.producer(quantizer.input(0))
        if source is None:
            tensor = self._result(quantizer, quantizer.input(0))
            self.out.graph.inputs.append(tensor.number)
            return
        activation, maker = self._activation(source)
        tensor = self._result(quantizer, source.output, activation != NONE)
        if maker.op not in OPERATORS:
            raise refused(maker, f"no TFLite operator is written for {maker.op}")
        OPERATORS[maker.op](self, maker, tensor, activation)

    def _activation(self, node: Node) -> tuple[int, Node]:
        """What is fused into an operator, and the operator."""
        if node.op == "Relu":
            return RELU, self._maker(node.input(0))
        if node.op == "Clip":
            bounds = [float(self.graph.constants[name]) for name in node.inputs[1:] if name]
            if bounds != [0.0, 6.0]:
                raise refused(node, f"bounds {bounds} are not those of RELU6")
            return RELU6, self._maker(node.input(0))
        return NONE, node

    def _result(self, quantizer: Node, label: str, positive: bool = False) -> _Tensor:
        """What a QuantizeLinear makes, as a tensor of this name."""
        scale, zero = (self.graph.constants[name] for name in quantizer.inputs[1:])
        shape = self.graph.shape(quantizer.output) or ()
        if len(shape) == 4:
            shape = tuple(shape[axis] for axis in TO_NHWC)
        tensor = self.tensor(shape, (float(scale), int(zero)), label, positive)
        self.made[quantizer.output] = tensor
        return tensor

    # what operators ask for

    def tensor(
        self, shape: tuple[int, ...], grid: tuple[float, int], label: str = "", positive: bool = False
    ) -> _Tensor:
        return _Tensor(self.out.tensor(shape, *grid, name=label), shape, grid, positive)

    def operand(self, node: Node, name: str) -> _Tensor:
        """What a DequantizeLinear reads. node: who asks."""
        source = self._maker(name)
        if source.op != "DequantizeLinear" or source.input(0) not in self.made:
            raise refused(node, f"'{name}' is no quantized tensor that is computed")
        return self.made[source.input(0)]

    def constant(self, node: Node, name: str) -> tuple[Array, Array]:
        """What a DequantizeLinear has stored, and its scales; zero points are 0 in furc's weights."""
        source = self._maker(name)
        if source.op != "DequantizeLinear" or source.input(0) not in self.graph.constants:
            raise refused(node, f"'{name}' is no quantized constant")
        return self.graph.constants[source.input(0)], self.graph.constants[source.input(1)]

    def weights(self, node: Node, perm: Sequence[int], axis: int) -> list[int]:
        """Of a convolution or a product, and its bias. axis: of the output channels, in TFLite's order."""
        array, scales = self.constant(node, node.input(1))
        array = array.transpose(perm)
        made = [self.out.tensor(array.shape, scales, data=array, axis=axis, name=node.input(1))]
        if node.input(2):
            bias, scales = self.constant(node, node.input(2))
            made.append(self.out.tensor(bias.shape, scales, dtype="int32", data=bias, name=node.input(2)))
        return made

    def on_grid(self, x: _Tensor, grid: tuple[float, int]) -> _Tensor:
        """x, requantized where it is not there already."""
        if x.grid == grid:
            return x
        moved = self.tensor(x.shape, grid)._replace(positive=x.positive)
        self.out.op("QUANTIZE", [x.number], [moved.number], "QuantizeOptions")
        return moved

    def windowed(self, node: Node, x: _Tensor, kernel: Sequence[int]) -> tuple[int, dict[str, int]]:
        """x with the pads that TFLite has no word for, and the options of a window. kernel: height, width."""
        strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
        top, left, bottom, right = pads = node.get("pads", [0, 0, 0, 0])
        same = [
            max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
            for size, k, s, d in zip(x.shape[1:3], kernel, strides, dilations, strict=True)
        ]
        options = {"strideH": strides[0], "strideW": strides[1], "padding": VALID}
        if pads == [total // 2 for total in same] + [total - total // 2 for total in same]:
            return x.number, options | {"padding": SAME}
        if not any(pads):
            return x.number, options
        n, height, width, channels = x.shape
        padded = self.tensor((n, height + top + bottom, width + left + right, channels), x.grid)
        around = self.out.ints([0, 0], [top, bottom], [left, right], [0, 0])
        return self.out.op("PAD", [x.number, around], [padded.number], "PadOptions"), options

    def _maker(self, name: str) -> Node:
        found = self.graph.producer(name)
        if found is None:
            raise LowerError("UnsupportedOperator", f"nothing quantizes '{name}'")
        return found


def refused(node: Node, message: str) -> LowerError:
    return LowerError("UnsupportedOperator", message, at=node.loc)


def conv(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    x, shape = to.operand(node, node.input(0)), to.constant(node, node.input(1))[0].shape
    group = node.get("group", 1)
    if group != 1 and not group == x.shape[3] == shape[0]:
        raise refused(node, f"{group} groups of {x.shape[3]} channels")
    padded, options = to.windowed(node, x, shape[2:])
    height, width = node.get("dilations", [1, 1])
    options |= {"dilationHFactor": height, "dilationWFactor": width, "fusedActivationFunction": activation}
    if group == 1:
        weights = to.weights(node, TO_NHWC, 0)
        to.out.op("CONV_2D", [padded, *weights], [y.number], "Conv2DOptions", **options)
    else:
        weights = to.weights(node, (1, 2, 3, 0), 3)
        to.out.op("DEPTHWISE_CONV_2D", [padded, *weights], [y.number], "DepthwiseConv2DOptions", depthMultiplier=1,
                  **options)  # fmt: skip


def gemm(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    if (node.get("transA", 0), node.get("transB", 0), node.get("alpha", 1.0), node.get("beta", 1.0)) != (0, 1, 1, 1):
        raise refused(node, "its weights are not as a layer of outputs has them")
    operands = [to.operand(node, node.input(0)).number, *to.weights(node, (0, 1), 0)]
    to.out.op("FULLY_CONNECTED", operands, [y.number], "FullyConnectedOptions", fusedActivationFunction=activation)


def binary(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    operands = [to.operand(node, name).number for name in node.inputs]
    to.out.op(node.op.upper(), operands, [y.number], f"{node.op}Options", fusedActivationFunction=activation)


def sigmoid(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    if y.grid != LOGISTIC_GRID or activation:
        raise refused(node, f"its result has scale and zero point {y.grid}, LOGISTIC makes {LOGISTIC_GRID}")
    to.out.op("LOGISTIC", [to.operand(node, node.input(0)).number], [y.number])


def concat(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    axis = node.get("axis") % len(y.shape)
    parts = [to.on_grid(to.operand(node, name), y.grid).number for name in node.inputs]
    to.out.op("CONCATENATION", parts, [y.number], "ConcatenationOptions", fusedActivationFunction=activation,
              axis=TO_NHWC.index(axis) if len(y.shape) == 4 else axis)  # fmt: skip


def max_pool(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    x, (height, width) = to.operand(node, node.input(0)), node.get("kernel_shape")
    if node.get("ceil_mode", 0) or node.get("dilations", [1, 1]) != [1, 1]:
        raise refused(node, "MAX_POOL_2D has neither dilations nor windows beyond the image")
    padded, options = to.windowed(node, to.on_grid(x, y.grid), (height, width))
    if options["padding"] == VALID and any(node.get("pads", [])) and not x.positive:
        raise refused(node, "PAD puts zeros around, which may be larger than elements")
    to.out.op("MAX_POOL_2D", [padded], [y.number], "Pool2DOptions", filterHeight=height, filterWidth=width,
              fusedActivationFunction=activation, **options)  # fmt: skip


def average(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    if activation:
        raise refused(node, "MEAN has no activation fused")
    x = to.operand(node, node.input(0))
    to.out.op("MEAN", [x.number, to.out.ints(1, 2)], [y.number], "ReducerOptions", keepDims=True)


def resize(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    how = node.get("mode"), node.get("coordinate_transformation_mode"), node.get("nearest_mode")
    if how != ("nearest", "asymmetric", "floor") or activation:
        raise refused(node, f"RESIZE_NEAREST_NEIGHBOR does not resize by {how}")
    x = to.on_grid(to.operand(node, node.input(0)), y.grid).number
    to.out.op("RESIZE_NEAREST_NEIGHBOR", [x, to.out.ints(*y.shape[1:3])], [y.number], "ResizeNearestNeighborOptions")


def cut(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    x = to.operand(node, node.input(0))
    starts, axes = (to.graph.constants[node.input(i)].tolist() for i in (1, 3))
    steps = to.graph.constants.get(node.input(4), np.array(1))
    if len(x.shape) != 4 or min(starts) < 0 or np.any(steps != 1) or activation:
        raise refused(node, "only parts of images in steps of 1, counted from the front, are written")
    begin = [0, 0, 0, 0]
    for axis, start in zip(axes, starts, strict=True):
        begin[TO_NHWC.index(axis % 4)] = start
    operands = [to.on_grid(x, y.grid).number, to.out.ints(*begin), to.out.ints(*y.shape)]
    to.out.op("SLICE", operands, [y.number], "SliceOptions")


def flat(to: _Converter, node: Node, y: _Tensor, activation: int) -> None:
    x = to.operand(node, node.input(0))
    if x.shape[1:-1] != (1, 1) or activation:
        raise refused(node, f"an image of {list(x.shape)} has another order of elements in TFLite")
    to.out.op("RESHAPE", [to.on_grid(x, y.grid).number, to.out.ints(*y.shape)], [y.number], "ReshapeOptions",
              newShape=list(y.shape))  # fmt: skip


OPERATORS: dict[str, Callable[[_Converter, Node, _Tensor, int], None]] = {
    "Conv": conv, "Gemm": gemm, "Add": binary, "Mul": binary, "Sigmoid": sigmoid, "Concat": concat,
    "MaxPool": max_pool, "GlobalAveragePool": average, "Resize": resize, "Slice": cut, "Flatten": flat,
    "Reshape": flat,
}  # fmt: skip
