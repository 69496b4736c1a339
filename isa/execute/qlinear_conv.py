"""A whole convolution as one QLinearConv of ONNX Runtime: uint8 activations, channels last, the fast path of most
processors.

QLinearConv's scales are set so that its multiplier is exactly the machine's: x scale 1, weight scale the multiplier, y
scale 1. On processors whose uint8 x int8 kernels saturate, `is_exact` finds out and the reference is used instead.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from isa import ort
from isa.execute import numerics
from isa.execute.fold_columns import best_fold, folded_weights
from isa.execute.kernel_form import kernel_form, machine_form
from isa.execute.kernel_graph import KernelGraph, Pads
from isa.execute.numerics import Float32, Geometry, Int8, Int32


class Contraction(NamedTuple):
    """Weights [o, c / groups, kh, kw], bias and multiplier [o]; zero points of x, the weights and y."""

    weights: Int8
    bias: Int32
    multiplier: Float32
    zx: int
    zw: int
    zy: int
    groups: int = 1


def emit_conv(
    graph: KernelGraph, x: str, c: Contraction, geometry: Geometry, pads: Pads, width: tuple[int, int]
) -> str:
    """Add a convolution, which does what x is padded with by itself where that is its zero point. width: columns of x
    and of the result."""
    x, more = graph.unpadded(x, c.zx)
    pads = (pads[0] + more[0], pads[1] + more[1], pads[2] + more[2], pads[3] + more[3])
    inside = width[0] - more[1] - more[3]
    fold = best_fold(c.weights.shape, geometry, pads[1], inside, width[1]) if c.groups == 1 else None
    if fold is None:
        return _emit(graph, x, c, geometry, pads)
    x = graph.add("Reshape", [x, graph.constant(np.array([0, 0, inside // fold.block, -1]))])  # 0: as it is
    made = _emit(
        graph, x,
        c._replace(
            weights=folded_weights(c.weights, c.zw, geometry, pads[1], fold),
            bias=np.tile(c.bias, fold.columns), multiplier=np.tile(c.multiplier, fold.columns),
        ),
        replace(geometry, kernel=(geometry.kernel[0], fold.kernel), stride=(geometry.stride[0], 1),
            dilation=(geometry.dilation[0], 1)),
        (pads[0], -fold.first, pads[2], fold.behind),
    )  # fmt: skip
    return graph.add("Reshape", [made, graph.constant(np.array([0, 0, width[1], -1]))])


def _emit(graph: KernelGraph, x: str, c: Contraction, geometry: Geometry, pads: Pads) -> str:
    channels, one = len(c.weights), graph.constant(np.float32(1))
    inputs = [
        x, one, graph.constant(np.uint8(c.zx + 128)), graph.constant(np.ascontiguousarray(c.weights)),
        graph.constant(c.multiplier), graph.constant(np.full(channels, c.zw, np.int8)), one,
        graph.constant(np.uint8(c.zy + 128)), graph.constant(c.bias),
    ]  # fmt: skip
    return graph.add(
        "QLinearConv", inputs, ort.MICROSOFT, channels_last=1, kernel_shape=list(geometry.kernel),
        strides=list(geometry.stride), dilations=list(geometry.dilation), pads=list(pads), group=c.groups,
    )  # fmt: skip


def onnx_pads(g: Geometry, size: tuple[int, int], out: tuple[int, int]) -> tuple[Pads, tuple[int, int]]:
    """ONNX pads (top, left, bottom, right), and how much of the input they leave in use."""
    ends, used = [], []
    for extent, o, k, s, d, before in zip(
        size, out, g.kernel, g.stride, g.dilation, (g.pad_top, g.pad_left), strict=True
    ):
        need = (o - 1) * s + (k - 1) * d + 1 - before
        used.append(min(extent, need))
        ends.append(max(0, need - extent))
    return (g.pad_top, g.pad_left, ends[0], ends[1]), (used[0], used[1])


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
        graph = KernelGraph()
        y = _emit(graph, graph.input(), Contraction(w, bias, multiplier, 3, zw, -5), geometry, (1, 1, 1, 1))
        [made] = graph.session([y]).run([kernel_form(x)])
        acc = numerics.contract(x, w, 3, geometry, (6, 6), zw=zw) + bias.reshape(1, -1, 1, 1)
        expected = numerics.requantize(acc, multiplier, -5, -128, 127)
        if not np.array_equal(machine_form(made), expected):
            return False
    return True
