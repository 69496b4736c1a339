"""Arrays [n, c, h, w] whose memory runs (n, h, w, c): the order in which ONNX Runtime's integer kernels are fastest."""

from __future__ import annotations

import numpy as np

from isa.execute.numerics import Int8


def channels_last(x: Int8) -> Int8:
    """x [n, c, h, w] as contiguous [n, h, w, c]: x's own memory where it runs so."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def channels_second(y: Int8) -> Int8:
    """y [n, h, w, c] as a view [n, c, h, w]."""
    return y.transpose(0, 3, 1, 2)


def run_channels_last(x: Int8) -> Int8:
    """x [n, c, h, w] with its memory in the order (n, h, w, c): x itself where it is."""
    return channels_second(channels_last(x))
