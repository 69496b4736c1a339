"""How close quantized results are to float ones: signal-to-quantization-noise ratio, in dB."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from furc.onnx.graph import Array

EXACT_DB = 120.0  # reported where there is no noise at all


@dataclass(slots=True)
class Noise:
    """Power of a signal and of its error, summed over samples."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, exact: Array, approximate: Array) -> None:
        """Both of one shape."""
        wanted = np.asarray(exact, np.float32).reshape(-1)
        difference = np.asarray(approximate, np.float32).reshape(-1) - wanted
        self.signal += float(np.dot(wanted, wanted))
        self.error += float(np.dot(difference, difference))

    @property
    def ratio(self) -> float:
        """Error over signal power."""
        return self.error / max(self.signal, 1e-30)

    @property
    def db(self) -> float:
        """10 log10(signal / error), at most EXACT_DB."""
        return sqnr_db(self.ratio)


def sqnr_db(ratio: float) -> float:
    """Of error over signal power, at most EXACT_DB."""
    return min(EXACT_DB, -10 * math.log10(max(ratio, 1e-30)))


def mean_ratio(noises: Mapping[str, Noise]) -> float:
    """Error over signal power, averaged over tensors, so that a small output counts as much as a large one."""
    return float(np.mean([noise.ratio for noise in noises.values()])) if noises else 0.0
