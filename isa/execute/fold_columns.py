"""Neighbouring columns as channels, for convolutions of images and the like.

Of a convolution of few channels most time goes into gathering what lies under the kernel, row by row, for every
output element. Memory runs (n, h, w, c): the same bytes are a tensor of half as many columns with twice the channels.
Where that is convolved with weights that are the zero point where the kernel does not reach, two output columns are
made at once: the same sums, more multiplications, which vector units do by the way, and half as often something to
gather.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isa.execute.numerics import Geometry, Int8

GATHERING = 1000  # multiplications in the time that one row under a kernel takes to be gathered
PAYS = 0.9  # of the work: what is about the same stays as it is


class Fold(NamedTuple):
    """columns: of the output that are made at once; block: of the input, which become one. first, last: the blocks
    under the kernel, counted from that at the same place as the output's; behind: blocks of padding there."""

    columns: int
    block: int
    first: int
    last: int
    behind: int

    @property
    def kernel(self) -> int:
        """Its width in blocks."""
        return self.last - self.first + 1


def best_fold(shape: tuple[int, ...], geometry: Geometry, left: int, width: int, out: int) -> Fold | None:
    """How to fold a convolution of one group, None where that would not pay. shape: of the weights [o, c, kh, kw];
    left: columns of padding; width, out: columns of the input without padding, and of the output."""
    o, c, kh, kw = shape
    best, found = PAYS * kh * (GATHERING + c * kw * o), None
    for columns in (2, 4):
        fold = _fold(geometry, left, width, out, columns)
        if fold is not None:
            work = kh * (GATHERING + c * fold.block * fold.kernel * o * columns) / columns
            if work < best:
                best, found = work, fold
    return found


def _fold(geometry: Geometry, left: int, width: int, out: int, columns: int) -> Fold | None:
    stride, block = geometry.stride[1], columns * geometry.stride[1]
    if width % block or out % columns:
        return None
    reach = (columns - 1) * stride + (geometry.kernel[1] - 1) * geometry.dilation[1]
    first, last = -left // block, (reach - left) // block
    behind = out // columns - width // block + last
    return Fold(columns, block, first, last, behind) if first <= 0 <= behind else None


def folded_weights(weights: Int8, zw: int, geometry: Geometry, left: int, fold: Fold) -> Int8:
    """Weights [o, c, kh, kw] of the folded convolution: [columns * o, block * c, kh, blocks]."""
    o, c, kh, kw = weights.shape
    made = np.full((fold.columns, o, fold.block, c, kh, fold.kernel), zw, np.int8)
    for column in range(fold.columns):
        for x in range(kw):
            block, at = divmod(column * geometry.stride[1] - left + x * geometry.dilation[1], fold.block)
            made[column, :, at, :, :, block - fold.first] = weights[:, :, :, x]
    return made.reshape(fold.columns * o, fold.block * c, kh, fold.kernel)
