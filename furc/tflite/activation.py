"""Activations: fused into an operator, or operators of their own."""

from __future__ import annotations

import numpy as np
import tflite

from furc.tflite.model import Operator
from furc.tflite.writer import Writer

_KINDS = tflite.ActivationFunctionType
BOUNDS = {_KINDS.RELU_N1_TO_1: (-1.0, 1.0), _KINDS.RELU6: (0.0, 6.0)}


def clipped(writer: Writer, name: str, low: float, high: float) -> str:
    bounds = [writer.constant(end, np.array(v, np.float32)) for end, v in (("low", low), ("high", high))]
    return writer.emit("Clip", [name, *bounds])


def fused(writer: Writer, operator: Operator, name: str) -> str:
    """The activation that an operator has fused."""
    kind = operator.option("FusedActivationFunction")
    if kind == _KINDS.NONE:
        return name
    if kind == _KINDS.RELU:
        return writer.emit("Relu", [name])
    if kind not in BOUNDS:
        raise operator.unsupported(f"{operator.op} with fused activation {kind} does not run on the NPU", "use Relu")
    return clipped(writer, name, *BOUNDS[kind])
