"""What a layer reads at some places of some samples, in the float model and on the grids: all that it is fitted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32
from furc.quantizer.patches import Patches

Float64 = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Reads:
    """Of `places` patches. mean, mean_seen: of what is read in the float model and on the grids, [groups, inputs, 1].

    missing: what the layer's results lack on the grids, [groups, outputs of one, places]. channels: the sum of each
    channel's taps, [groups, channels, places]. moments: of patches in the float model, in squares of the grid's steps,
    about their mean or about 0, [groups, inputs, inputs]; None where nobody asked for them.
    """

    places: int
    mean: Float64
    mean_seen: Float64
    missing: Float32
    channels: Float32
    moments: Float32 | None


def look(
    patches: Patches,
    rows: Float32,
    exact: Sequence[Array],
    seen: Sequence[Array],
    at: Sequence[Places],
    step: float,
    *,
    moments: bool,
    about_mean: bool,
) -> Reads:
    """Sample by sample, since patches are large. rows: weights, [groups, outputs of one, inputs]. exact, seen: what the
    layer reads, by sample. at: the places of each. step: of its grid."""
    groups, _, inputs = rows.shape
    places = sum(map(len, at))
    missing, channels, means = list[Float32](), list[Float32](), np.zeros((2, groups, inputs, 1))
    # About the first sample's mean: single precision would not hold what is left of squares far from 0.
    origin: Float32 | None = None
    found = np.zeros((groups, inputs, inputs), np.float32) if moments else None
    for value, rounded, where in zip(exact, seen, at, strict=True):
        x, x_seen = patches.at(value, where), patches.at(rounded, where)
        means += [of.sum(2, keepdims=True) / places for of in (x, x_seen)]
        missing.append(np.matmul(rows, np.subtract(x, x_seen, out=x_seen)))
        channels.append(x.reshape(groups, -1, patches.taps, len(where)).sum(2))
        if found is not None:
            if about_mean:
                origin = x.mean(2, keepdims=True) if origin is None else origin
                x -= origin
            x /= np.float32(step)  # whatever the model's numbers, their squares are none that overflow
            found += squares(x) / np.float32(places)
    if found is not None and origin is not None:
        off = (means[0] - origin) / step
        found -= np.matmul(off, off.transpose(0, 2, 1)).astype(np.float32)
    return Reads(places, means[0], means[1], np.concatenate(missing, 2), np.concatenate(channels, 2), found)


def squares(x: Float32) -> Float32:
    """Sums over places of products: [groups, m, places] -> [groups, m, m]."""
    return np.asarray(np.matmul(x, x.transpose(0, 2, 1)))
