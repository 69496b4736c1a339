"""The grids of INT8: which 256 real numbers a tensor may hold, and how weights and biases get onto theirs.

real = (stored - zero) * scale. Activations: one grid a tensor, stored in [-128, 127], zero exactly representable.
Weights: one scale an output channel or a tensor, zero = 0, stored in [-127, 127], so that they never saturate and -w
is as good as w. Source: the TFLite 8-bit quantization specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32
from furc.plain_yaml import shortened
from isa.errors import Loc, QuantizeError

LOW, HIGH, STEPS = -128, 127, 255
WEIGHT_HIGH = 127
BIAS_HIGH = 2.0**30  # half of int32: the products must fit beside the bias
BIAS_FINE = 2.0**24  # of a channel without weights, whose bias alone decides the scale
SMALLEST_SCALE = 1e-15  # so that the product of an input's and a weight's scale stays a normal float32
LARGEST_SCALE = 1e15

Int8 = NDArray[np.int8]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Grid:
    """Scale and zero point of an activation. scale is a float32 value, > 0."""

    scale: float
    zero: int

    @property
    def range(self) -> Range:
        """The smallest and largest real number on the grid."""
        return (LOW - self.zero) * self.scale, (HIGH - self.zero) * self.scale


def as_range(given: object, what: str) -> Range:
    """A caller's range as floats. what: whose it is. Raises QuantizeError[BadRange] for other than two numbers."""
    try:
        ends = np.asarray(given)
    except ValueError:  # parts of different lengths
        ends = np.empty(0)
    if ends.shape != (2,) or ends.dtype.kind not in "iuf":
        message = f"{what} is given the range {shortened(given)}, not two numbers"
        raise QuantizeError("BadRange", message, at=Loc(detail=what), hint="give it as (low, high)")
    return float(ends[0]), float(ends[1])


def with_zero(low: float, high: float) -> Range:
    """The range, widened to contain 0."""
    return min(low, 0.0), max(high, 0.0)


def symmetric(low: float, high: float) -> Range:
    """Quasi-symmetric, as the vendor's SYM: [0, b] for a tensor that is never negative, else [-b, b].

    Checked against a file that the vendor's 0.10 quantizer wrote: every Relu output there has minimum 0.
    """
    bound = max(abs(low), abs(high))
    return (0.0, bound) if low >= 0 else (-bound, bound)


def grid(low: float, high: float) -> Grid:
    """The asymmetric grid that covers a range and 0. A range of nothing but 0 gets the grid of [0, 1]."""
    low, high = with_zero(low, high)
    if high - low == 0:
        high = 1.0
    scale = float(np.float32(min(max((high - low) / STEPS, SMALLEST_SCALE), LARGEST_SCALE)))
    zero = int(np.clip(np.rint(LOW - low / (high - low) * STEPS), LOW, HIGH))  # not by the rounded scale: [-b, b] has 0
    return Grid(scale, zero)


def grids(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Float32, Float32]:
    """Scale and zero point of many ranges, as `grid` has them of one. [n] -> [n, 1] each."""
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    high = np.where(high == low, low + 1.0, high)
    scale = np.clip((high - low) / STEPS, SMALLEST_SCALE, LARGEST_SCALE).astype(np.float32)
    zero = np.clip(np.rint(LOW - low / (high - low) * STEPS), LOW, HIGH).astype(np.float32)
    return scale[:, None], zero[:, None]


def quantize_array(x: Array, g: Grid) -> Int8:
    """x in float32 -> int8 of the same shape, as QuantizeLinear does: round half to even, then saturate."""
    scaled = np.rint(np.asarray(x, np.float32) / np.float32(g.scale)) + g.zero
    stored: Int8 = np.clip(scaled, LOW, HIGH).astype(np.int8)
    return stored


def dequantize_array(x: Int8, g: Grid) -> Float32:
    return (x.astype(np.float32) - np.float32(g.zero)) * np.float32(g.scale)


def on_grid(x: Array, g: Grid) -> Float32:
    """What readers of x see once it is stored on a grid."""
    return dequantize_array(quantize_array(x, g), g)


class Weights(NamedTuple):
    """Quantized weights. scale: [] for one of the tensor, or [channels] along `axis`."""

    values: Int8
    scale: Float32
    axis: int | None

    def real(self) -> Float32:
        """What the values stand for."""
        return self.values.astype(np.float32) * along(self.scale, self.values.ndim, self.axis)


def along(scale: Float32, rank: int, axis: int | None) -> Float32:
    """A scale shaped so that it multiplies a weight of this rank."""
    return scale if axis is None else scale.reshape([-1 if i == axis else 1 for i in range(rank)])


def weight_scale(weight: Float32, axis: int | None, smallest: NDArray[np.float64]) -> Float32:
    """Scale a channel (or of the tensor, axis None) that covers the weights and is at least `smallest` (same shape)."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, initial=0.0) if axis is not None else np.abs(weight).max(initial=0.0)
    scale = np.maximum(np.asarray(largest, np.float64) / WEIGHT_HIGH, smallest)
    return np.asarray(np.clip(scale, SMALLEST_SCALE, LARGEST_SCALE), np.float32)


def smallest_weight_scale(bias: Float32 | None, x_scale: float, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Below which scale of the weights the bias would not fit into int32. bias [channels]; used [channels].

    used: channels that have a weight other than 0. The others get the scale that holds their bias best, or 1.
    """
    magnitude = np.zeros(used.shape) if bias is None else np.abs(bias.astype(np.float64))
    alone = np.where(magnitude > 0, magnitude / (x_scale * BIAS_FINE), 1.0)
    return np.where(used, magnitude / (x_scale * BIAS_HIGH), alone)


def quantize_weights(weight: Float32, scale: Float32, axis: int | None) -> Weights:
    """Round to nearest. Never saturates when `scale` comes from `weight_scale`."""
    values = np.rint(weight / along(scale, weight.ndim, axis))
    return Weights(np.clip(values, -WEIGHT_HIGH, WEIGHT_HIGH).astype(np.int8), scale, axis)


def quantize_bias(bias: Float32, step: Float32) -> NDArray[np.int32]:
    """int32 at `step`, the scale of the layer's input times that of its weights, multiplied in float32 as the consumer
    does."""
    values = np.rint(bias.astype(np.float64) / step.astype(np.float64))
    return np.clip(values, -BIAS_HIGH, BIAS_HIGH).astype(np.int32)
