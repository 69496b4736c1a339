"""The cells of a head's maps: where they lie, and the boxes that they stand for."""

from __future__ import annotations

import numpy as np

from furc.evaluate.heads.head import Float, Size


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


def is_turned(cells: int, channels: int, size: Size, anchors: int = 1) -> bool:
    """Whether a whole output that would have so many cells has its axes in the order of another head: there are more
    channels than cells, and of the three grids these cells are not. anchors: of a cell."""
    return cells < channels and cells != anchors * sum(rows * columns for _, rows, columns in strides(size))
