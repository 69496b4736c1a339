"""FastestDet: one scale; objectness, box, and classes that compete with each other.

Source: dog-qiuqiu/FastestDet, module/detector.py (DetectHead) and utils/tool.py (handle_preds); NMS as in shared use of
its weights at 0.45, the best class of a box alone.
"""

from __future__ import annotations

import numpy as np

from furc.evaluate.heads.cells import corners, grid, rows_of, sigmoid
from furc.evaluate.heads.head import Candidates, Head, Outputs, Size, Unfit, of_scale

SHAPES = "the head convolutions [1,1,h,w], [1,4,h,w] and [1,classes,h,w]"


def candidates(outputs: Outputs, size: Size) -> Candidates:
    if any(output.ndim != 3 for output in outputs):
        raise Unfit
    objectness, box, classes = of_scale(outputs, 1, 4)
    rows, columns = objectness.shape[1:]
    x, y = grid(rows, columns)
    across, down = size[1] / columns, size[0] / rows
    boxes = corners((x + np.tanh(box[0])) * across, (y + np.tanh(box[1])) * down,
                    sigmoid(box[2]) * size[1], sigmoid(box[3]) * size[0])  # fmt: skip
    weights = np.exp(classes - classes.max(0, keepdims=True))
    shares = weights / weights.sum(0, keepdims=True)
    return Candidates(boxes, rows_of(sigmoid(objectness) ** 0.6 * shares**0.4))


HEAD = Head(
    name="fastestdet", reads=candidates, iou=0.45, multi_label=False, shapes=SHAPES, source="dog-qiuqiu/FastestDet"
)
