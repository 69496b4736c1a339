"""ResNet: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, as torchvision has it.

torchvision's bottleneck strides in its 3x3 convolution, not in the first 1x1 ("ResNet v1.5", which MLPerf uses too).
"""

from __future__ import annotations

from collections.abc import Callable

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture

Block = Callable[[GraphBuilder, Feature, str, int, int, int], Feature]


def stem(g: GraphBuilder, image: Feature, scope: str = "") -> Feature:
    """7x7 convolution and pooling, each of stride 2. scope: a module path ending in "/", or nothing."""
    x = g.relu(g.conv(image, f"{scope}conv1", 64, 7, 2), f"{scope}relu")
    return g.max_pool(x, f"{scope}maxpool", 3, 2, pad=1)


def stage(
    g: GraphBuilder, x: Feature, path: str, block: Block, planes: int, blocks: int, stride: int, dilation: int = 1
) -> Feature:
    """Blocks in a row, the first with the stride.

    dilation: of the 3x3 convolutions after the first block, whose own is that of the stage before. torchvision halves
    it there: a stage that dilates does so in place of a stride of 2.
    """
    leaf = path.rpartition("/")[2]
    for index in range(blocks):
        first = index == 0
        spread = max(1, dilation // 2) if first else dilation
        x = block(g, x, f"{path}/{leaf}.{index}", planes, stride if first else 1, spread)
    return x


def basic(g: GraphBuilder, x: Feature, path: str, planes: int, stride: int, dilation: int) -> Feature:
    """Two 3x3 convolutions and a shortcut: ResNet-18 and -34."""
    y = g.relu(g.conv(x, f"{path}/conv1", planes, 3, stride, dilation=dilation), f"{path}/relu")
    y = g.conv(y, f"{path}/conv2", planes, 3, dilation=dilation)
    return g.relu(g.add(y, _shortcut(g, x, path, planes, stride), path), f"{path}/relu_1")


def bottleneck(g: GraphBuilder, x: Feature, path: str, planes: int, stride: int, dilation: int) -> Feature:
    """1x1, 3x3, 1x1 to four times the planes, and a shortcut: ResNet-50 and deeper."""
    y = g.relu(g.conv(x, f"{path}/conv1", planes, 1), f"{path}/relu")
    y = g.relu(g.conv(y, f"{path}/conv2", planes, 3, stride, dilation=dilation), f"{path}/relu_1")
    y = g.conv(y, f"{path}/conv3", 4 * planes, 1)
    return g.relu(g.add(y, _shortcut(g, x, path, 4 * planes, stride), path), f"{path}/relu_2")


def _shortcut(g: GraphBuilder, x: Feature, path: str, channels: int, stride: int) -> Feature:
    if stride == 1 and x.channels == channels:
        return x
    return g.conv(x, f"{path}/downsample/downsample.0", channels, 1, stride)


def _resnet50(g: GraphBuilder, image: Feature) -> tuple[Feature, ...]:
    x = stem(g, image)
    for number, (planes, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        x = stage(g, x, f"layer{number}", bottleneck, planes, blocks, stride=1 if number == 1 else 2)
    x = g.flatten(g.global_average_pool(x, "avgpool"), "")
    return (g.gemm(x, "fc", 1000),)


ARCHITECTURES = {
    "resnet50": Architecture(
        draw=_resnet50,
        size=224,
        source="arXiv:1512.03385; torchvision.models.resnet50",
        note="ends at the 1000 logits",
    ),
}
