"""YOLOv8. Source: github.com/ultralytics/ultralytics, its model description yolov8.yaml.

Node names are those of its ONNX export. Numbers in paths are the indices of its layer list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture
from furc.zoo.yolov5 import conv_silu, sppf

_CLASSES = 80  # COCO
_BOX_BINS = 16  # of the distribution of each of a box's four sides


@dataclass(frozen=True, slots=True)
class _Scale:
    """Multiples of the description's block counts and channels, and the channels no layer passes before scaling."""

    depth: float
    width: float
    max_channels: int

    def blocks(self, count: int) -> int:
        return max(1, round(count * self.depth))

    def channels(self, count: int) -> int:
        return 8 * math.ceil(min(count, self.max_channels) * self.width / 8)


_SCALES = {
    "n": _Scale(0.33, 0.25, 1024),
    "s": _Scale(0.33, 0.50, 1024),
    "m": _Scale(0.67, 0.75, 768),
    "l": _Scale(1.00, 1.00, 512),
    "x": _Scale(1.00, 1.25, 512),
}


def _c2f(g: GraphBuilder, x: Feature, path: str, channels: int, blocks: int, *, shortcut: bool) -> Feature:
    """Split the channels, send one half through bottlenecks, join it with the output of every one of them."""
    half = channels // 2
    x = conv_silu(g, x, f"{path}/cv1", 2 * half, 1)
    parts = [g.slice_channels(x, path, 0, half), g.slice_channels(x, path, half, 2 * half)]
    for index in range(blocks):
        block = f"{path}/m.{index}"
        y = conv_silu(g, conv_silu(g, parts[-1], f"{block}/cv1", half, 3), f"{block}/cv2", half, 3)
        parts.append(g.add(parts[-1], y, block) if shortcut else y)
    return conv_silu(g, g.concat(parts, path), f"{path}/cv2", channels, 1)


def _detect(g: GraphBuilder, features: tuple[Feature, ...], path: str) -> tuple[Feature, ...]:
    """Boxes of the three features, then their class scores: two 3x3 convolutions and a 1x1 each."""
    finest = features[0].channels
    box_width = max(16, finest // 4, 4 * _BOX_BINS)
    class_width = max(finest, min(_CLASSES, 100))
    branches = (("cv2", box_width, 4 * _BOX_BINS), ("cv3", class_width, _CLASSES))
    outputs = []
    for branch, width, channels in branches:
        for index, x in enumerate(features):
            head = f"{path}/{branch}.{index}/{branch}.{index}"
            x = conv_silu(g, conv_silu(g, x, f"{head}.0", width, 3), f"{head}.1", width, 3)
            outputs.append(g.conv(x, f"{head}.2", channels, 1))
    return tuple(outputs)


def _yolov8(g: GraphBuilder, image: Feature, scale: _Scale) -> tuple[Feature, ...]:
    wide, deep = scale.channels, scale.blocks

    x = conv_silu(g, image, "model.0", wide(64), 3, 2)
    x = conv_silu(g, x, "model.1", wide(128), 3, 2)
    x = _c2f(g, x, "model.2", wide(128), deep(3), shortcut=True)
    x = conv_silu(g, x, "model.3", wide(256), 3, 2)
    stride8 = _c2f(g, x, "model.4", wide(256), deep(6), shortcut=True)
    x = conv_silu(g, stride8, "model.5", wide(512), 3, 2)
    stride16 = _c2f(g, x, "model.6", wide(512), deep(6), shortcut=True)
    x = conv_silu(g, stride16, "model.7", wide(1024), 3, 2)
    x = _c2f(g, x, "model.8", wide(1024), deep(3), shortcut=True)
    stride32 = sppf(g, x, "model.9", wide(1024))

    x = g.concat([g.upsample(stride32, "model.10", 2), stride16], "model.11")
    side16 = _c2f(g, x, "model.12", wide(512), deep(3), shortcut=False)
    x = g.concat([g.upsample(side16, "model.13", 2), stride8], "model.14")
    small = _c2f(g, x, "model.15", wide(256), deep(3), shortcut=False)
    x = g.concat([conv_silu(g, small, "model.16", wide(256), 3, 2), side16], "model.17")
    medium = _c2f(g, x, "model.18", wide(512), deep(3), shortcut=False)
    x = g.concat([conv_silu(g, medium, "model.19", wide(512), 3, 2), stride32], "model.20")
    large = _c2f(g, x, "model.21", wide(1024), deep(3), shortcut=False)
    return _detect(g, (small, medium, large), "model.22")


ARCHITECTURES = {
    f"yolov8{letter}": Architecture(
        draw=partial(_yolov8, scale=scale),
        size=640,
        size_step=32,
        source="github.com/ultralytics/ultralytics v8.0",
        note="ends at the 6 head convolutions: boxes, then classes, of strides 8, 16 and 32",
    )
    for letter, scale in _SCALES.items()
}
