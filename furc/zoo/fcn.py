"""FCN (Long et al., arXiv:1411.4038) with torchvision's dilated ResNet-50."""

from __future__ import annotations

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.architecture import Architecture
from furc.zoo.resnet import bottleneck, stage, stem

_CLASSES = 21  # Pascal VOC and background


def _fcn_resnet50(g: GraphBuilder, image: Feature) -> tuple[Feature, ...]:
    """Stages 3 and 4 dilate by 2 and 4 where ResNet strides, so the features keep an eighth of the image's size."""
    x = stem(g, image, "backbone/")
    stages = ((64, 3, 1, 1), (128, 4, 2, 1), (256, 6, 1, 2), (512, 3, 1, 4))
    for number, (planes, blocks, stride, dilation) in enumerate(stages, start=1):
        x = stage(g, x, f"backbone/layer{number}", bottleneck, planes, blocks, stride, dilation)
    x = g.relu(g.conv(x, "classifier/classifier.0", x.channels // 4, 3), "classifier/classifier.2")
    return (g.conv(x, "classifier/classifier.4", _CLASSES, 1),)


ARCHITECTURES = {
    "fcn_resnet50": Architecture(
        draw=_fcn_resnet50,
        size=288,
        source="arXiv:1411.4038; torchvision.models.segmentation.fcn_resnet50",
        note="ends at the classifier convolution, an eighth of the image's size: torchvision's upsampling is bilinear, "
        "which the NPU does not have; without the auxiliary head, which is for training; torchvision evaluates at 520",
    ),
}
