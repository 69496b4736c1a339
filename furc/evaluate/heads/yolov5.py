"""YOLOv5: three anchors a cell; centre and size are squares of sigmoids.

Source: ultralytics/yolov5, models/yolo.py (Detect), anchors of models/yolov5s.yaml, val.py (iou_thres 0.6, a box may be
of several classes).
"""

from __future__ import annotations

import numpy as np

from furc.evaluate.heads.cells import corners, grid, is_turned, rows_of, sigmoid
from furc.evaluate.heads.head import Candidates, Float, Head, Outputs, Size, Unfit, joined

ANCHORS = {  # width and height in pixels, by stride
    8: ((10, 13), (16, 30), (33, 23)),
    16: ((30, 61), (62, 45), (59, 119)),
    32: ((116, 90), (156, 198), (373, 326)),
}
SHAPES = "the head convolutions [1,3*(5+classes),h,w] of strides 8, 16 and 32, or [1,cells,5+classes]"


def candidates(outputs: Outputs, size: Size) -> Candidates:
    if len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] > 5:
        rows = outputs[0]
        if is_turned(rows.shape[0], rows.shape[1], size, anchors=3):
            raise Unfit
        return Candidates(corners(*rows[:, :4].T), rows[:, 5:] * rows[:, 4:5])
    if len(outputs) != 3 or any(o.ndim != 3 or o.shape[0] % 3 or o.shape[0] < 18 for o in outputs):
        raise Unfit
    return joined([part for output in outputs for part in _cells(output, size)])


def _cells(output: Float, size: Size) -> list[Candidates]:
    stride = round(size[0] / output.shape[1])
    if stride not in ANCHORS:
        raise Unfit
    x, y = grid(*output.shape[1:])
    found = []
    for raw, (width, height) in zip(np.split(output, 3), ANCHORS[stride], strict=True):
        p = sigmoid(raw)
        centre = (p[0] * 2 - 0.5 + x) * stride, (p[1] * 2 - 0.5 + y) * stride
        boxes = corners(*centre, (p[2] * 2) ** 2 * width, (p[3] * 2) ** 2 * height)
        found.append(Candidates(boxes, rows_of(p[5:] * p[4])))
    return found


HEAD = Head(name="yolov5", reads=candidates, iou=0.6, multi_label=True, shapes=SHAPES, source="ultralytics/yolov5")
