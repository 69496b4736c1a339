"""Formulas over quantization parameters that more than one level needs."""

from __future__ import annotations

import numpy as np

from isa.execute.numerics import Float32
from passes.ir.types import Quant


def conv_multiplier(x: Quant, w: Quant, y: Quant, channels: int) -> Float32:
    """sx * sw[c] / sy in float32, left to right, for each output channel: what ONNX Runtime's QLinearConv computes."""
    scales = np.asarray(w.scale, np.float32)
    product: Float32 = np.float32(x.s) * scales / np.float32(y.s)
    return np.broadcast_to(product, (channels,)).astype(np.float32)
