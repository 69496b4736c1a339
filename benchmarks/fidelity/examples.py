"""The two networks of the vendor's profiler documentation, drawn as the SDK's examples are: TFLite, uint8, no Softmax.

MobileNetV1 is arXiv:1704.04861, table 1, with the 1001 classes of TensorFlow's form. Pads are SAME, which puts those of
a stride of 2 behind the image alone. Timing depends on the graph, so weights are noise and all scales are alike.
"""

from __future__ import annotations

import numpy as np

from benchmarks.vela.tflite_file import TfliteFile
from furc.zoo.mobilenet import V1_BLOCKS

RELU6, SAME = 3, 0  # of TFLite's schema
STEP = 0.0235  # of activations: 0 to 6 in 255 of them
WEIGHT_STEP, WEIGHT_ZERO = 0.01, 128


def mobilenet_v1() -> bytes:
    """1.0, 224 x 224."""
    network = _Drawing(224, 3)
    network.conv(32, 3, 2)
    for channels, stride in V1_BLOCKS:
        network.depthwise(network.shape[3], stride)
        network.conv(channels)
    network.average()
    network.conv(1001, activation=0)
    return network.file.bytes(network.at)


def mnistnet() -> bytes:
    """28 x 28. The first convolution is one of a single channel, to 32."""
    network = _Drawing(28, 1)
    network.depthwise(32, 2)
    network.depthwise(32, 1)
    network.conv(64)
    network.depthwise(64, 2)
    network.conv(128)
    network.average()
    network.conv(10, activation=0)
    return network.file.bytes(network.at)


EXAMPLES = {"mobilenet_v1": mobilenet_v1, "mnistnet": mnistnet}


class _Drawing:
    """One layer after another; at: the tensor of the last one."""

    def __init__(self, size: int, channels: int) -> None:
        self.file, self.random = TfliteFile("uint8"), np.random.default_rng(0)
        self.shape = (1, size, size, channels)
        self.at = self.file.tensor(self.shape, STEP, 128, name="input")
        self.file.graph.inputs.append(self.at)

    def conv(self, channels: int, kernel: int = 1, stride: int = 1, activation: int = RELU6) -> None:
        operands = [self.at, *self._weights((channels, kernel, kernel, self.shape[3]), channels)]
        self._layer("CONV_2D", operands, channels, stride, "Conv2DOptions", fusedActivationFunction=activation,
                    dilationHFactor=1, dilationWFactor=1)  # fmt: skip

    def depthwise(self, channels: int, stride: int) -> None:
        """3 x 3, to as many channels or a multiple of them."""
        operands, each = [self.at, *self._weights((1, 3, 3, channels), channels)], channels // self.shape[3]
        self._layer("DEPTHWISE_CONV_2D", operands, channels, stride, "DepthwiseConv2DOptions", depthMultiplier=each,
                    fusedActivationFunction=RELU6, dilationHFactor=1, dilationWFactor=1)  # fmt: skip

    def average(self) -> None:
        """Over the whole image."""
        _, height, width, channels = self.shape
        self._layer("AVERAGE_POOL_2D", [self.at], channels, height, "Pool2DOptions", filterHeight=height,
                    filterWidth=width)  # fmt: skip

    def _layer(self, code: str, operands: list[int], channels: int, stride: int, kind: str, **options: int) -> None:
        height, width = (-(-size // stride) for size in self.shape[1:3])
        self.shape = (1, height, width, channels)
        made = self.file.tensor(self.shape, STEP)
        self.at = self.file.op(code, operands, [made], kind, strideH=stride, strideW=stride, padding=SAME, **options)

    def _weights(self, shape: tuple[int, ...], channels: int) -> list[int]:
        """Of one scale and zero point for all channels, as uint8 files have them, and a bias."""
        weights = self.random.integers(0, 256, shape).astype(np.uint8)
        bias = self.random.integers(-500, 500, channels).astype(np.int32)
        return [
            self.file.tensor(shape, WEIGHT_STEP, WEIGHT_ZERO, data=weights),
            self.file.tensor((channels,), STEP * WEIGHT_STEP, dtype="int32", data=bias),
        ]
