"""YOLOv5, release 6 and later (6x6 stem, SPPF). Source: github.com/ultralytics/yolov5, its model descriptions.

Node names are those of its ONNX export. Numbers in paths are the indices of its layer list.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture

_HEAD_CHANNELS = 3 * (80 + 5)  # three anchors; 80 COCO classes, a box and its objectness


@dataclass(frozen=True, slots=True)
class _Scale:
    """Multiples of the block counts and channels of the description, which are those of yolov5l."""

    depth: float
    width: float

    def blocks(self, count: int) -> int:
        return max(1, round(count * self.depth))

    def channels(self, count: int) -> int:
        return 8 * math.ceil(count * self.width / 8)


_SCALES = {
    "n": _Scale(0.33, 0.25),
    "s": _Scale(0.33, 0.50),
    "m": _Scale(0.67, 0.75),
    "l": _Scale(1.00, 1.00),
    "x": _Scale(1.33, 1.25),
}


def conv_silu(g: GraphBuilder, x: Feature, path: str, channels: int, kernel: int, stride: int = 1) -> Feature:
    """Ultralytics' Conv module: convolution, folded BatchNorm, SiLU. Even kernels pad one less than half."""
    pad = (kernel - 1) // 2
    return g.silu(g.conv(x, f"{path}/conv", channels, kernel, stride, pad=pad), f"{path}/act")


def sppf(g: GraphBuilder, x: Feature, path: str, channels: int) -> Feature:
    """Three 5x5 max pools in a row, joined: windows of 5, 9 and 13 pixels."""
    pooled = [conv_silu(g, x, f"{path}/cv1", x.channels // 2, 1)]
    for module in ("m", "m_1", "m_2"):
        pooled.append(g.max_pool(pooled[-1], f"{path}/{module}", 5, 1, pad=2))
    return conv_silu(g, g.concat(pooled, path), f"{path}/cv2", channels, 1)


def _c3(g: GraphBuilder, x: Feature, path: str, channels: int, blocks: int, *, shortcut: bool) -> Feature:
    """Cross-stage partial block: one half through bottlenecks, one half straight, joined."""
    half = channels // 2
    y = conv_silu(g, x, f"{path}/cv1", half, 1)
    for index in range(blocks):
        block = f"{path}/m/m.{index}"
        z = conv_silu(g, conv_silu(g, y, f"{block}/cv1", half, 1), f"{block}/cv2", half, 3)
        y = g.add(y, z, block) if shortcut else z
    straight = conv_silu(g, x, f"{path}/cv2", half, 1)
    return conv_silu(g, g.concat([y, straight], path), f"{path}/cv3", channels, 1)


def _yolov5(g: GraphBuilder, image: Feature, scale: _Scale) -> tuple[Feature, ...]:
    wide, deep = scale.channels, scale.blocks

    x = conv_silu(g, image, "model.0", wide(64), 6, 2)
    x = conv_silu(g, x, "model.1", wide(128), 3, 2)
    x = _c3(g, x, "model.2", wide(128), deep(3), shortcut=True)
    x = conv_silu(g, x, "model.3", wide(256), 3, 2)
    stride8 = _c3(g, x, "model.4", wide(256), deep(6), shortcut=True)
    x = conv_silu(g, stride8, "model.5", wide(512), 3, 2)
    stride16 = _c3(g, x, "model.6", wide(512), deep(9), shortcut=True)
    x = conv_silu(g, stride16, "model.7", wide(1024), 3, 2)
    x = _c3(g, x, "model.8", wide(1024), deep(3), shortcut=True)
    x = sppf(g, x, "model.9", wide(1024))

    side32 = conv_silu(g, x, "model.10", wide(512), 1)
    x = g.concat([g.upsample(side32, "model.11", 2), stride16], "model.12")
    x = _c3(g, x, "model.13", wide(512), deep(3), shortcut=False)
    side16 = conv_silu(g, x, "model.14", wide(256), 1)
    x = g.concat([g.upsample(side16, "model.15", 2), stride8], "model.16")
    small = _c3(g, x, "model.17", wide(256), deep(3), shortcut=False)
    x = g.concat([conv_silu(g, small, "model.18", wide(256), 3, 2), side16], "model.19")
    medium = _c3(g, x, "model.20", wide(512), deep(3), shortcut=False)
    x = g.concat([conv_silu(g, medium, "model.21", wide(512), 3, 2), side32], "model.22")
    large = _c3(g, x, "model.23", wide(1024), deep(3), shortcut=False)
    return tuple(g.conv(x, f"model.24/m.{i}", _HEAD_CHANNELS, 1) for i, x in enumerate((small, medium, large)))


ARCHITECTURES = {
    f"yolov5{letter}": Architecture(
        draw=partial(_yolov5, scale=scale),
        size=640,
        size_step=32,
        source="github.com/ultralytics/yolov5 v7.0",
        note="ends at the 3 detect convolutions",
    )
    for letter, scale in _SCALES.items()
}
