"""YOLOv8: no anchors; the four sides of a box are expected values of distributions over 16 distances from the cell.

Source: ultralytics/ultralytics, nn/modules/head.py (Detect), nn/modules/block.py (DFL), cfg/default.yaml (iou 0.7, a
box may be of several classes).
"""

from __future__ import annotations

import numpy as np

from furc.evaluate.heads.cells import corners, grid, is_turned, rows_of, sigmoid
from furc.evaluate.heads.head import Candidates, Float, Head, Outputs, Size, Unfit, joined

BINS = 16
SHAPES = "for each stride the head convolutions [1,64,h,w] and [1,classes,h,w], or both in one, or [1,4+classes,cells]"


def candidates(outputs: Outputs, size: Size) -> Candidates:
    if len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[0] > 4:
        if is_turned(outputs[0].shape[1], outputs[0].shape[0], size):
            raise Unfit
        return Candidates(corners(*outputs[0][:4]), outputs[0][4:].T)
    if not outputs or any(output.ndim != 3 for output in outputs):
        raise Unfit
    found = []
    for extents in sorted({output.shape[1:] for output in outputs}, reverse=True):
        parts = _ordered([o for o in outputs if o.shape[1:] == extents])
        part = np.concatenate(parts)
        if len(parts) > 2 or (len(parts) == 2 and parts[0].shape[0] != 4 * BINS) or part.shape[0] <= 4 * BINS:
            raise Unfit
        found.append(_cells(part, size[0] / extents[0], size[1] / extents[1]))
    return joined(found)


def _ordered(parts: list[Float]) -> list[Float]:
    """Boxes before classes. In the head's own order where both could be boxes."""
    return parts if parts[0].shape[0] == 4 * BINS else parts[::-1]


def _cells(part: Float, down: float, across: float) -> Candidates:
    logits = part[: 4 * BINS].reshape(4, BINS, *part.shape[1:])
    weights = np.exp(logits - logits.max(1, keepdims=True))
    bins = np.arange(BINS, dtype=part.dtype)[None, :, None, None]
    left, top, right, bottom = (weights * bins).sum(1) / weights.sum(1)
    x, y = (axis + 0.5 for axis in grid(*part.shape[1:]))
    boxes = np.stack([(x - left) * across, (y - top) * down, (x + right) * across, (y + bottom) * down], -1)
    return Candidates(boxes.reshape(-1, 4), rows_of(sigmoid(part[4 * BINS :])))


HEAD = Head(name="yolov8", reads=candidates, iou=0.7, multi_label=True, shapes=SHAPES, source="ultralytics/ultralytics")
