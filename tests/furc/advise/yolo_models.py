"""YOLO with its detection head on, as its exporter writes it: the zoo's network, which ends at the head convolutions,
with the decoding of boxes behind it. The last Concat joins boxes of 0 to the image's size with scores of 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.builder import GraphBuilder
from furc.zoo.weights import he_normal

CLASSES, BINS = 80, 16
STRIDES = (8, 16, 32)
Array = NDArray[np.float64]


class Tail:
    """Nodes behind the outputs of a model."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.heads = [(o.name, [d.dim_value for d in o.type.tensor_type.shape.dim]) for o in model.graph.output]
        del model.graph.output[:]

    def node(self, op: str, inputs: Sequence[str], outputs: int, **attributes: object) -> list[str]:
        name = f"/detect/{op}_{len(self.model.graph.node)}"
        made = [f"{name}_output_{i}" for i in range(outputs)]
        self.model.graph.node.append(helper.make_node(op, inputs, made, name, **attributes))
        return made

    def one(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.node(op, inputs, 1, **attributes)[0]

    def constant(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        name = f"/detect/constant_{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.one("Reshape", x, self.constant(shape, np.int64))

    def split(self, x: str, axis: int, *sizes: int) -> list[str]:
        return self.node("Split", [x, self.constant(sizes, np.int64)], len(sizes), axis=axis)

    def ended(self, name: str, shape: Sequence[int]) -> onnx.ModelProto:
        self.model.graph.node[-1].output[0] = name
        self.model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        onnx.checker.check_model(self.model, full_check=True)
        return self.model


def little_network(*, levels: tuple[int, ...], size: int = 64) -> onnx.ModelProto:
    """A convolution a stride, and head convolutions of so many channels at strides 8, 16 and 32, the first ones first.
    It takes milliseconds to compile where the real one takes seconds."""
    graph = GraphBuilder("little")
    x = graph.input("images", (1, 3, size, size))
    features = []
    for index in range(5):
        x = graph.relu(graph.conv(x, f"layer.{index}", 8 * (index + 1), 3, 2), f"layer.{index}")
        features.append(x)
    heads = [
        graph.conv(feature, f"head.{channels}.{stride}", channels, 1)
        for channels in levels
        for feature, stride in zip(features[2:], STRIDES, strict=True)
    ]
    return graph.model(heads, he_normal(0))


def little_yolov8(size: int = 64) -> onnx.ModelProto:
    return yolov8(little_network(levels=(4 * BINS, CLASSES), size=size))


def yolov8(network: onnx.ModelProto) -> onnx.ModelProto:
    """output0 [1, 84, anchors]: centres and sizes of boxes in pixels, then scores."""
    t = Tail(network)
    boxes, classes = t.heads[:3], t.heads[3:]
    joined = [
        t.reshape(t.one("Concat", box, scores, axis=1), 1, 4 * BINS + CLASSES, -1)
        for (box, _), (scores, _) in zip(boxes, classes, strict=True)
    ]
    anchors, strides = _anchors([shape[2] for _, shape in boxes])
    count = anchors.shape[1]
    bins, scores = t.split(t.one("Concat", *joined, axis=2), 1, 4 * BINS, CLASSES)
    bins = t.one("Softmax", t.one("Transpose", t.reshape(bins, 1, 4, BINS, count), perm=[0, 2, 1, 3]), axis=1)
    weights = t.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
    left, right = t.split(t.reshape(t.one("Conv", bins, weights), 1, 4, count), 1, 2, 2)
    first, last = t.one("Sub", t.constant(anchors[None]), left), t.one("Add", t.constant(anchors[None]), right)
    centre = t.one("Div", t.one("Add", first, last), t.constant(2))
    box = t.one("Mul", t.one("Concat", centre, t.one("Sub", last, first), axis=1), t.constant(strides[None]))
    t.one("Concat", box, t.one("Sigmoid", scores), axis=1)
    return t.ended("output0", (1, 4 + CLASSES, count))


def yolov5(network: onnx.ModelProto) -> onnx.ModelProto:
    """output0 [1, anchors, 85], three anchors a position."""
    t = Tail(network)
    levels = []
    for (head, (_, _, rows, columns)), stride in zip(t.heads, STRIDES, strict=True):
        x = t.one("Transpose", t.reshape(head, 1, 3, 5 + CLASSES, rows, columns), perm=[0, 1, 3, 4, 2])
        centre, extent, scores = t.split(t.one("Sigmoid", x), 4, 2, 2, 1 + CLASSES)
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)[None, None] - 0.5
        centre = t.one("Mul", t.one("Add", t.one("Mul", centre, t.constant(2)), t.constant(grid)), t.constant(stride))
        extent = t.one("Pow", t.one("Mul", extent, t.constant(2)), t.constant(2))
        extent = t.one("Mul", extent, t.constant(np.full((1, 3, 1, 1, 2), 4 * stride)))
        levels.append(t.reshape(t.one("Concat", centre, extent, scores, axis=4), 1, -1, 5 + CLASSES))
    t.one("Concat", *levels, axis=1)
    return t.ended("output0", (1, sum(3 * shape[2] * shape[3] for _, shape in t.heads), 5 + CLASSES))


def _anchors(sizes: Sequence[int]) -> tuple[Array, Array]:
    """Centres of all positions in their own grid, and the stride of each."""
    grids = [np.stack(np.meshgrid(np.arange(n) + 0.5, np.arange(n) + 0.5)).reshape(2, -1) for n in sizes]
    strides = [np.full((1, n * n), stride) for n, stride in zip(sizes, STRIDES, strict=True)]
    return np.concatenate(grids, 1), np.concatenate(strides, 1)
