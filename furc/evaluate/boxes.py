"""From candidates of a head to detections in an image: the best of what overlaps, in the image's own pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.data.images import Preprocess, placed
from furc.evaluate.heads.head import Candidates, Float, Head

MOST_CANDIDATES = 30000  # by score: what the authors of YOLOv5 look at, too
SCORE = 0.001  # the least: average precision wants the whole curve


class Detections(NamedTuple):
    """boxes: [n, 4], left, top, right, bottom; scores, classes: [n]; the best first."""

    boxes: Float
    scores: Float
    classes: NDArray[np.int64]


def overlap(a: Float, b: Float) -> Float:
    """Intersection over union of every box of a [n, 4] with every box of b [m, 4]: [n, m]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    inside = np.prod(np.clip(high - low, 0, None), 2)
    area_a, area_b = (np.prod(np.clip(c[:, 2:] - c[:, :2], 0, None), 1) for c in (a, b))
    return np.asarray(inside / np.maximum(area_a[:, None] + area_b[None] - inside, 1e-9))


def suppressed(found: Candidates, *, iou: float, score: float = SCORE, multi_label: bool = False) -> Detections:
    """Greedy suppression within each class: of boxes that overlap more than iou the best stays.

    multi_label: a box stands for every class above the score, not only for its best."""
    if multi_label:
        rows, classes = np.nonzero(found.scores > score)
    else:
        rows = np.nonzero(found.scores.max(1, initial=0) > score)[0]
        classes = found.scores[rows].argmax(1) if len(rows) else np.empty(0, np.int64)
    scores = found.scores[rows, classes]
    order = np.argsort(-scores, kind="stable")[:MOST_CANDIDATES]
    boxes, scores, classes = found.boxes[rows[order]], scores[order], classes[order].astype(np.int64)
    kept = [place for index in np.unique(classes) for place in _best(boxes, np.nonzero(classes == index)[0], iou)]
    best = np.sort(np.asarray(kept, np.int64))
    return Detections(boxes[best], scores[best], classes[best])


def _best(boxes: Float, places: NDArray[Any], iou: float) -> list[int]:
    """Of one class, the best first."""
    kept = []
    while len(places):
        kept.append(int(places[0]))
        places = places[1:][overlap(boxes[places[:1]], boxes[places[1:]])[0] <= iou]
    return kept


def in_image(boxes: Float, size: tuple[int, int], how: Preprocess) -> Float:
    """Boxes in pixels of the input as boxes in an image of `size` (rows, columns), inside it."""
    assert how.size is not None
    rows, columns = size
    if how.fit == "stretch":
        moved = boxes * (np.array([columns, rows] * 2) / np.array(how.size[::-1] * 2))
    else:
        at = placed(size, how)
        moved = (boxes - np.array([at.left, at.top] * 2)) / at.ratio
    return np.asarray(np.clip(moved, 0, np.array([columns, rows] * 2)))


def detections(found: Candidates, head: Head, size: tuple[int, int], how: Preprocess, iou: float, score: float) -> Detections:  # fmt: skip # noqa: E501
    """What a head saw in an image."""
    best = suppressed(found, iou=iou, score=score, multi_label=head.multi_label)
    return best._replace(boxes=in_image(best.boxes, size, how))
