"""Objects in images: COCO's annotation JSON, or a folder with a text file for each image as YOLO's tools write them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from furc.data.folders import files_below
from furc.data.images import image_size
from furc.evaluate.truth import Annotated, Objects, Truth, bad, complete, images_below, objects, outside, read_text
from isa.errors import Loc, SourceError, counted

COCO_FORM = "COCO's form is {images: [{id, file_name}], annotations: [{image_id, category_id, bbox}], categories}"
YOLO_FORM = (
    "a line is: class, then centre x and y, width and height, or x and y of each corner, as fractions of the image"
)
BEYOND = 0.01  # of the image: how far tools that round draw outside of it


def read_annotations(folder: Path, labels: Path, classes: Sequence[str] = (), *, partial: bool = False) -> Truth:
    """Images with their objects. labels: COCO JSON, or a folder of YOLO text files; images without one have no objects.

    Boxes lie in the image as it is shown: a photo with an EXIF orientation is turned first, for both forms.
    COCO's width and height, where they are given, must be those. Classes of COCO are its categories: those of their
    names, or without `classes` in the order of their ids. Raises SourceError NoImages, LabelsNotFound, BadLabels,
    NoLabel, ImageMissing, NoSuchClass.
    """
    if labels.is_dir():
        return _of_yolo(folder, labels, classes, partial=partial)
    return _of_coco(folder, labels, classes, partial=partial)


# --- COCO -------------------------------------------------------------------------------------------------------


class _Box(NamedTuple):
    corners: tuple[float, float, float, float]
    category: int
    crowd: bool
    area: float


def _of_coco(folder: Path, labels: Path, classes: Sequence[str], *, partial: bool) -> Truth:
    content = _parsed(labels)
    categories = sorted(
        (_number(labels, c, "id"), str(c.get("name", ""))) for c in _list(labels, content, "categories")
    )
    if len(dict(categories)) != len(categories) or not categories:
        raise bad(labels, "its categories have no ids of their own", COCO_FORM)
    places = {name: place for place, name in enumerate(classes)}
    index = {number: places.get(name) if classes else place for place, (number, name) in enumerate(categories)}
    names = {
        _number(labels, image, "id"): _text(labels, image, "file_name") for image in _list(labels, content, "images")
    }
    known = {str(Path(name)): number for number, name in names.items()}  # ./a.jpg is a.jpg
    if len(names) != len(content["images"]) or len(known) != len(names):
        raise bad(labels, "two images have one id or one file_name", "give each image its own")
    boxes: dict[int, list[_Box]] = {number: [] for number in names}
    for entry in _list(labels, content, "annotations"):
        number, category = _number(labels, entry, "image_id"), _number(labels, entry, "category_id")
        if number not in boxes:
            raise bad(labels, f"an annotation is of image {number}, which is not listed", "list it under images")
        if category not in index:
            raise bad(
                labels, f"an annotation is of category {category}, which is not listed", "list it under categories"
            )
        place = index[category]
        if place is None:
            raise SourceError(
                "NoSuchClass", f"category '{dict(categories)[category]}' is none of the "
                f"{counted(len(classes), 'class', 'classes')}", at=Loc(str(labels)),
                hint="call it in --classes as the labels do, or leave out --classes: the order of ids then counts",
            )  # fmt: skip
        boxes[number].append(_box(labels, entry, place))
    files = {str(file.relative_to(folder)): file for file in images_below(folder)}
    left_out = complete([n for n in known if n not in files], [n for n in files if n not in known], labels, folder,
                        partial=partial)  # fmt: skip
    sizes = {image["id"]: (image.get("width"), image.get("height")) for image in content["images"]}
    for name, number in known.items():
        if name in files and boxes[number]:
            shown = image_size(files[name])
            _check_size(labels, name, shown, sizes[number])
            _check_inside(labels, name, shown, boxes[number])
    images = (Annotated(n, files[n], _objects(boxes[known[n]])) for n in sorted(known) if n in files)
    return Truth(tuple(images), tuple(classes) or tuple(name for _, name in categories), left_out)


def _check_size(labels: Path, name: str, shown: tuple[int, int], said: tuple[object, object]) -> None:
    """said: width and height, None where the labels leave them out. Raises SourceError BadLabels: the boxes are of an
    image that was turned or scaled since, and lie elsewhere in this one."""
    if None in said or said == shown:
        return
    what = f"'{name}' is {said[0]} x {said[1]} in the labels and {shown[0]} x {shown[1]} as it is shown"
    hint = "give the images that were labelled"
    if said == shown[::-1]:
        what += ": they are of the photo before its EXIF orientation turns it"
        hint = "turn the boxes, or take the orientation out of the file (exiftool -Orientation= FILE)"
    raise bad(labels, what, hint)


def _check_inside(labels: Path, name: str, shown: tuple[int, int], boxes: Sequence[_Box]) -> None:
    """Boxes that no part of the image touches are of another image or in other units. Raises SourceError BadLabels."""
    for left, top, right, bottom in (box.corners for box in boxes):
        if left > shown[0] or top > shown[1] or right < 0 or bottom < 0:
            what = f"a box at {left:g}, {top:g} is outside of '{name}', which has {shown[0]} x {shown[1]} pixels"
            raise bad(labels, what, "give the images that were labelled; boxes are in their pixels")


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise bad(path, f"this is no JSON: {error}", COCO_FORM) from error
    if not isinstance(content, dict):
        raise bad(path, "this is not COCO's JSON", COCO_FORM)
    return content


def _list(path: Path, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise bad(path, f"there is no list '{key}' of objects", COCO_FORM)
    return found


def _number(path: Path, entry: Mapping[str, Any], key: str) -> int:
    found = entry.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= 1 << 63:
        raise bad(path, f"'{key}' is no number in {_shown(entry)}", COCO_FORM)
    return found


def _text(path: Path, entry: Mapping[str, Any], key: str) -> str:
    found = entry.get(key)
    if not isinstance(found, str) or not found or "\0" in found:
        raise bad(path, f"'{key}' is no name in {_shown(entry)}", COCO_FORM)
    return found


def _box(path: Path, entry: Mapping[str, Any], category: int) -> _Box:
    found = entry.get("bbox")
    if not isinstance(found, list) or len(found) != 4 or not all(map(_finite, found)) or min(found[2:]) < 0:
        raise bad(path, f"'bbox' is not left, top, width, height in {_shown(entry)}", "four numbers, in pixels")
    left, top, width, height = map(float, found)
    area = entry.get("area")
    return _Box((left, top, left + width, top + height), category, entry.get("iscrowd") in (1, True),
                width * height if area is None or not _finite(area) else float(area))  # fmt: skip


def _finite(value: object) -> bool:
    """A number that is one: JSON's may be too large for a float."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _objects(boxes: Sequence[_Box]) -> Objects:
    return objects([b.corners for b in boxes], [b.category for b in boxes], [b.crowd for b in boxes],
                   [b.area for b in boxes])  # fmt: skip


