"""Seeded weights: noise of the right size, good for timing and code size, never for accuracy."""

from __future__ import annotations

import math
import zlib

import numpy as np
from numpy.typing import NDArray

from furc.onnx.builder import Fill, Shape


def he_normal(seed: int) -> Fill:
    """Weights of variance 2 / fan-in, biases of deviation 0.05, each from its own generator.

    A tensor's values depend on seed, name and shape alone, so that editing one layer leaves the others as they were.
    Source: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, equation 10.
    """

    def fill(name: str, shape: Shape) -> NDArray[np.float32]:
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        deviation = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.05
        return generator.standard_normal(shape, np.float32) * np.float32(deviation)

    return fill
