"""Suppression, boxes back in the image, and COCO's average precision."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from furc.data.images import Preprocess, preprocess_image
from furc.evaluate.average_precision import average_precision, matched, sure
from furc.evaluate.boxes import Detections, in_image, overlap, suppressed
from furc.evaluate.heads.head import Candidates
from furc.evaluate.truth import Objects, objects

Fit = Literal["stretch", "letterbox", "crop"]


def boxes(rng: np.random.Generator, count: int) -> Any:
    low = rng.uniform(0, 60, (count, 2))
    return np.concatenate([low, low + rng.uniform(4, 40, (count, 2))], 1)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 40), iou=st.floats(0.1, 0.9), multi=st.booleans())
def test_what_is_kept_does_not_overlap_and_what_is_not_does(seed: int, count: int, iou: float, multi: bool) -> None:
    rng = np.random.default_rng(seed)
    found = Candidates(boxes(rng, count), rng.random((count, 3)))
    kept = suppressed(found, iou=iou, score=0.2, multi_label=multi)
    assert np.all(np.diff(kept.scores) <= 0) and np.all(kept.scores > 0.2)
    for label in range(3):
        own = kept.boxes[kept.classes == label]
        assert np.all(overlap(own, own)[~np.eye(len(own), dtype=bool)] <= iou)
        of_class = found.scores[:, label] > 0.2
        of_class &= multi | (found.scores.argmax(1) == label)
        if of_class.any():
            assert np.all(overlap(found.boxes[of_class], own).max(1) > iou - 1e-9)


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
@pytest.mark.parametrize("place", ["centre", "top-left"])
def test_a_square_in_the_input_is_where_it_was_in_the_image(fit: Fit, place: Literal["centre", "top-left"]) -> None:
    image = Image.new("RGB", (200, 100))
    image.paste((255, 255, 255), (80, 30, 120, 60))
    how = Preprocess(size=(64, 96), fit=fit, place=place, fill=0)
    rows, columns = np.nonzero(preprocess_image(image, how)[0, 0] > 0.5)
    inside = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    assert in_image(inside, (100, 200), how)[0] == pytest.approx([80, 30, 120, 60], abs=2.2)


def seen(truth: Objects, score: float = 0.9) -> Detections:
    return Detections(truth.boxes, np.full(len(truth.boxes), score), truth.classes)


def drawn(seed: int, images: int) -> tuple[list[Objects], list[Detections]]:
    rng = np.random.default_rng(seed)
    truths = [objects(boxes(rng, n), rng.integers(0, 3, n)) for n in rng.integers(0, 6, images)]
    truths[0] = objects([[0, 0, 10, 10], [2, 2, 50, 50]], [0, 1], [False, True])  # a crowd
    found = []
    for truth in truths:
        moved = truth.boxes + rng.normal(0, 2, truth.boxes.shape)
        noise = boxes(rng, 3)
        labels = np.concatenate([truth.classes, rng.integers(0, 3, 3)])
        found.append(Detections(np.concatenate([moved, noise]), rng.random(len(moved) + 3), labels))
    return truths, found


def test_finding_everything_is_all_and_finding_nothing_none() -> None:
    pytest.importorskip("pycocotools")
    truths, _ = drawn(1, 5)
    for found, value in (([seen(t) for t in truths], 1.0), ([seen(objects([], [])) for _ in truths], 0.0)):
        labels, table = average_precision(matched(truths, found))
        assert labels == sorted({int(c) for t in truths for c in t.classes[~t.crowd]})
        assert table == pytest.approx(value)


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    from pycocotools import coco

    from furc.evaluate import average_precision as own

    truths, found = drawn(seed, 12)
    labels, table = average_precision(matched(truths, found))
    run = cocoeval.COCOeval(own._set(coco, truths, labels), own._found(coco, found, labels, len(truths)), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    assert [table.mean(), table[:, 0].mean(), table[:, 5].mean()] == pytest.approx(run.stats[:3])


def test_an_image_that_counts_twice_is_as_if_it_were_there_twice() -> None:
    pytest.importorskip("pycocotools")
    truths, found = drawn(7, 4)
    weighted = average_precision(matched(truths, found), np.array([1.0, 2, 0, 1]))[1]
    order = [0, 1, 1, 3]
    real = average_precision(matched([truths[i] for i in order], [found[i] for i in order]))[1]
    assert (
        np.nanmax(np.abs(weighted[: len(real)] - real)) < 0.02
    )  # between the two of a pair lies one step of the curve


def test_found_and_wrong_are_counted_by_image() -> None:
    pytest.importorskip("pycocotools")
    truth = objects([[0, 0, 10, 10], [20, 20, 40, 40]], [0, 1])
    found = Detections(np.array([[0, 0, 10, 10], [50, 50, 60, 60], [20, 20, 40, 40]], float), np.array([0.9, 0.8, 0.1]),
                       np.array([0, 1, 1]))  # fmt: skip
    right, wrong = sure(matched([truth, truth], [found, seen(truth)]), 2)
    assert right.tolist() == [1, 2] and wrong.tolist() == [1, 0]
