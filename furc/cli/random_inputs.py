"""Seeded data for graphs and models: uniform in [0, 1) for floats, every value for integers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from furc.data.arrays import Array
from passes.ir.graph import Value


def random_inputs(values: Iterable[Value], seed: int) -> dict[str, Array]:
    """An array for each value, by name."""
    rng = np.random.default_rng(seed)
    return {value.name: random_array(value.type.shape, value.type.dtype.numpy, rng) for value in values}


def random_array(shape: tuple[int, ...], dtype: np.dtype[np.generic], rng: np.random.Generator) -> Array:
    """One array."""
    if dtype.kind == "f":
        return rng.random(shape, np.float32)
    info = np.iinfo(dtype.name)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)
