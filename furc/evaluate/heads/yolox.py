"""YOLOX: one box a cell, its distance from the cell and the logarithm of its size in strides.

Source: Megvii-BaseDetection/YOLOX, yolox/models/yolo_head.py (decode_outputs) and yolox/utils/demo_utils.py
(demo_postprocess); evaluation with nmsthre 0.65, the best class of a box alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from furc.evaluate.heads.cells import corners, grid, rows_of, sigmoid, strides
from furc.evaluate.heads.head import Candidates, Float, Head, Outputs, Size, Unfit, joined, of_scale

SHAPES = "for each stride the head convolutions [1,4,h,w], [1,1,h,w], [1,classes,h,w], or [1,cells,5+classes]"


def candidates(outputs: Outputs, size: Size) -> Candidates:
    if len(outputs) == 1 and outputs[0].ndim == 2:
        return _whole(outputs[0], size)
    if not outputs or len(outputs) % 3 or any(output.ndim != 3 for output in outputs):
        raise Unfit
    return joined([_cells(part, size[0] / part.shape[1], size[1] / part.shape[2]) for part in _by_scale(outputs)])


def _by_scale(outputs: Outputs) -> Iterator[Float]:
    """[5 + classes, h, w] of each scale, the finest first: box, then scores between 0 and 1."""
    sizes = sorted({output.shape[1:] for output in outputs}, reverse=True)
    for extents in sizes:
        box, *scores = of_scale([output for output in outputs if output.shape[1:] == extents], 4, 1)
        yield np.concatenate([box, *map(sigmoid, scores)])


def _whole(output: Float, size: Size) -> Candidates:
    """The export without decode_in_inference: raw boxes, scores behind their sigmoid."""
    if sum(rows * columns for _, rows, columns in strides(size)) != output.shape[0] or output.shape[1] < 6:
        raise Unfit
    found, start = [], 0
    for stride, rows, columns in strides(size):
        part = output[start : start + rows * columns]
        start += rows * columns
        found.append(_cells(part.T.reshape(-1, rows, columns), stride, stride))
    return joined(found)


def _cells(part: Float, down: float, across: float) -> Candidates:
    x, y = grid(*part.shape[1:])
    sides = np.exp(np.minimum(part[2:4], 80))
    boxes = corners((part[0] + x) * across, (part[1] + y) * down, sides[0] * across, sides[1] * down)
    return Candidates(boxes, rows_of(part[5:] * part[4]))


HEAD = Head(
    name="yolox", reads=candidates, iou=0.65, multi_label=False, shapes=SHAPES, source="Megvii-BaseDetection/YOLOX"
)
