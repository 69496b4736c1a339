"""The digits network, twice: as layers that learn, and as the ONNX graph that they become. Same paths, same shapes.

Small, but with what larger networks have: dense, depthwise and 1x1 convolutions, pooling, a residual Add, a Gemm.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from furc.onnx.builder import GraphBuilder
from furc.zoo.digits.layers import (
    Array,
    Chain,
    Conv,
    Dense,
    DepthwiseConv,
    GlobalAverage,
    Initial,
    Layer,
    MaxPool,
    Relu,
    Residual,
)

SIDE = 8  # pixels
CLASSES = 10
_NARROW, _MIDDLE, _WIDE = 16, 32, 64  # channels


def layers(initial: Initial) -> Chain:
    """Takes images [n, 8, 8, 1], gives logits [n, 10]."""
    block: list[Layer] = [
        DepthwiseConv("block.depthwise", _MIDDLE, 3, initial),
        Relu(),
        Conv("block.pointwise", _MIDDLE, _MIDDLE, 1, initial),
    ]
    return Chain(
        [
            Conv("conv1", 1, _NARROW, 3, initial),
            Relu(),
            Conv("conv2", _NARROW, _MIDDLE, 3, initial),
            Relu(),
            MaxPool(),
            Residual(block),
            Relu(),
            Conv("conv3", _MIDDLE, _WIDE, 3, initial),
            Relu(),
            GlobalAverage(),
            Dense("fc", _WIDE, CLASSES, initial),
        ]
    )


def onnx_model(weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The same network, float32. weights: by the names of the layers' parameters."""
    g = GraphBuilder("digits")
    x = g.input("images", (1, 1, SIDE, SIDE))
    x = g.relu(g.conv(x, "conv1", _NARROW, 3), "relu1")
    x = g.relu(g.conv(x, "conv2", _MIDDLE, 3), "relu2")
    x = g.max_pool(x, "pool", 2, 2, pad=0)
    y = g.relu(g.conv(x, "block/depthwise", _MIDDLE, 3, groups=_MIDDLE), "block/relu")
    x = g.relu(g.add(x, g.conv(y, "block/pointwise", _MIDDLE, 1), "block"), "block/relu_1")
    x = g.relu(g.conv(x, "conv3", _WIDE, 3), "relu3")
    x = g.flatten(g.global_average_pool(x, "average"), "")
    return g.model([g.gemm(x, "fc", CLASSES)], lambda name, shape: weights[name].astype(np.float32).reshape(shape))
