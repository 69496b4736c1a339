"""Labels and annotations: every form that users have, and what is said where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from furc.evaluate.annotations import read_annotations
from furc.evaluate.evaluate import Options
from furc.evaluate.labels import read_labels
from furc.evaluate.truth import Annotated, Labelled, Truth
from isa.errors import FurcError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20)).save(folder / name)
    return folder


def labels(truth: Truth) -> dict[str, int]:
    return {image.name: image.label for image in truth.images if isinstance(image, Labelled)}


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


ALL = {"a/1.png": 0, "a/2.png": 0, "b/3.png": 1}


@pytest.mark.parametrize(
    "content",
    [
        "a/1.png,0\na/2.png,0\nb/3.png,1\n",
        "file,label\r\n./a/1.png,0\r\na/2.png, 0\r\n\r\nb/3.png,1",
        "a/1.png 0\na/2.png 0\nb/3.png 1\n",
        "a/1.png\tcat\na/2.png\tcat\nb/3.png\tdog, big\n",
        '"a/1.png",cat\n"a/2.png",cat\n"b/3.png","dog, big"\n',
    ],
)
def test_lines_of_file_and_label(images: Path, tmp_path: Path, content: str) -> None:
    assert labels(read_labels(images, text(tmp_path / "l.csv", content), ("cat", "dog, big"))) == ALL


def test_a_number_is_no_first_word_of_a_name(images: Path, tmp_path: Path) -> None:
    """Of ImageNet's list the first word is a class; of "1 cent" it had been, too, for the label 1."""
    path = text(tmp_path / "l.csv", "a/1.png,0\na/2.png,0\nb/3.png,1\n")
    for names in (("1 cent", "0 cents"), ("1 tench", "2 goldfish")):
        assert labels(read_labels(images, path, names)) == ALL
    assert labels(read_labels(images, path, ("1", "0"))) == {"a/1.png": 1, "a/2.png": 1, "b/3.png": 0}  # whole names


def test_directories_are_classes(images: Path) -> None:
    truth = read_labels(images)
    assert labels(truth) == ALL and truth.classes == ("a", "b")
    assert labels(read_labels(images, classes=("z", "b big", "a"), offset=1)) == {
        "a/1.png": 3,
        "a/2.png": 3,
        "b/3.png": 2,
    }


def test_directories_that_are_numbers_are_those_classes(images: Path) -> None:
    (images / "a").rename(images / "10")
    (images / "b").rename(images / "2")
    assert labels(read_labels(images)) == {"10/1.png": 10, "10/2.png": 10, "2/3.png": 2}


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("a/1.png,0\n", "NoLabel", "no label for 'a/2.png', 'b/3.png'"),
        ("a/1.png,0\na/2.png,0\nb/3.png,1\nx.png,1\n", "ImageMissing", "'x.png' is not in"),
        ("a/1.png,0\na/1.png,1\n", "BadLabels", "'a/1.png' has two labels"),
        ("a/1.png,cow\n", "BadLabels", "'cow' is no class"),
        ("a/1.png,1_0\n", "BadLabels", "'1_0' is no class"),
        ("a/1.png\n", "BadLabels", "this line is not file,label"),
        ("", "BadLabels", "there are no labels in it"),
    ],
)
def test_wrong_labels_are_named(images: Path, tmp_path: Path, content: str, name: str, said: str) -> None:
    with pytest.raises(FurcError) as caught:
        read_labels(images, text(tmp_path / "l.csv", content))
    assert caught.value.name == name and said in caught.value.message and caught.value.hint


def test_directories_that_are_one_number_are_no_two_classes(images: Path) -> None:
    (images / "a").rename(images / "01")
    (images / "b").rename(images / "1")
    with pytest.raises(FurcError) as caught:
        read_labels(images)
    assert (caught.value.name, caught.value.message) == ("BadLabels", "directories '01' and '1' are the same number")
    assert labels(read_labels(images, classes=("1", "01"))) == {"01/1.png": 1, "01/2.png": 1, "1/3.png": 0}


