"""How close quantized results are to float ones: signal-to-quantization-noise ratio, in dB."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from furc.onnx.graph import Array, Float32

EXACT_DB = 120.0  # reported where there is no noise at all


@dataclass(slots=True)
class Noise:
    """Power of a signal and of its error, summed over samples."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, exact: Array, approximate: Array) -> None:
        """Where the two have other extents, as of boxes of which more are found, nothing of one stands for anything of
        the other: all of both is error."""
        wanted, found = (np.asarray(of, np.float32).reshape(-1) for of in (exact, approximate))
        apart = [found - wanted] if np.shape(exact) == np.shape(approximate) else [wanted, found]
        self.signal += _power(wanted)
        self.error += sum(_power(part) for part in apart)

    @property
    def ratio(self) -> float:
        """Error over signal power."""
        return self.error / max(self.signal, 1e-30)

    @property
    def db(self) -> float:
        """10 log10(signal / error), at most EXACT_DB."""
        return sqnr_db(self.ratio)


def _power(values: Float32) -> float:
    with np.errstate(over="ignore"):
        power = float(np.dot(values, values))
    return power if np.isfinite(power) else float(np.square(values, dtype=np.float64).sum())


def sqnr_db(ratio: float) -> float:
    """Of error over signal power, at most EXACT_DB."""
    return min(EXACT_DB, -10 * math.log10(max(ratio, 1e-30)))


def mean_ratio(noises: Mapping[str, Noise]) -> float:
    """Error over signal power, averaged over tensors, so that a small output counts as much as a large one."""
    return float(np.mean([noise.ratio for noise in noises.values()])) if noises else 0.0
