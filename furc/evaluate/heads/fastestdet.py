"""FastestDet: one scale; objectness, box, and classes that compete with each other.

Source: dog-qiuqiu/FastestDet, module/detector.py (DetectHead) and utils/tool.py (handle_preds); NMS as in shared use of
its weights at 0.45, the best class of a box alone.
"""

from __future__ import annotations

import numpy as np

from furc.evaluate.heads.head import Candidates, Head, Outputs, Size, corners, grid, rows_of, sigmoid, unfit

SHAPES = "the head convolutions [1,1,h,w], [1,4,h,w] and [1,classes,h,w]"


def decode(outputs: Outputs, size: Size) -> Candidates:
    parts = list(outputs)
    if [output.shape[0] for output in parts[:2]] != [1, 4]:  # in another order than the head's own
        parts.sort(key=lambda part: {1: 0, 4: 1}.get(part.shape[0], 2))
    if len(parts) != 3 or any(p.ndim != 3 for p in parts) or (parts[0].shape[0], parts[1].shape[0]) != (1, 4):
        raise unfit("fastestdet", SHAPES, outputs)
    objectness, box, classes = parts
    rows, columns = objectness.shape[1:]
    x, y = grid(rows, columns)
    across, down = size[1] / columns, size[0] / rows
    boxes = corners((x + np.tanh(box[0])) * across, (y + np.tanh(box[1])) * down,
                    sigmoid(box[2]) * size[1], sigmoid(box[3]) * size[0])  # fmt: skip
    weights = np.exp(classes - classes.max(0, keepdims=True))
    shares = weights / weights.sum(0, keepdims=True)
    return Candidates(boxes, rows_of(sigmoid(objectness) ** 0.6 * shares**0.4))


HEAD = Head(decode=decode, iou=0.45, multi_label=False, shapes=SHAPES, source="dog-qiuqiu/FastestDet")
