"""Average pooling on ONNX Runtime: a convolution of each channel with ones, where each mean is of as many elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isa.execute.kernel_graph import KernelGraph, Pads
from isa.execute.qlinear_conv import Contraction, emit_conv, is_exact, onnx_pads
from isa.execute.simple_part import SimplePart
from isa.instructions import AveragePool


class AveragePoolPart(SimplePart):
    """One instruction."""

    def __init__(self, pool: AveragePool, multiplier: np.float32) -> None:
        super().__init__(pool, (pool.x,), pool.y)
        self.pool, self.multiplier = pool, multiplier

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        [x], pool = xs, self.pool
        pads, used = _pads(pool)
        channels, geometry = pool.x.shape.c, pool.geometry
        ones, multiplier = np.ones((channels, 1, *geometry.kernel), np.int8), np.full(channels, self.multiplier)
        contraction = Contraction(ones, np.zeros(channels, np.int32), multiplier, pool.zx, 0, pool.zy, channels)
        y = emit_conv(graph, graph.crop(x, pool.x.shape, used), contraction, geometry, pads, (used[1], pool.y.shape.w))
        return graph.clip(y, pool.lo, pool.hi)


def prepare(pool: AveragePool) -> AveragePoolPart | None:
    """None where means are of more and of fewer elements, and where ONNX has no such padding."""
    geometry, x = pool.geometry, pool.x.shape
    pads, used = _pads(pool)
    alike = not any(pads) or bool(pool.padded)
    small = geometry.taps <= x.h * x.w  # of a hostile file, ones could take much more than its tensors
    if not (alike and small and is_exact()) or min(*pads) < 0 or min(used) < 1:
        return None
    with np.errstate(all="ignore"):  # scales of hostile files
        multiplier = np.float32(pool.sx) / np.float32(pool.sy) / np.float32(geometry.taps)
    return AveragePoolPart(pool, multiplier) if np.isfinite(multiplier) else None


def _pads(pool: AveragePool) -> tuple[Pads, tuple[int, int]]:
    x, y = pool.x.shape, pool.y.shape
    return onnx_pads(pool.geometry, (x.h, x.w), (y.h, y.w))
