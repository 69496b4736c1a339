"""Linear Resize by whole factors as a transposed convolution, channel by channel: its kernel is the tent that each
element spreads over the result. Weights are small integers over a common denominator, so that sums are exact; what lies
beyond the edge repeats it. Weights beyond int8 are sums of several: each channel is read that many times.

Rows doubled, half pixels: each element adds 1/4, 3/4, 3/4, 1/4 of itself to four rows of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.frontend.entries import Pending
from furc.frontend.onnx.convolution import Weights
from furc.frontend.onnx.movement import mirrored
from furc.frontend.onnx.node import Node
from furc.frontend.onnx.registry import OnnxContext
from passes.dfg.legality import MAX_GROUPS, MAX_STRIDE
from passes.ir.attributes import Kernel
from passes.ir.op import Value
from passes.ops.conv import ConvTranspose2d

HALF_PIXELS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")  # the same where factors are whole
LARGEST = 127  # weight
IMAGE = 4  # axes


class Tent(NamedTuple):
    """The kernel of one axis. crop: elements that the padded input makes in front of the result."""

    numerators: tuple[int, ...]
    denominator: int
    crop: int
    factor: int

    @property
    def crop_behind(self) -> int:
        return self.factor + len(self.numerators) - self.crop if self.factor > 1 else 0


def obstacle(node: Node, shape: Sequence[int], out: Sequence[int], scales: Sequence[float]) -> str:
    """Why a linear resize is no contraction; "" where it is one. scales: by which coordinates go, also where 2 elements
    become 4 by 2.4."""
    whole = all(o % d == 0 and o // d == scale for o, d, scale in zip(out, shape, scales, strict=True))
    if len(shape) != IMAGE or list(out[:2]) != list(shape[:2]) or not whole:
        return "not by whole factors over rows and columns"
    transformation = _transformation(node)
    if transformation not in (*HALF_PIXELS, "asymmetric"):
        return f"weights of {transformation} are not the same everywhere"
    if node.integer("antialias", 0):
        return "antialiased"
    rows, columns = _tents(node, shape, out)
    if max(rows.factor, columns.factor) > MAX_STRIDE:
        return f"by {rows.factor} x {columns.factor}, the machine takes steps of at most {MAX_STRIDE}"
    kernel, _ = _kernel(rows, columns)
    if len(kernel) > 1 and shape[1] > MAX_GROUPS:
        largest = max(rows.numerators) * max(columns.numerators)
        return (
            f"by {rows.factor} x {columns.factor} takes weights up to {largest}, which are sums in int8 for at most "
            f"{MAX_GROUPS} channels, not {shape[1]}"
        )
    return ""


def linear(context: OnnxContext, node: Node, x: Value, out: Sequence[int]) -> Pending:
    """The contraction, where there is no obstacle."""
    shape = x.type.shape
    rows, columns = _tents(node, shape, out)
    kernel, denominator = _kernel(rows, columns)
    around = [0, 0, int(rows.factor > 1), int(columns.factor > 1)]
    x = mirrored(context, node, x, "edge", around, around, f"{node.output}.edged")
    channels, terms = shape[1], len(kernel)
    x = context.builder.repeat(x, [1, terms, 1, 1], True, f"{node.output}.terms", node.loc)
    stored = np.tile(kernel[:, None], (channels, 1, 1, 1))
    scale = np.array([1 / denominator], np.float32)
    fields = {
        "x": x,
        "w": Weights(f"{node.output}.tent", stored, scale, 0, None).value(context, stored, 1),
        "bias": None,
        "kernel": Kernel(
            (kernel.shape[1], kernel.shape[2]), (rows.factor, columns.factor),
            (rows.crop, columns.crop, rows.crop_behind, columns.crop_behind), (1, 1),
        ),
        "output_padding": (0, 0),
        "group": channels,
    }  # fmt: skip
    made = (shape[0], channels, out[2], out[3])
    return Pending(op=ConvTranspose2d, fields=fields, inner=made, shape=made, loc=node.loc)


def _kernel(rows: Tent, columns: Tent) -> tuple[NDArray[np.int8], int]:
    """int8 [terms, rows, columns], of which the sum is the kernel times the denominator, and that."""
    whole = np.outer(rows.numerators, columns.numerators)
    terms = math.ceil(whole.max() / LARGEST)
    parts = [(whole + term) // terms for term in range(terms)]
    return np.stack(parts).astype(np.int8), rows.denominator * columns.denominator


def _transformation(node: Node) -> str:
    return node.text("coordinate_transformation_mode", "half_pixel" if node.opset > 10 else "asymmetric")


def _tents(node: Node, shape: Sequence[int], out: Sequence[int]) -> tuple[Tent, Tent]:
    half_pixels = _transformation(node) in HALF_PIXELS
    return _tent(out[2] // shape[2], half_pixels), _tent(out[3] // shape[3], half_pixels)


def _tent(factor: int, half_pixels: bool) -> Tent:
    """half_pixels: elements stand in the middle of what they become, not at its begin."""
    if factor == 1:
        return Tent((1,), 1, 0, 1)
    if half_pixels and factor % 2 == 0:
        up = tuple(range(1, 2 * factor, 2))
        return Tent((*up, *up[::-1]), 2 * factor, 3 * factor // 2, factor)
    up = tuple(range(1, factor + 1))
    return Tent((*up, *up[-2::-1]), factor, (3 * factor - 1) // 2 if half_pixels else 2 * factor - 1, factor)
