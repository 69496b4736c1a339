"""How a kernel slides over an image of TFLite: SAME and VALID as pads in numbers."""

from __future__ import annotations

import tflite

from furc.tflite.model import Operator


def pads_of(
    operator: Operator, sizes: list[int], kernel: list[int], stride: list[int], dilation: list[int]
) -> list[int]:
    """Rows and columns before, then after. SAME puts the odd one behind. sizes: height and width."""
    if min((*stride, *dilation, *kernel, *sizes)) < 1:
        raise operator.invalid(f"kernel {kernel}, stride {stride} and dilation {dilation} over {sizes}")
    if operator.spread is not None:
        return list(operator.spread.pads)
    if operator.option("Padding", tflite.Padding.SAME) == tflite.Padding.VALID:
        return [0, 0, 0, 0]
    total = [
        max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    ]
    return [t // 2 for t in total] + [t - t // 2 for t in total]


def strides_of(operator: Operator) -> list[int]:
    return [operator.option("StrideH", 1), operator.option("StrideW", 1)]


def dilations_of(operator: Operator) -> list[int]:
    if operator.spread is not None:
        return list(operator.spread.dilation)
    return [operator.option("DilationHFactor", 1), operator.option("DilationWFactor", 1)]
