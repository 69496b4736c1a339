"""The form of tensors in which ONNX Runtime's integer kernels are fastest: uint8 [n, h, w, c].

It is what is int8 [n, c, h, w] on the machine, plus 128.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isa.execute.numerics import Int8

UInt8 = NDArray[np.uint8]
_FLIP = np.uint8(0x80)  # from int8 to uint8 and back
_FEW_CHANNELS = 8  # up to here NumPy copies channel by channel faster than pixel by pixel


def kernel_form(x: Int8) -> UInt8:
    """x [n, c, h, w] for kernels, contiguous, copied."""
    flipped = plus_128(x)  # in the order of x's memory
    y = flipped.transpose(0, 2, 3, 1)
    if y.flags.c_contiguous or x.shape[1] > _FEW_CHANNELS:
        return np.ascontiguousarray(y)
    n, c, h, w = x.shape
    made = np.empty((n, h, w, c), np.uint8)
    for channel in range(c):
        made[..., channel] = flipped[:, channel]
    return made


def machine_form(y: UInt8) -> Int8:
    """y [n, h, w, c] as the machine has it, [n, c, h, w], copied."""
    return minus_128(y).transpose(0, 3, 1, 2)


def runs(y: UInt8) -> NDArray[np.void]:
    """y, whose last axis lies side by side, as a view with one element for all of that axis: NumPy copies such elements
    several times as fast as rows of bytes."""
    return y.view(np.dtype((np.void, y.shape[-1])))


def contiguous(y: UInt8) -> UInt8:
    """y itself, or copied where it is not contiguous."""
    if y.flags.c_contiguous or y.strides[-1] != 1:
        return np.ascontiguousarray(y)
    return np.ascontiguousarray(runs(y)).view(np.uint8)


def plus_128(x: Int8) -> UInt8:
    """x as uint8, of any shape, copied."""
    return x.view(np.uint8) ^ _FLIP


def minus_128(y: UInt8) -> Int8:
    """The inverse of plus_128."""
    return (y ^ _FLIP).view(np.int8)