def _shown(entry: Mapping[str, Any]) -> str:
    text = repr(dict(list(entry.items())[:4]))
    return text if len(text) <= 100 else f"{text[:100]}..."


# --- YOLO -------------------------------------------------------------------------------------------------------


def _of_yolo(folder: Path, labels: Path, classes: Sequence[str], *, partial: bool) -> Truth:
    files = images_below(folder)
    texts = {p.relative_to(labels).with_suffix(""): p for p in files_below(labels) if p.suffix == ".txt"}
    names = [file.relative_to(folder).with_suffix("") for file in files]  # a.jpg and a.png have one text
    missing = [str(name) for name in texts.keys() - set(names) if name.name != "classes"]
    left_out = complete(sorted(missing), (), labels, folder, partial=partial)
    images = []
    for name, file in zip(names, files, strict=True):
        found = _read_yolo(texts[name], file, len(classes)) if name in texts else objects([], [])
        images.append(Annotated(str(file.relative_to(folder)), file, found))
    if not any(len(image.objects.classes) for image in images):
        raise SourceError("NoLabel", f"no object in any of {counted(len(images), 'image')}", at=bad(labels, "", "").at,
                          hint="text files are named as the images are, with .txt")  # fmt: skip
    return Truth(tuple(images), tuple(classes), left_out)


def _read_yolo(path: Path, image: Path, count: int) -> Objects:
    classes, boxes = list[int](), list[list[float]]()
    for line, text in enumerate(read_text(path).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        try:
            label, box = int(words[0][:18]), _yolo_box([float(word) for word in words[1:]])
        except ValueError:
            label, box = 0, None
        if box is None or label < 0:
            raise bad(path, "this line is no object", YOLO_FORM, line)
        if count and label >= count:
            raise outside(path, image.name, label, count, line)
        classes.append(label)
        boxes.append(box)
    fractions = np.asarray(boxes, np.float64).reshape(-1, 4)
    width, height = image_size(image)
    middle, half = fractions[:, :2] * (width, height), fractions[:, 2:] * (width, height) / 2
    return objects(np.concatenate([middle - half, middle + half], 1), classes)


def _yolo_box(numbers: Sequence[float]) -> list[float] | None:
    """Centre and size, of a polygon those of the box around it; None for what is neither, in fractions of the image."""
    if not all(-BEYOND <= number <= 1 + BEYOND for number in numbers):
        return None
    if len(numbers) in (4, 5):  # the fifth is a score
        return list(numbers[:4])
    if len(numbers) < 6 or len(numbers) % 2:
        return None
    x, y = numbers[::2], numbers[1::2]
    return [(min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y)]
