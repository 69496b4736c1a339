"""MobileNetV1 (Howard et al., arXiv:1704.04861), as a backbone, and MobileNetV2 (Sandler et al., arXiv:1801.04381)."""

from __future__ import annotations

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture

# MobileNetV1: channels and stride of each depthwise separable block. arXiv:1704.04861, table 1.
V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
# MobileNetV2: expansion, channels, blocks, stride of the first of them. arXiv:1801.04381, table 2.
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v1(g: GraphBuilder, image: Feature, scope: str) -> list[Feature]:
    """The output of every block, without the classifier. scope: a module path ending in "/"."""
    x = g.relu6(g.conv(image, f"{scope}stem/conv", 32, 3, 2), f"{scope}stem/act")
    outputs = []
    for index, (channels, stride) in enumerate(V1_BLOCKS):
        path = f"{scope}blocks.{index}"
        x = g.conv(x, f"{path}/depthwise/conv", x.channels, 3, stride, groups=x.channels)
        x = g.relu6(x, f"{path}/depthwise/act")
        x = g.relu6(g.conv(x, f"{path}/pointwise/conv", channels, 1), f"{path}/pointwise/act")
        outputs.append(x)
    return outputs


def _mobilenet_v2(g: GraphBuilder, image: Feature) -> tuple[Feature, ...]:
    x = _conv_relu6(g, image, "features/features.0/features.0", 32, 3, 2)
    block = 1
    for expansion, channels, blocks, first_stride in _V2_STAGES:
        for index in range(blocks):
            stride = first_stride if index == 0 else 1
            x = _inverted_residual(g, x, f"features/features.{block}", expansion, channels, stride)
            block += 1
    x = _conv_relu6(g, x, f"features/features.{block}/features.{block}", 1280, 1)
    x = g.flatten(g.global_average_pool(x, ""), "")
    return (g.gemm(x, "classifier/classifier.1", 1000),)


def _inverted_residual(g: GraphBuilder, x: Feature, path: str, expansion: int, channels: int, stride: int) -> Feature:
    """Widen, filter each channel, narrow without activation; a shortcut where the shape allows it."""
    y, part = x, 0
    if expansion != 1:
        y = _conv_relu6(g, y, f"{path}/conv/conv.0/conv.0", expansion * x.channels, 1)
        part = 1
    y = _conv_relu6(g, y, f"{path}/conv/conv.{part}/conv.{part}", y.channels, 3, stride, groups=y.channels)
    y = g.conv(y, f"{path}/conv/conv.{part + 1}", channels, 1)
    return g.add(x, y, path) if x.shape == y.shape else y


def _conv_relu6(
    g: GraphBuilder, x: Feature, path: str, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> Feature:
    return g.relu6(g.conv(x, f"{path}.0", channels, kernel, stride, groups=groups), f"{path}.2")


ARCHITECTURES = {
    "mobilenet_v2": Architecture(
        draw=_mobilenet_v2,
        size=224,
        source="arXiv:1801.04381; torchvision.models.mobilenet_v2",
        note="ends at the 1000 logits",
    ),
}
