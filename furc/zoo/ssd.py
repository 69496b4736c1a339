"""SSD (Liu et al., arXiv:1512.02325) in the two variants of MLPerf Inference.

Both end at the head convolutions: six of class scores, then six of box offsets, from fine to coarse.
Source: github.com/mlcommons/inference, vision/classification_and_detection.
"""

from __future__ import annotations

from collections.abc import Sequence

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture
from furc.zoo.mobilenet import mobilenet_v1
from furc.zoo.resnet import basic, stage, stem

_BOX = 4  # numbers a box has


def _ssd_mobilenet_v1(g: GraphBuilder, image: Feature) -> tuple[Feature, ...]:
    """MobileNetV1 with four extra pairs of convolutions; 91 COCO classes, heads of 1x1."""
    blocks = mobilenet_v1(g, image, "backbone/")
    features = [blocks[10], blocks[12]]
    for index, (narrow, wide) in enumerate(((256, 512), (128, 256), (128, 256), (64, 128))):
        path = f"extras.{index}"
        x = g.relu6(g.conv(features[-1], f"{path}/reduce/conv", narrow, 1), f"{path}/reduce/act")
        features.append(g.relu6(g.conv(x, f"{path}/expand/conv", wide, 3, 2), f"{path}/expand/act"))
    return _heads(g, features, boxes=(3, 6, 6, 6, 6, 6), classes=91, kernel=1, stride=1)


def _ssd_resnet34(g: GraphBuilder, image: Feature) -> tuple[Feature, ...]:
    """ResNet-34 to its third stage, which keeps stride 8, and five extra pairs; 81 classes, heads of 3x3, stride 3."""
    x = stem(g, image, "backbone/")
    for number, (planes, blocks, stride) in enumerate(((64, 3, 1), (128, 4, 2), (256, 6, 1)), start=1):
        x = stage(g, x, f"backbone/layer{number}", basic, planes, blocks, stride)
    features = [x]
    # narrow, wide, stride and padding of the pair's 3x3 convolution
    pairs = ((256, 512, 2, 1), (256, 512, 2, 1), (128, 256, 2, 1), (128, 256, 2, 0), (128, 256, 1, 0))
    for index, (narrow, wide, stride, pad) in enumerate(pairs):
        path = f"additional_blocks.{index}/additional_blocks.{index}"
        x = g.relu(g.conv(features[-1], f"{path}.0", narrow, 1), f"{path}.1")
        features.append(g.relu(g.conv(x, f"{path}.2", wide, 3, stride, pad=pad), f"{path}.3"))
    return _heads(g, features, boxes=(4, 6, 6, 6, 4, 4), classes=81, kernel=3, stride=3)


def _heads(
    g: GraphBuilder, features: Sequence[Feature], *, boxes: Sequence[int], classes: int, kernel: int, stride: int
) -> tuple[Feature, ...]:
    """boxes: default boxes of each pixel of each feature."""
    scores, offsets = [], []
    for index, (x, count) in enumerate(zip(features, boxes, strict=True)):
        scores.append(g.conv(x, f"conf.{index}", count * classes, kernel, stride))
        offsets.append(g.conv(x, f"loc.{index}", count * _BOX, kernel, stride))
    return (*scores, *offsets)


ARCHITECTURES = {
    "ssd_mobilenet_v1": Architecture(
        draw=_ssd_mobilenet_v1,
        size=300,
        source="arXiv:1704.04861, arXiv:1512.02325; MLPerf Inference ssd-mobilenet",
        note="ends at the 12 head convolutions; pads 1 on each side where TensorFlow's SAME pads below and right",
    ),
    "ssd_resnet34": Architecture(
        draw=_ssd_resnet34,
        size=1200,
        source="arXiv:1512.03385, arXiv:1512.02325; MLPerf Inference ssd-resnet34",
        note="ends at the 12 head convolutions",
    ),
}
