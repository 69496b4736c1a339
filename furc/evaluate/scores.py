"""Predictions of several models on the same images, scored: the metrics of each task, by class, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from furc.evaluate.average_precision import ClassMatches, average_precision, matched, sure
from furc.evaluate.boxes import Detections
from furc.evaluate.result import ClassRow, Estimate
from furc.evaluate.truth import Annotated, Labelled

Float = NDArray[np.float64]
DRAWS, SEED = 1000, 0
DETECTION_DRAWS = 300  # each sorts nothing anew, but sums all detections ten times
TAIL = 2.5  # percent on either side of an interval
TOP = 5


class Scores(NamedTuple):
    """figures, differences: of every model, by metric. classes: by the first metric."""

    figures: list[dict[str, Estimate]]
    differences: list[dict[str, Estimate]]
    classes: tuple[ClassRow, ...]


class Said(NamedTuple):
    """Of every image, about one model: the words for it, and how right it is."""

    words: list[str]
    merit: list[float]


def classification(images: Sequence[Labelled], best: Sequence[NDArray[Any]], names: Sequence[str]) -> Scores:
    """best: of every model, the classes with the largest values, [images, up to 5], the largest first."""
    labels = np.array([image.label for image in images])
    hits = [found == labels[:, None] for found in best]
    right = {"top-1": [h[:, 0].astype(float) for h in hits]}
    if all(h.shape[1] == TOP for h in hits):
        right["top-5"] = [h.any(1).astype(float) for h in hits]
    metrics = {name: [_mean(each) for each in found] for name, found in right.items()}
    figures = _estimates(metrics, len(images), DRAWS)
    rows = []
    for label in np.unique(labels):
        of_class = labels == label
        values = tuple(100 * float(each[of_class].mean()) for each in right["top-1"])
        rows.append(ClassRow(named(int(label), names), int(of_class.sum()), values))
    return Scores(*figures, tuple(rows))


def said_of_classes(images: Sequence[Labelled], best: NDArray[Any], names: Sequence[str]) -> Said:
    return Said([named(int(row[0]), names) for row in best],
                [float(row[0] == image.label) for row, image in zip(best, images, strict=True)])  # fmt: skip


def detection(
    images: Sequence[Annotated], found: Sequence[Sequence[Detections]], names: Sequence[str]
) -> tuple[Scores, list[Said]]:
    """found: of every model, of every image. Raises ConfigError MissingPackage."""
    truths = [image.objects for image in images]
    matches = [matched(truths, each) for each in found]
    curves = [_Curves(each) for each in matches]
    metrics: dict[str, list[Callable[[Float], float]]] = {
        "mAP": [partial(each.mean, slice(0, 10)) for each in curves],
        "mAP50": [partial(each.mean, slice(0, 1)) for each in curves],
        "mAP75": [partial(each.mean, slice(5, 6)) for each in curves],
    }
    figures = _estimates(metrics, len(images), DETECTION_DRAWS)
    tables = [average_precision(each)[1] for each in matches]
    rows = [
        ClassRow(named(label, names), int(matches[0][label].objects.sum()),
                 tuple(100 * float(table[place].mean()) for table in tables))
        for place, label in enumerate(matches[0])
    ]  # fmt: skip
    counts = [int(np.count_nonzero(~truth.crowd)) for truth in truths]
    return Scores(*figures, tuple(rows)), [_said_of_boxes(each, counts) for each in matches]


class _Curves:
    """Average precision of one model. The last draw is kept: metrics ask for the same one after the other."""

    def __init__(self, matches: dict[int, ClassMatches]) -> None:
        self._matches = matches
        self._drawn: Float | None = None
        self._table: Float = np.empty((0, 0))

    def mean(self, ious: slice, weights: Float) -> float:
        """Over the classes of which objects are left, in percent. weights: how often each image counts."""
        if self._drawn is not weights:
            self._drawn, self._table = weights, average_precision(self._matches, weights)[1]
        known = self._table[np.isfinite(self._table[:, 0]), ious]
        return 100 * float(known.mean()) if known.size else float("nan")


def _said_of_boxes(matches: Any, counts: Sequence[int]) -> Said:
    right, wrong = sure(matches, len(counts))
    words = [f"{r:.0f} of {n} found, {w:.0f} wrong" for r, n, w in zip(right, counts, wrong, strict=True)]
    return Said(words, [float(r - w) for r, w in zip(right, wrong, strict=True)])


def named(label: int, names: Sequence[str]) -> str:
    """What people call a class."""
    return names[label] if 0 <= label < len(names) else f"class {label}"


def _mean(hits: Float) -> Callable[[Float], float]:
    return lambda weights: 100 * float(hits @ weights / weights.sum())


def _estimates(
    metrics: dict[str, list[Callable[[Float], float]]], images: int, draws: int
) -> tuple[list[dict[str, Estimate]], list[dict[str, Estimate]]]:
    """By drawing images with replacement: the same draw for all models, so that differences are of the same images.

    The first model is the reference of the differences."""
    rng = np.random.default_rng(SEED)
    weights = [
        np.ones(images),
        *(rng.multinomial(images, np.full(images, 1 / images)).astype(float) for _ in range(draws)),
    ]
    count = len(next(iter(metrics.values())))
    values = np.array([[[m(w) for m in found] for found in metrics.values()] for w in weights])  # [draw, metric, model]
    figures, differences = [], []
    for model in range(count):
        figures.append({n: _estimate(values[:, i, model], 0) for i, n in enumerate(metrics)})
        differences.append({n: _estimate(values[:, i, model] - values[:, i, 0]) for i, n in enumerate(metrics)})
    return figures, differences


def _estimate(values: Float, least: float = -100) -> Estimate:
    """The first value is of the images as they are. Draws of few images have other classes, and repeat their objects:
    mAP is higher in them, so their mean is moved onto the value. least: 0 of a figure."""
    drawn = values[1:][np.isfinite(values[1:])]
    if not len(drawn):
        return Estimate(float(values[0]), float(values[0]), float(values[0]))
    low, high = np.clip(np.percentile(drawn - drawn.mean() + values[0], (TAIL, 100 - TAIL)), least, 100)
    return Estimate(float(values[0]), float(low), float(high))
