"""Padding on ONNX Runtime, channels last."""

from __future__ import annotations

from collections.abc import Sequence

from isa.execute.kernel_graph import KernelGraph, Padded
from isa.execute.simple_part import SimplePart
from isa.instructions import Pad


class PadPart(SimplePart):
    """One instruction."""

    def __init__(self, pad: Pad) -> None:
        super().__init__(pad, (pad.x,), pad.y)
        self.pad = pad

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        pad, x, y = self.pad, self.pad.x.shape, self.pad.y.shape
        [source], before = xs, (0, pad.dh, pad.dw, pad.dc)
        after = (0, y.h - x.h - pad.dh, y.w - x.w - pad.dw, y.c - x.c - pad.dc)
        return graph.pad(Padded(source, before, after, pad.value))


def prepare(pad: Pad) -> PadPart | None:
    """None where the source does not fit where it is put."""
    x, y = pad.x.shape, pad.y.shape
    fits = pad.dh + x.h <= y.h and pad.dw + x.w <= y.w and pad.dc + x.c <= y.c and x.n == y.n
    return PadPart(pad) if fits else None
