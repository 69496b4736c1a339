"""What a layer reads at some places of some samples, in the float model and on the grids: all that it is fitted by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32
from furc.quantizer.correct.patches import Patches

NOISY = 0.1  # of the power of a layer's results that is missing, from which on they are told from what the grids leave
EVERY = 8  # so-manieth place tells what power a layer's results have
Float64 = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Reads:
    """Of `places` patches. mean, mean_seen: of what is read in the float model and on the grids, [groups, inputs, 1].

    missing: what the layer's results lack on the grids, [groups, outputs of one, places]. channels: the sum of each
    channel's taps, [groups, channels, places], in the float model; where much is missing, as far towards what it is on
    the grids. deviation: of channels in the float model from their mean, root mean square, [groups]. moments: of
    patches in the float model, in squares of the grid's steps, about their mean or about 0, [groups, inputs, inputs];
    None where nobody asked for them.
    """

    places: int
    mean: Float64
    mean_seen: Float64
    missing: Float32
    channels: Float32
    deviation: Float64
    moments: Float32 | None

    @property
    def is_finite(self) -> bool:
        """Whether single precision holds all of it: values of 1e30 have errors whose squares it does not."""
        found = (self.mean, self.mean_seen, self.missing, self.channels, self.deviation, self.moments)
        return all(np.isfinite(part).all() for part in found if part is not None)


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
    missing, made, means = list[Float32](), list[Float32](), np.zeros((2, groups, inputs, 1))
    channels, channels_seen = list[Float32](), list[Float32]()
    # About the first sample's mean: single precision would not hold what is left of squares far from 0.
    origin: Float32 | None = None
    found = np.zeros((groups, inputs, inputs), np.float32) if moments else None
    for value, rounded, where in zip(exact, seen, at, strict=True):
        if not len(where):
            continue
        x, x_seen = patches.at(value, where), patches.at(rounded, where)
        means += [of.sum(2, keepdims=True) / places for of in (x, x_seen)]
        for of, kept in ((x, channels), (x_seen, channels_seen)):
            kept.append(of.reshape(groups, -1, patches.taps, len(where)).sum(2))
        made.append(np.matmul(rows, x[:, :, ::EVERY]))
        missing.append(np.matmul(rows, np.subtract(x, x_seen, out=x_seen)))
        if found is not None:
            if about_mean:
                origin = x.mean(2, keepdims=True) if origin is None else origin
                x -= origin
            x /= np.float32(step)  # whatever the model's numbers, their squares are none that overflow
            found += squares(x) / np.float32(places)
    if found is not None and origin is not None:
        off = (means[0] - origin) / step
        found -= np.matmul(off, off.transpose(0, 2, 1)).astype(np.float32)
    lacks, told_by = np.concatenate(missing, 2), np.concatenate(channels, 2)
    deviation = np.sqrt(told_by.var(2, dtype=np.float64).mean(1))
    told_by += _share(lacks, np.concatenate(made, 2)) * (np.concatenate(channels_seen, 2) - told_by)
    return Reads(places, means[0], means[1], lacks, told_by, deviation, found)


def _share(missing: Float32, made: Float32) -> Float32:
    """By how much a layer is told from what it reads on the grids, [groups, 1, 1] from 0 to 1."""
    lost, power = (of.var(2, dtype=np.float64).sum(1) for of in (missing, made))
    share = np.divide(lost, NOISY * power, out=np.zeros_like(lost), where=power > 0)
    return np.asarray(np.minimum(share, 1)[:, None, None], np.float32)


def squares(x: Float32) -> Float32:
    """Sums over places of products: [groups, m, places] -> [groups, m, m]."""
    return np.asarray(np.matmul(x, x.transpose(0, 2, 1)))