def test_a_word_that_means_several_classes_is_refused(images: Path, tmp_path: Path) -> None:
    """The first of them had been taken. A whole name is that class, though others begin with it."""
    for classes in (("b", "a cat", "a dog"), ("a", "b", "a")):
        with pytest.raises(FurcError) as caught:
            read_labels(images, classes=classes)
        assert caught.value.name == "BadLabels" and "directory 'a' means 2 classes" in caught.value.message
        with pytest.raises(FurcError, match=r"l\.csv:2: 'a' means 2 classes"):
            read_labels(images, text(tmp_path / "l.csv", "a/1.png,b\na/2.png,a\n"), classes)
    assert labels(read_labels(images, classes=("a cat", "b", "a"))) == {"a/1.png": 2, "a/2.png": 2, "b/3.png": 1}


def test_partial_leaves_out_what_has_no_partner(images: Path, tmp_path: Path) -> None:
    truth = read_labels(images, text(tmp_path / "l.csv", "a/1.png,0\nx.png,1\n"), partial=True)
    assert labels(truth) == {"a/1.png": 0} and truth.left_out == ("x.png", "a/2.png", "b/3.png")


def coco(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": f} for n, f in ((7, "a/1.png"), (3, "a/2.png"), (1, "b/3.png"))],
        "categories": [{"id": 90, "name": "dog"}, {"id": 18, "name": "cat"}],
        "annotations": [{"image_id": 7, "category_id": 90, "bbox": [1, 2, 10, 5], "iscrowd": 0, "area": 20}],
        **changes,
    }  # fmt: skip


def objects_of(truth: Truth) -> dict[str, list[Any]]:
    return {
        i.name: [i.objects.boxes.tolist(), i.objects.classes.tolist()] for i in truth.images if isinstance(i, Annotated)
    }


def test_coco_and_yolo_say_the_same(images: Path, tmp_path: Path) -> None:
    found = read_annotations(images, text(tmp_path / "coco.json", json.dumps(coco())))
    assert found.classes == ("cat", "dog") and found.images[0].path == images / "a/1.png"
    assert objects_of(found) == {"a/1.png": [[[1, 2, 11, 7]], [1]], "a/2.png": [[], []], "b/3.png": [[], []]}
    (tmp_path / "labels/a").mkdir(parents=True)
    text(tmp_path / "labels/a/1.txt", "1 0.15 0.225 0.25 0.25\n")
    assert objects_of(read_annotations(images, tmp_path / "labels")) == objects_of(found)
    text(tmp_path / "labels/a/1.txt", "1 0.025 0.1 0.275 0.2 0.15 0.35\n")  # a polygon
    boxes, classes = objects_of(read_annotations(images, tmp_path / "labels"))["a/1.png"]
    assert np.allclose(boxes, [[1, 2, 11, 7]]) and classes == [1]


def test_boxes_outside_of_the_image_are_refused(images: Path, tmp_path: Path) -> None:
    """Where the labels do not say how large the image is: of one that was scaled, or in other units."""

    def boxed(*box: float) -> Truth:
        entry = {"image_id": 7, "category_id": 90, "bbox": [*box]}
        return read_annotations(images, text(tmp_path / "coco.json", json.dumps(coco(annotations=[entry]))))

    assert boxed(-3, 2, 60, 5) and boxed(40, 20, 0, 0)
    for box in ((41, 2, 10, 5), (1, 21, 10, 5), (-20, 2, 10, 5)):
        with pytest.raises(FurcError, match=r"a box at .* is outside of 'a/1\.png', which has 40 x 20 pixels"):
            boxed(*box)


def test_categories_are_classes_by_their_names(images: Path, tmp_path: Path) -> None:
    """A part of COCO's categories for a model of all classes: by the order of ids a dog had been the second class."""
    path, all_classes = text(tmp_path / "coco.json", json.dumps(coco())), ("person", "cat", "car", "dog")
    found = read_annotations(images, path, all_classes)
    assert objects_of(found)["a/1.png"] == [[[1, 2, 11, 7]], [3]] and found.classes == all_classes
    with pytest.raises(FurcError, match="category 'dog' is none of the 2 classes") as caught:
        read_annotations(images, path, ("person", "cat"))
    assert caught.value.name == "NoSuchClass"
    assert read_annotations(images, path, ("dog", "car")).images  # of a cat there is no box


