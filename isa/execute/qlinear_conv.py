"""A whole convolution as one ONNX Runtime QLinearConv with uint8 activations, the fast path of most processors.

x and y are int8 on the machine and uint8 here: both move by 128. QLinearConv's scales are set so that its multiplier
is exactly the machine's: x scale 1, weight scale the multiplier, y scale 1. On processors whose uint8 x int8 kernels
saturate, `is_exact` finds out and the reference is used instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from isa import ort
from isa.execute import numerics
from isa.execute.numerics import Float32, Geometry, Int8, Int32
from isa.instructions import Conv


@dataclass(eq=False, slots=True)
class ConvKernel:
    """One prepared convolution: call it with x [n, c, h, w] int8 for y [n, o, oh, ow] int8."""

    session: Any
    geometry: Geometry
    rows: tuple[int, int]  # input rows and columns that are used
    zx: int
    lo: int
    hi: int

    @staticmethod
    def prepare(conv: Conv, weights: Int8, bias: Int32, multiplier: Float32) -> ConvKernel:
        """weights [o, c / groups, kh * kw], bias and multiplier [o]; everything else from the instruction."""
        x, y, geometry = conv.x.shape, conv.y.shape, conv.geometry
        plain = geometry.up == 1 and geometry.pad_top >= 0 and geometry.pad_left >= 0
        pads, used = _pads(geometry, (x.h, x.w), (y.h, y.w))
        if not plain or min(used) < 1:  # where a tile sees nothing but padding, no input is left to hand over
            plain, pads = False, (0, 0, 0, 0)
        session = _session(
            weights.reshape(y.c, -1, *geometry.kernel), bias, multiplier, geometry, pads, conv.groups,
            (conv.zx + 128, conv.zw, conv.zy + 128),
        )  # fmt: skip
        spread_first = Geometry() if plain else geometry
        return ConvKernel(session, spread_first, used if plain else (y.h, y.w), conv.zx, conv.lo, conv.hi)

    def __call__(self, x: Int8) -> Int8:
        if self.geometry == Geometry():
            used = x[:, :, : self.rows[0], : self.rows[1]]
        else:
            used = numerics.spread(x, self.geometry, self.rows, self.zx).astype(np.int8)
        shifted = np.ascontiguousarray(used).view(np.uint8) ^ np.uint8(0x80)
        try:
            [y] = self.session.run(None, {"x": shifted})
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise ValueError(str(error)) from error
        result: Int8 = np.empty(y.shape, np.int8)
        np.bitwise_xor(y, np.uint8(0x80), out=result.view(np.uint8))
        if self.lo > numerics.INT8_LOW or self.hi < numerics.INT8_HIGH:
            result = np.clip(result, np.int8(self.lo), np.int8(self.hi))
        return result


def _pads(g: Geometry, size: tuple[int, int], out: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, int]]:
    """ONNX pads (top, left, bottom, right), and how much of the input they leave in use."""
    ends, used = [], []
    for extent, o, k, s, d, before in zip(
        size, out, g.kernel, g.stride, g.dilation, (g.pad_top, g.pad_left), strict=True
    ):
        need = (o - 1) * s + (k - 1) * d + 1 - before
        used.append(min(extent, need))
        ends.append(max(0, need - extent))
    return (g.pad_top, g.pad_left, ends[0], ends[1]), (used[0], used[1])


def _session(
    weights: Int8,
    bias: Int32,
    multiplier: Float32,
    g: Geometry,
    pads: tuple[int, ...],
    groups: int,
    zeros: tuple[int, int, int],
) -> Any:
    """zeros: of x as uint8, of the weights, of y as uint8."""
    channels, (zx, zw, zy) = weights.shape[0], zeros
    constants = {
        "one": np.array(1, np.float32), "zx": np.array(zx, np.uint8), "w": weights, "sw": multiplier,
        "zw": np.full(channels, zw, np.int8), "zy": np.array(zy, np.uint8), "b": bias,
    }  # fmt: skip
    node = helper.make_node(
        "QLinearConv", ["x", "one", "zx", "w", "sw", "zw", "one", "zy", "b"], ["y"], kernel_shape=list(g.kernel),
        strides=list(g.stride), dilations=list(g.dilation), pads=list(pads), group=groups,
    )  # fmt: skip
    graph = helper.make_graph(
        [node], "conv",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [None] * 4)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [None] * 4)],
        [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    try:
        return ort.session(model.SerializeToString(), spinning=False)  # one pool a session: none may spin
    except Exception as error:  # see above
        raise ValueError(str(error)) from error


@cache
def is_exact() -> bool:
    """True where this processor's QLinearConv equals the reference on values that make 16-bit kernels saturate."""
    rng = np.random.default_rng(0)
    x = rng.choice(np.array([-128, 127], np.int8), (1, 64, 6, 6))
    w = rng.choice(np.array([-127, 127], np.int8), (16, 64, 3, 3))
    multiplier = rng.uniform(1e-5, 3e-5, 16).astype(np.float32)
    bias = rng.integers(-1000, 1000, 16).astype(np.int32)
    geometry = Geometry(kernel=(3, 3), pad_top=1, pad_left=1)
    for zw in (0, -7):
        session = _session(w, bias, multiplier, geometry, (1, 1, 1, 1), 1, (3 + 128, zw, -5 + 128))
        [y] = session.run(None, {"x": x.view(np.uint8) ^ np.uint8(0x80)})
        acc = numerics.contract(x, w, 3, geometry, (6, 6), zw=zw) + bias.reshape(1, -1, 1, 1)
        expected = numerics.requantize(acc, multiplier, -5, -128, 127)
        if not np.array_equal((y ^ np.uint8(0x80)).view(np.int8), expected):
            return False
    return True
