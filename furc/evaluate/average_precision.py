"""COCO's average precision, by pycocotools; and the same of images drawn again, for confidence intervals.

pycocotools matches detections with objects, which does not depend on the other images. Its accumulation is done anew
for images that count several times or not at all; with each once it gives the library's figures.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from furc.evaluate.boxes import Detections
from furc.evaluate.truth import Objects
from furc.optional import needed

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
MOST = 100  # detections of an image and a class
SURE = 0.25  # the score from which a detection counts as one when images are compared
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ClassMatches:
    """Of one class over all images. images, scores: [n] of detections, the best first; hits, ignored: [10, n] by IoU;
    objects: of every image, how many there are."""

    images: NDArray[np.int64]
    scores: Float
    hits: Bool
    ignored: Bool
    objects: Float


def matched(truths: Sequence[Objects], found: Sequence[Detections]) -> dict[int, ClassMatches]:
    """By class, those that have objects. Raises ConfigError MissingPackage."""
    coco = needed("pycocotools.coco", "eval", "mAP")
    evaluation = needed("pycocotools.cocoeval", "eval", "mAP")
    classes = sorted({int(c) for truth in truths for c in truth.classes[~truth.crowd]})
    with contextlib.redirect_stdout(io.StringIO()):  # it talks
        run = evaluation.COCOeval(_set(coco, truths, classes), _found(coco, found, classes, len(truths)), "bbox")
        run.params.areaRng, run.params.areaRngLbl, run.params.maxDets = [[0, 1e10]], ["all"], [MOST]
        run.params.imgIds, run.params.catIds = list(range(1, len(truths) + 1)), classes
        run.evaluate()
    by_image = [run.evalImgs[k * len(truths) : (k + 1) * len(truths)] for k in range(len(classes))]
    return {number: _gathered(rows) for number, rows in zip(classes, by_image, strict=True)}


def average_precision(matches: dict[int, ClassMatches], weights: Float | None = None) -> tuple[list[int], Float]:
    """Classes, and [classes, 10]: by IoU, 0 to 1; NaN where no object is left. weights: how often each image counts."""
    found = [_curve(each, np.ones(len(each.objects)) if weights is None else weights) for each in matches.values()]
    return list(matches), np.asarray(found).reshape(-1, len(IOUS))


def sure(matches: dict[int, ClassMatches], images: int) -> tuple[Float, Float]:
    """Of every image, at IoU 0.5 and a score of SURE: objects found, and detections that are none."""
    right, wrong = np.zeros(images), np.zeros(images)
    for each in matches.values():
        counts = each.scores >= SURE
        np.add.at(right, each.images[counts & each.hits[0]], 1)
        np.add.at(wrong, each.images[counts & ~each.hits[0] & ~each.ignored[0]], 1)
    return right, wrong


def _gathered(rows: Sequence[dict[str, Any] | None]) -> ClassMatches:
    used = [(image, row) for image, row in enumerate(rows) if row is not None]
    objects = np.zeros(len(rows))
    for image, row in used:
        objects[image] = np.count_nonzero(np.asarray(row["gtIgnore"]) == 0)
    scores = np.concatenate([np.asarray(row["dtScores"], float) for _, row in used])
    order = np.argsort(-scores, kind="mergesort")
    images = np.concatenate([np.full(len(row["dtScores"]), image, np.int64) for image, row in used])[order]
    hits = np.concatenate([np.asarray(row["dtMatches"]) > 0 for _, row in used], 1)[:, order]
    ignored = np.concatenate([np.asarray(row["dtIgnore"], bool) for _, row in used], 1)[:, order]
    return ClassMatches(images, scores[order], hits & ~ignored, ignored, objects)


def _curve(matches: ClassMatches, weights: Float) -> Float:
    """Average precision at each IoU: the mean over 101 recalls of the best precision at that recall or above."""
    total = float(matches.objects @ weights)
    if not total:
        return np.full(len(IOUS), np.nan)
    counts = weights[matches.images]
    right = np.cumsum(matches.hits * counts, 1)
    wrong = np.cumsum(~(matches.hits | matches.ignored) * counts, 1)
    precision = right / np.maximum(right + wrong, np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(IOUS), 1))], 1)
    return np.array(
        [row[np.searchsorted(r / total, RECALLS, "left")].mean() for row, r in zip(best, right, strict=True)]
    )


def _set(coco: Any, truths: Sequence[Objects], classes: Sequence[int]) -> Any:
    entries = [
        {"image_id": image, "category_id": int(number), "bbox": _sides(box), "area": float(area), "iscrowd": int(crowd)}
        for image, truth in enumerate(truths, 1)
        for box, number, crowd, area in zip(truth.boxes, truth.classes, truth.crowd, truth.areas, strict=True)
    ]
    return _dataset(coco, entries, classes, len(truths))


def _found(coco: Any, found: Sequence[Detections], classes: Sequence[int], images: int) -> Any:
    known = set(classes)
    entries: list[dict[str, Any]] = [
        {"image_id": image, "category_id": int(number), "bbox": _sides(box), "score": float(score), "iscrowd": 0}
        for image, each in enumerate(found, 1)
        for box, score, number in zip(each.boxes, each.scores, each.classes, strict=True)
        if int(number) in known
    ]
    for entry in entries:
        entry["area"] = entry["bbox"][2] * entry["bbox"][3]
    return _dataset(coco, entries, classes, images)


def _dataset(coco: Any, entries: list[dict[str, Any]], classes: Sequence[int], images: int) -> Any:
    made = coco.COCO()
    made.dataset = {
        "images": [{"id": image} for image in range(1, images + 1)], "categories": [{"id": n} for n in classes],
        "annotations": [{"id": number, **entry} for number, entry in enumerate(entries, 1)],
    }  # fmt: skip
    made.createIndex()
    return made


def _sides(box: Any) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]
