"""The arithmetic of each operation on plain arrays, in NumPy: this IS the specification (docs/numerics.md).

Activations are int8 [n, c, h, w]. The rules are those of ONNX Runtime's quantized kernels: exact int32
accumulation; requantization in float32, rounding half to even, then zero point, then saturation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]
INT8_LOW, INT8_HIGH = -128, 127
FLOAT32_EXACT = 2**24


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How a kernel slides. pad_top and pad_left may be negative; padding below and right follows from the output."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    pad_top: int = 0
    pad_left: int = 0
    dilation: tuple[int, int] = (1, 1)
    up: int = 1  # zeros between input elements plus one

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]


def spread(x: NDArray[np.generic], geometry: Geometry, out: tuple[int, int], fill: int) -> NDArray[np.generic]:
    """x [n, c, h, w] with zeros inserted (up) and padding of `fill`, just as large as the kernel needs for `out`."""
    n, c, h, w = x.shape
    up = geometry.up
    need = [
        (o - 1) * s + (k - 1) * d + 1
        for o, s, k, d in zip(out, geometry.stride, geometry.kernel, geometry.dilation, strict=True)
    ]
    padded = np.full((n, c, need[0], need[1]), fill, x.dtype)
    rows = _placed(geometry.pad_top, h, up, need[0])
    columns = _placed(geometry.pad_left, w, up, need[1])
    padded[:, :, rows[0], columns[0]] = x[:, :, rows[1], columns[1]]
    return padded


def _placed(pad: int, extent: int, up: int, need: int) -> tuple[slice, slice]:
    """Where input elements 0..extent land in 0..need when element i goes to pad + i * up: (target, source)."""
    first = max(0, -(pad // up)) if pad < 0 else 0
    last = min(extent, (need - 1 - pad) // up + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    return slice(pad + first * up, pad + (last - 1) * up + 1, up), slice(first, last)


def taps(padded: NDArray[np.generic], geometry: Geometry, out: tuple[int, int]) -> list[NDArray[np.generic]]:
    """One strided view [n, c, oh, ow] of the padded input for each kernel position, row by row."""
    views = []
    (sh, sw), (dh, dw) = geometry.stride, geometry.dilation
    for i in range(geometry.kernel[0]):
        for j in range(geometry.kernel[1]):
            rows = slice(i * dh, i * dh + (out[0] - 1) * sh + 1, sh)
            columns = slice(j * dw, j * dw + (out[1] - 1) * sw + 1, sw)
            views.append(padded[:, :, rows, columns])
    return views


def contract(
    x: Int8, w: Int8, zx: int, geometry: Geometry, out: tuple[int, int], groups: int = 1, zw: int = 0
) -> Int32:
    """Convolution sums of (x - zx) * (w - zw). x [n, c, h, w], w [o, c / groups, kh, kw]; result int32
    [n, o, oh, ow], exact."""
    n, c = x.shape[:2]
    o, cg = w.shape[:2]
    assert c == cg * groups and o % groups == 0, (x.shape, w.shape, groups)
    centred = spread(x, geometry, out, zx).astype(np.int16) - np.int16(zx)
    kind = np.float32 if cg * 255 * (255 if zw else 128) < FLOAT32_EXACT else np.float64
    wf = (w.astype(np.int16) - np.int16(zw)).reshape(groups, o // groups, cg, geometry.taps).astype(kind)
    acc = np.zeros((n, groups, o // groups, out[0] * out[1]), np.int64)
    for t, view in enumerate(taps(centred, geometry, out)):
        xf = view.reshape(n, groups, cg, out[0] * out[1]).astype(kind)
        acc += np.matmul(wf[None, :, :, :, t], xf).astype(np.int64)
    return acc.reshape(n, o, *out).astype(np.int32)


def requantize(acc: Int32, multiplier: Float32, zero: int, lo: int, hi: int) -> Int8:
    """rint(float32(acc) * multiplier) + zero, clamped. acc [n, o, h, w]; multiplier [o] float32."""
    scaled = np.rint(acc.astype(np.float32) * multiplier.reshape(1, -1, 1, 1))
    result: Int8 = np.clip(scaled + np.float32(zero), lo, hi).astype(np.int8)
    return result


def finite(multiplier: Float32) -> Float32:
    """What a sum is multiplied by. Raises ValueError where it is no number, for then neither is the result."""
    if not np.isfinite(multiplier).all():
        raise ValueError("the multiplier of an output channel is not finite")
    return multiplier


def quantize(x: Float32, scale: float, zero: int, lo: int = INT8_LOW, hi: int = INT8_HIGH) -> Int8:
    """rint(x / scale) + zero, clamped."""
    scaled = np.asarray(x / np.float32(scale))
    np.rint(scaled, out=scaled)  # in place from here: the temporaries were most of the time
    scaled += np.float32(zero)
    np.clip(scaled, lo, hi, out=scaled)
    return scaled.astype(np.int8)


def dequantize(x: Int8, scale: float, zero: int) -> Float32:
    """(x - zero) * scale in float32."""
    real = x.astype(np.float32)
    real -= np.float32(zero)
    real *= np.float32(scale)
    return real


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryScales:
    """Scale and zero point of both operands and the result of an addition or a product."""

    sa: float
    za: int
    sb: float
    zb: int
    sy: float
    zy: int
    lo: int = INT8_LOW
    hi: int = INT8_HIGH


BinaryKind = Literal["add", "mul", "max", "min"]
_BINARY = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def binary(kind: BinaryKind, a: Int8, b: Int8, s: BinaryScales) -> Int8:
    """Dequantize both, add, multiply or compare in float32, quantize. Axes of extent 1 are repeated."""
    left, right = dequantize(a, s.sa, s.za), dequantize(b, s.sb, s.zb)
    return quantize(_BINARY[kind](left, right), s.sy, s.zy, s.lo, s.hi)


def multiply_matrices(a: Int8, b: Int8, s: BinaryScales) -> Int8:
    """a [n, c, h, k] times b [n, c, k, w], exact in int32, requantized. n and c of extent 1 are repeated.

    rint(float32(sum((a - za) * (b - zb))) * float32(float32(sa * sb) / sy)) + zy."""
    left, right = a.astype(np.float64) - s.za, b.astype(np.float64) - s.zb  # exact: sums stay below 2^53
    total = np.matmul(left, right).astype(np.int64).astype(np.int32)
    multiplier = np.float32(s.sa) * np.float32(s.sb) / np.float32(s.sy)
    result: Int8 = np.clip(np.rint(total.astype(np.float32) * multiplier) + np.float32(s.zy), s.lo, s.hi)
    return result.astype(np.int8)


EXPONENTIAL_BITS = 30  # of the fraction of exp(x - max): sums over 2^33 channels stay exact in int64


def softmax(x: Int8, *, sx: float, sy: float, zy: int, lo: int = INT8_LOW, hi: int = INT8_HIGH) -> Int8:
    """exp((x - max) * sx) over its sum along axis 1, requantized. x [n, c, h, w].

    The exponentials are one table of 256 fixed-point numbers, so the sum does not depend on its order."""
    steps = np.arange(256, dtype=np.float64) * np.float64(np.float32(sx))
    table = np.rint(np.exp(-steps) * 2.0**EXPONENTIAL_BITS).astype(np.int64)
    wide = x.astype(np.int16)
    exponentials = table[wide.max(axis=1, keepdims=True) - wide]
    share = (exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float32)
    return quantize(share, sy, zy, lo, hi)


def l2_normalize(x: Int8, *, zx: int, sy: float, zy: int, lo: int = INT8_LOW, hi: int = INT8_HIGH) -> Int8:
    """(x - zx) / sqrt(sum of (x - zx)^2 along axis 1), requantized; the scale of x cancels. All zeros stay zero."""
    centred = x.astype(np.int64) - zx
    norm = np.sqrt((centred * centred).sum(axis=1, keepdims=True).astype(np.float64))
    share = centred / np.where(norm == 0, 1.0, norm)
    return quantize(share.astype(np.float32), sy, zy, lo, hi)


def l2_norm(x: Int8, *, sx: float, zx: int, sy: float, zy: int, lo: int = INT8_LOW, hi: int = INT8_HIGH) -> Int8:
    """sqrt(sum of (x - zx)^2 along axis 1) * sx, requantized: the extent of axis 1 becomes 1."""
    centred = x.astype(np.int64) - zx
    norm = np.sqrt((centred * centred).sum(axis=1, keepdims=True).astype(np.float64)).astype(np.float32)
    return quantize(norm * np.float32(sx), sy, zy, lo, hi)


def lookup(x: Int8, table: Int8) -> Int8:
    """table[x + 128]; table int8 [256]."""
    by_byte = np.roll(table, 128).tobytes()  # the table by the bytes of x, as which C looks them up fastest
    result: Int8 = np.frombuffer(bytearray(np.ascontiguousarray(x)).translate(by_byte), np.int8)
    result.shape = x.shape
    return result


def max_pool(x: Int8, geometry: Geometry, out: tuple[int, int], lo: int, hi: int) -> Int8:
    """Largest element under the kernel; padding never wins."""
    padded = spread(x, geometry, out, INT8_LOW)
    best = np.maximum.reduce(taps(padded, geometry, out))
    result: Int8 = np.clip(best, lo, hi).astype(np.int8)
    return result


def average_pool(
    x: Int8, geometry: Geometry, out: tuple[int, int], *, sx: float, zx: int, sy: float, zy: int, padded: bool,
    lo: int = INT8_LOW, hi: int = INT8_HIGH,
) -> Int8:  # fmt: skip
    """Mean under the kernel. padded: padding counts in the divisor.

    rint(float32(sum(x - zx)) * float32(float32(sx / sy) / count)) + zy.
    """
    centred = spread(x, geometry, out, zx).astype(np.int32) - zx
    total = np.zeros((*x.shape[:2], *out), np.int32)
    for view in taps(centred, geometry, out):
        total += view
    count = np.float32(geometry.taps)
    if not padded:
        ones = spread(np.ones((1, 1, *x.shape[2:]), np.int8), geometry, out, 0)
        count = np.add.reduce([view.astype(np.float32) for view in taps(ones, geometry, out)])
        count = np.maximum(count, np.float32(1))
    multiplier = (np.float32(sx) / np.float32(sy)) / count
    result: Int8 = np.clip(np.rint(total.astype(np.float32) * multiplier) + np.float32(zy), lo, hi).astype(np.int8)
    return result
