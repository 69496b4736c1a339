"""What a decoder of a detection head is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.errors import RunError

Float = NDArray[np.floating[Any]]


class Candidates(NamedTuple):
    """Boxes before suppression. boxes: [n, 4], left, top, right, bottom in input pixels; scores: [n, classes]."""

    boxes: Float
    scores: Float


Outputs = Sequence[Float]  # of one image, in the model's order, without the axis of the batch
Size = tuple[int, int]  # rows and columns of the input


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How to read a network's outputs, with what its authors' own evaluation does behind them.

    iou: boxes of a class that overlap more are one object. multi_label: a box may be of several classes. shapes: what
    outputs it takes, in words. source: where that is from.
    """

    decode: Callable[[Outputs, Size], Candidates]
    iou: float
    multi_label: bool
    shapes: str
    source: str


def grid(rows: int, columns: int) -> tuple[Float, Float]:
    """Column and row of every cell, each [rows, columns]."""
    y, x = np.mgrid[:rows, :columns]
    return x, y


def sigmoid(x: Float) -> Float:
    return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def corners(x: Float, y: Float, width: Float, height: Float) -> Float:
    """Boxes [n, 4] from centres and sizes of any one shape."""
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], -1).reshape(-1, 4)


def rows_of(channels_first: Float) -> Float:
    """[channels, rows, columns] to [rows * columns, channels]."""
    return channels_first.reshape(channels_first.shape[0], -1).T


def strides(size: Size) -> list[tuple[int, int, int]]:
    """Stride, rows and columns of the three grids of a YOLO, which whole outputs have one behind the other."""
    return [(s, -(-size[0] // s), -(-size[1] // s)) for s in (8, 16, 32)]


def joined(parts: Sequence[Candidates]) -> Candidates:
    boxes, scores = zip(*parts, strict=True)
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


def unfit(kind: str, shapes: str, outputs: Outputs) -> RunError:
    """The outputs are not what this head has."""
    found = ", ".join(str([1, *output.shape]) for output in outputs)
    return RunError("HeadMismatch", f"outputs {found} are not those of {kind}", hint=f"it takes {shapes}; see --decode")
