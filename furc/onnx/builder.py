"""Draw a float32 ONNX graph layer by layer; shapes and MACs are known as it is drawn, weights come last.

Drawing costs milliseconds, so a model's card needs no weights. Nodes are named in the manner of
PyTorch's exporter, module path and operator: /model.0/conv/Conv. BatchNorm is taken as folded: every Conv has a bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isa.errors import Loc, SourceError

OPSET = 13
IR_VERSION = 7  # the oldest that has opset 13, so that old readers open the files too

Shape = tuple[int, ...]
Fill = Callable[[str, Shape], NDArray[np.float32]]  # (name, shape) of a weight or bias -> its values


@dataclass(frozen=True, slots=True)
class Feature:
    """A tensor of the graph. shape: [n, c, h, w], or [n, features] after flatten."""

    name: str
    shape: Shape

    @property
    def channels(self) -> int:
        return self.shape[1]


class GraphBuilder:
    """One graph in the making. `path` arguments are module paths, as in "layer1/layer1.0/conv1".

    macs: multiply-accumulates of the Convs and Gemms drawn so far. params: their weights and biases.
    """

    def __init__(self, name: str) -> None:
        self.macs = 0
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[Feature] = []
        self._shapes: dict[str, Shape] = {}  # of every node output
        self._weights: dict[str, Shape] = {}
        self._constants: dict[str, NDArray[np.generic]] = {}

    @property
    def params(self) -> int:
        return sum(math.prod(shape) for shape in self._weights.values())

    def input(self, name: str, shape: Shape) -> Feature:
        self._inputs.append(Feature(name, shape))
        return self._inputs[-1]

    def conv(
        self,
        x: Feature,
        path: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        *,
        pad: int | None = None,
        dilation: int = 1,
        groups: int = 1,
    ) -> Feature:
        """Convolve with a square kernel and a bias. pad: on each side, by default what keeps the size at stride 1."""
        pad = dilation * (kernel // 2) if pad is None else pad
        weight = (channels, x.channels // groups, kernel, kernel)
        height, width = (self._window(size, kernel, stride, pad, dilation, path) for size in x.shape[2:])
        shape = (x.shape[0], channels, height, width)
        self.macs += math.prod(shape) * math.prod(weight[1:])
        return self._node(
            "Conv",
            path,
            [x.name, self._weight(path, "weight", weight), self._weight(path, "bias", (channels,))],
            shape,
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[pad] * 4,
            dilations=[dilation] * 2,
            group=groups,
        )

    def gemm(self, x: Feature, path: str, features: int) -> Feature:
        """x [n, in] times weight [features, in] transposed, plus a bias."""
        shape = (x.shape[0], features)
        self.macs += math.prod(x.shape) * features
        weight = self._weight(path, "weight", (features, x.channels))
        return self._node("Gemm", path, [x.name, weight, self._weight(path, "bias", (features,))], shape, transB=1)

    def relu(self, x: Feature, path: str) -> Feature:
        return self._node("Relu", path, [x.name], x.shape)

    def relu6(self, x: Feature, path: str) -> Feature:
        low, high = (self._constant(f"relu6.{end}", np.float32(end)) for end in (0, 6))
        return self._node("Clip", path, [x.name, low, high], x.shape)

    def silu(self, x: Feature, path: str) -> Feature:
        """x * sigmoid(x), as two nodes: ONNX has no single operator for it at opset 13."""
        gate = self._node("Sigmoid", path, [x.name], x.shape)
        return self._node("Mul", path, [x.name, gate.name], x.shape)

    def add(self, x: Feature, y: Feature, path: str) -> Feature:
        assert x.shape == y.shape, f"{path}: {x.shape} + {y.shape}"
        return self._node("Add", path, [x.name, y.name], x.shape)

    def concat(self, xs: Sequence[Feature], path: str) -> Feature:
        """Join along channels."""
        batch, _, *plane = xs[0].shape
        assert all(x.shape[2:] == xs[0].shape[2:] for x in xs), f"{path}: {[x.shape for x in xs]}"
        return self._node("Concat", path, [x.name for x in xs], (batch, sum(x.channels for x in xs), *plane), axis=1)

    def slice_channels(self, x: Feature, path: str, start: int, stop: int) -> Feature:
        ends = [self._constant(f"slice.{end}", np.array([end], np.int64)) for end in (start, stop)]
        axis = self._constant("slice.axis", np.array([1], np.int64))
        return self._node("Slice", path, [x.name, *ends, axis], (x.shape[0], stop - start, *x.shape[2:]))

    def max_pool(self, x: Feature, path: str, kernel: int, stride: int, *, pad: int) -> Feature:
        height, width = (self._window(size, kernel, stride, pad, 1, path) for size in x.shape[2:])
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self._node("MaxPool", path, [x.name], (*x.shape[:2], height, width), **window)

    def upsample(self, x: Feature, path: str, factor: int) -> Feature:
        """Repeat each pixel factor x factor times: nearest-neighbour Resize."""
        batch, channels, height, width = x.shape
        scales = self._constant(f"resize.{factor}", np.array([1, 1, factor, factor], np.float32))
        shape = (batch, channels, height * factor, width * factor)
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._node("Resize", path, [x.name, "", scales], shape, **nearest)

    def global_average_pool(self, x: Feature, path: str) -> Feature:
        return self._node("GlobalAveragePool", path, [x.name], (*x.shape[:2], 1, 1))

    def flatten(self, x: Feature, path: str) -> Feature:
        return self._node("Flatten", path, [x.name], (x.shape[0], math.prod(x.shape[1:])), axis=1)

    def model(self, outputs: Sequence[Feature], fill: Fill) -> onnx.ModelProto:
        """The finished model; `fill` is asked once for every weight and bias. Same values, same bytes."""
        values = self._constants | {name: fill(name, shape) for name, shape in self._weights.items()}
        final = {x.name for x in outputs}
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(x.name, x.shape) for x in self._inputs],
            [_value_info(x.name, x.shape) for x in outputs],
            [numpy_helper.from_array(value, name) for name, value in values.items()],
            value_info=[_value_info(name, shape) for name, shape in self._shapes.items() if name not in final],
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="furc")

    def _node(self, op: str, path: str, inputs: Sequence[str], shape: Shape, **attributes: object) -> Feature:
        first = "/".join(("", path, op)) if path else f"/{op}"
        name, again = first, 0
        while f"{name}_output_0" in self._shapes:  # a second Slice in one module is Slice_1
            again += 1
            name = f"{first}_{again}"
        output = f"{name}_output_0"
        self._nodes.append(helper.make_node(op, inputs, [output], name, **attributes))
        self._shapes[output] = shape
        return Feature(output, shape)

    def _weight(self, path: str, role: str, shape: Shape) -> str:
        name = f"{path.replace('/', '.')}.{role}"
        assert name not in self._weights, f"two layers at {path}"
        self._weights[name] = shape
        return name

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        self._constants.setdefault(name, np.asarray(value))
        return name

    def _window(self, size: int, kernel: int, stride: int, pad: int, dilation: int, path: str) -> int:
        """Output rows (or columns) of a sliding window. Raises SourceError when it does not fit once."""
        span = dilation * (kernel - 1) + 1
        if size + 2 * pad < span:
            message = f"the window spans {span} pixels, but its input has {size} and {2 * pad} of padding"
            raise SourceError("InputTooSmall", message, at=Loc(self._name, (f"/{path}",)), hint="use a larger input")
        return (size + 2 * pad - span) // stride + 1


def _value_info(name: str, shape: Shape) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
