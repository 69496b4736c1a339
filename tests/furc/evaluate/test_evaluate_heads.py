"""Heads of detectors: a box that is written into raw outputs is read back, at its place, by every decoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from furc.evaluate.heads.catalog import HEADS
from furc.evaluate.heads.head import Float, Size
from furc.evaluate.heads.yolov5 import ANCHORS
from furc.evaluate.heads.yolov8 import BINS
from isa.errors import RunError

SIZE, CLASSES, LOW = (64, 96), 3, -9.0
Cell = tuple[int, int, int]  # stride, row, column


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def maps(channels: int, stride: int) -> Float:
    return np.full((channels, SIZE[0] // stride, SIZE[1] // stride), LOW)


def yolox(cell: Cell, box: tuple[float, ...], label: int) -> list[Float]:
    found: list[Float] = []
    for stride in (8, 16, 32):
        parts = [np.zeros_like(maps(4, stride)), maps(1, stride), maps(CLASSES, stride)]
        if stride == cell[0]:
            at = slice(None), cell[1], cell[2]
            x, y, w, h = box
            parts[0][at] = x / stride - cell[2], y / stride - cell[1], np.log(w / stride), np.log(h / stride)
            parts[1][at], parts[2][(label, *at[1:])] = 5, 5
        found += parts
    return found


def yolov5(cell: Cell, box: tuple[float, ...], label: int) -> list[Float]:
    found = [maps(3 * (5 + CLASSES), stride) for stride in ANCHORS]
    stride, row, column = cell
    x, y, w, h = box
    anchor = ANCHORS[stride][1]
    sides = [logit(min(max((side / a) ** 0.5 / 2, 1e-6), 1 - 1e-6)) for side, a in zip((w, h), anchor, strict=True)]
    centre = [logit((v / stride - place + 0.5) / 2) for v, place in ((x, column), (y, row))]
    scores = [5.0 if k == label else LOW for k in range(CLASSES)]
    found[list(ANCHORS).index(stride)].reshape(3, 5 + CLASSES, SIZE[0] // stride, -1)[1, :, row, column] = [
        *centre, *sides, 5, *scores
    ]  # fmt: skip
    return found


def yolov8(cell: Cell, box: tuple[float, ...], label: int) -> list[Float]:
    found: list[Float] = []
    stride, row, column = cell
    x, y, w, h = box
    own = [(column + 0.5) * stride, (row + 0.5) * stride] * 2
    distances = [s * (v - o) / stride for s, v, o in zip((-1, -1, 1, 1), (x - w / 2, y - h / 2, x + w / 2, y + h / 2), own, strict=True)]  # fmt: skip # noqa: E501
    for each in (8, 16, 32):
        boxes, classes = np.zeros_like(maps(4 * BINS, each)), maps(CLASSES, each)
        if each == stride:
            for side, distance in enumerate(distances):
                low = int(distance)
                logits = np.full(BINS, -60.0)
                logits[[low, low + 1]] = np.log([1 - distance + low + 1e-12, distance - low + 1e-12])
                boxes[side * BINS : (side + 1) * BINS, row, column] = logits
            classes[label, row, column] = 5
        found += [boxes, classes]
    return found


def fastestdet(cell: Cell, box: tuple[float, ...], label: int) -> list[Float]:
    parts = [maps(1, 16), np.zeros_like(maps(4, 16)), np.zeros_like(maps(CLASSES, 16))]
    row, column = cell[1], cell[2]
    x, y, w, h = box
    parts[0][0, row, column], parts[2][label, row, column] = 5, 9
    parts[1][:, row, column] = [np.arctanh(x / 16 - column), np.arctanh(y / 16 - row), logit(w / SIZE[1]), logit(h / SIZE[0])]  # fmt: skip # noqa: E501
    return parts


WRITERS: dict[str, Callable[[Cell, tuple[float, ...], int], list[Float]]] = {
    "yolox": yolox, "yolov5": yolov5, "yolov8": yolov8, "fastestdet": fastestdet,
}  # fmt: skip


def test_every_head_has_a_writer() -> None:
    assert set(WRITERS) == set(HEADS)


@pytest.mark.parametrize("kind", WRITERS)
@settings(max_examples=15)
@given(
    row=st.integers(0, 3), column=st.integers(0, 5), dx=st.floats(0.1, 0.9), dy=st.floats(0.1, 0.9),
    w=st.floats(20, 60), h=st.floats(20, 60), label=st.integers(0, CLASSES - 1),
)  # fmt: skip
def test_a_box_is_read_back(
    kind: str, row: int, column: int, dx: float, dy: float, w: float, h: float, label: int
) -> None:
    x, y = (column + dx) * 16, (row + dy) * 16
    found = HEADS[kind].decode(WRITERS[kind]((16, row, column), (x, y, w, h), label), SIZE)
    best = int(found.scores.max(1).argmax())
    assert found.scores[best].argmax() == label and found.scores.max() > 0.9
    assert found.boxes[best] == pytest.approx([x - w / 2, y - h / 2, x + w / 2, y + h / 2], abs=1e-3)
    assert np.sort(found.scores.max(1))[-2] < 0.1


def whole(kind: str, size: Size = SIZE) -> list[Float]:
    """The same as an export that decodes inside: one output."""
    found = HEADS[kind].decode(WRITERS[kind]((16, 1, 2), (40.0, 20.0, 30.0, 24.0), 1), size)
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    boxes = np.concatenate([(low + high) / 2, high - low], 1)
    if kind == "yolov8":
        return [np.concatenate([boxes, found.scores], 1).T]
    return [np.concatenate([boxes, np.ones((len(boxes), 1)), found.scores], 1)]


@pytest.mark.parametrize("kind", ["yolov5", "yolov8"])
def test_a_decoded_export_gives_the_same(kind: str) -> None:
    raw = HEADS[kind].decode(WRITERS[kind]((16, 1, 2), (40.0, 20.0, 30.0, 24.0), 1), SIZE)
    found = HEADS[kind].decode(whole(kind), SIZE)
    assert np.allclose(found.boxes, raw.boxes) and np.allclose(found.scores, raw.scores)


def test_yolox_in_one_output_gives_the_same() -> None:
    parts = yolox((16, 1, 2), (40.0, 20.0, 30.0, 24.0), 1)
    raw = HEADS["yolox"].decode(parts, SIZE)
    scales = [np.concatenate([parts[i], *(1 / (1 + np.exp(-p)) for p in parts[i + 1 : i + 3])]) for i in (0, 3, 6)]
    found = HEADS["yolox"].decode([np.concatenate([s.reshape(len(s), -1) for s in scales], 1).T], SIZE)
    assert np.allclose(found.boxes, raw.boxes) and np.allclose(found.scores, raw.scores)


@pytest.mark.parametrize("kind", ["yolox", "yolov8", "fastestdet"])
def test_outputs_in_another_order_are_told_by_their_shapes(kind: str) -> None:
    outputs = WRITERS[kind]((16, 1, 2), (40.0, 20.0, 30.0, 24.0), 1)
    raw, found = HEADS[kind].decode(outputs, SIZE), HEADS[kind].decode(outputs[::-1], SIZE)
    assert np.array_equal(found.boxes, raw.boxes) and np.array_equal(found.scores, raw.scores)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("shapes", [[(10,)], [(7, 4, 4)], [(4, 2, 2), (1, 2, 2)], [(3, 5)]])
def test_other_outputs_are_refused_with_what_is_taken(kind: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(RunError, match=r"are not those of") as caught:
        HEADS[kind].decode([np.zeros(shape) for shape in shapes], SIZE)
    assert caught.value.name == "HeadMismatch" and HEADS[kind].shapes in caught.value.hint


@pytest.mark.parametrize(("kind", "other"), [("yolov5", "yolov8"), ("yolov8", "yolov5")])
def test_a_decoded_export_of_the_other_head_is_refused(kind: str, other: str) -> None:
    """Their axes are in another order: yolov5 had read 84 boxes of 8395 classes from the [84, 8400] of yolov8."""
    shapes = {"yolov5": (25200, 85), "yolov8": (84, 8400)}
    assert HEADS[kind].decode([np.zeros(shapes[kind])], (640, 640)).scores.shape[1] == 80
    for wrong in (shapes[other], shapes[kind][::-1]):
        with pytest.raises(RunError, match=f"are not those of {kind}"):
            HEADS[kind].decode([np.zeros(wrong)], (640, 640))


def test_the_head_of_yolox_is_not_that_of_yolov8() -> None:
    with pytest.raises(RunError, match="are not those of yolov8"):
        HEADS["yolov8"].decode([np.zeros((channels, 4, 4)) for channels in (4, 1, 80)], SIZE)