def test_texts_of_yolo_go_by_the_whole_name(images: Path, tmp_path: Path) -> None:
    """Roboflow calls a file 1_png.rf.3c9a.png; its text had been sought as 1_png.rf.txt."""
    (tmp_path / "labels/a").mkdir(parents=True)
    for name in ("a/1.rf.png", "a/1.jpg"):
        Image.new("RGB", (40, 20)).save(images / name)
    text(tmp_path / "labels/a/1.txt", "0 0.5 0.5 1 1\n")
    text(tmp_path / "labels/a/1.rf.txt", "3 0.5 0.5 1 1\n")
    found = objects_of(read_annotations(images, tmp_path / "labels"))
    assert {name: classes for name, (_, classes) in found.items() if classes} == {
        "a/1.jpg": [0], "a/1.png": [0], "a/1.rf.png": [3],
    }  # fmt: skip


def test_boxes_of_another_size_of_the_image_are_refused(images: Path, tmp_path: Path) -> None:
    """A photo that its EXIF orientation turns has other boxes than the pixels of its file."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (20, 40)).save(images / "a/1.png", exif=turned)  # shown as 40 x 20

    def sized(width: object, height: object) -> Truth:
        listed = [{**image, "width": width, "height": height} for image in coco()["images"]]
        return read_annotations(images, text(tmp_path / "coco.json", json.dumps(coco(images=listed))))

    assert objects_of(sized(40, 20)) == objects_of(sized(None, None))  # the others, without boxes, may be any size
    with pytest.raises(FurcError, match=r"'a/1\.png' is 20 x 40 in the labels and 40 x 20 as it is shown: .* EXIF"):
        sized(20, 40)
    with pytest.raises(FurcError, match=r"'a/1\.png' is 80 x 40 in the labels and 40 x 20 as it is shown\n"):
        sized(80, 40)


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        ("[", "BadLabels", "this is no JSON"),
        ("[" * 100000, "BadLabels", "this is no JSON"),
        ([], "BadLabels", "this is not COCO's JSON"),
        (coco(images=3), "BadLabels", "there is no list 'images' of objects"),
        (coco(categories=[{"id": 1}, {"id": 1}]), "BadLabels", "its categories have no ids of their own"),
        (coco(annotations=[{"image_id": 7, "category_id": 5}]), "BadLabels", "an annotation is of category 5"),
        (coco(annotations=[{"image_id": 8, "category_id": 90}]), "BadLabels", "an annotation is of image 8"),
        (coco(annotations=[{"image_id": 7, "category_id": 90, "bbox": [1, 2, float("inf"), 3]}]), "BadLabels", "bbox"),
        (coco(annotations=[{"image_id": 7, "category_id": 90, "bbox": [1, 2, 10**400, 3]}]), "BadLabels", "'bbox' is"),
        (coco(images=[*coco()["images"], {"id": 9, "file_name": "./a/1.png"}]), "BadLabels", "two images have one id"),
        (coco(images=[{"id": 7, "file_name": "a/1.png"}]), "NoLabel", "no label for 'a/2.png'"),
        (coco(images=[*coco()["images"], {"id": 9, "file_name": "x"}]), "ImageMissing", "'x' is not in"),
    ],
)  # fmt: skip
def test_wrong_annotations_are_named(images: Path, tmp_path: Path, content: Any, name: str, said: str) -> None:
    written = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(FurcError) as caught:
        read_annotations(images, text(tmp_path / "coco.json", written))
    assert caught.value.name == name and said in caught.value.message and caught.value.hint


@pytest.mark.parametrize(
    "line", ["1 0.1 0.1", "x 0 0 1 1", "1 nan 0 1 1", "-1 0 0 1 1", "1 8 6 4 2", "1 0 0 1 0 1 1 0"]
)
def test_a_wrong_line_of_yolo_is_named(images: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "labels/a").mkdir(parents=True)
    text(tmp_path / "labels/a/1.txt", f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(FurcError, match="this line is no object") as caught:
        read_annotations(images, tmp_path / "labels")
    assert str(caught.value.at).endswith("1.txt:2")


@pytest.mark.parametrize("option", [{"limit": -1}, {"limit": 0}, {"task": "none"}, {"score": 2.0}, {"iou": -0.5}])
def test_options_of_an_evaluation_are_what_the_command_takes(option: dict[str, Any]) -> None:
    """limit=-1 had left out the last image; a task that is a text was none, and gave no figures."""
    with pytest.raises(FurcError, match="BadOption"):
        Options(data=Path("images"), **option)
