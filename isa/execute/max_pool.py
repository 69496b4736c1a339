"""Max pooling on ONNX Runtime, channels last."""

from __future__ import annotations

from collections.abc import Sequence

from isa import ort
from isa.execute.kernel_graph import KernelGraph
from isa.execute.qlinear_conv import onnx_pads
from isa.execute.simple_part import SimplePart
from isa.instructions import MaxPool


class MaxPoolPart(SimplePart):
    """One instruction."""

    def __init__(self, pool: MaxPool, pads: tuple[int, ...], used: tuple[int, int]) -> None:
        super().__init__(pool, (pool.x,), pool.y)
        self.pool, self.pads, self.used = pool, pads, used

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        [x], pool = xs, self.pool
        y = graph.add(
            "NhwcMaxPool", [graph.crop(x, pool.x.shape, self.used)], ort.MICROSOFT,
            kernel_shape=list(pool.geometry.kernel), strides=list(pool.geometry.stride), pads=list(self.pads),
        )  # fmt: skip
        return graph.clip(y, pool.lo, pool.hi)


def prepare(pool: MaxPool) -> MaxPoolPart | None:
    """None where a kernel could see nothing but padding, or less than the input's first row or column."""
    geometry, x, y = pool.geometry, pool.x.shape, pool.y.shape
    pads, used = onnx_pads(geometry, (x.h, x.w), (y.h, y.w))
    fits = all(0 <= pad < kernel for pad, kernel in zip(pads, geometry.kernel * 2, strict=True))
    if not fits or min(used) < 1 or geometry.dilation != (1, 1):
        return None
    return MaxPoolPart(pool, pads, used)
