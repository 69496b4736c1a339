"""Images in folders, and photos with an EXIF orientation: every reader turns them as a viewer does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from furc.data.images import Preprocess, find_images, image_size, preprocess_image, read_image
from furc.data.inputs import Input, read_inputs
from furc.data.pixels import Pixels
from furc.data.samples import image_feeds
from furc.evaluate.annotations import read_annotations
from furc.evaluate.labels import read_labels
from furc.evaluate.truth import Annotated
from isa.errors import ConfigError, SourceError

SHOWN = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)  # rows, columns, as a viewer shows it
# What the file holds for what is shown; from the EXIF standard: where row 0 and column 0 of the file are seen.
HELD = {
    1: SHOWN,
    2: SHOWN[:, ::-1],  # top, right
    3: SHOWN[::-1, ::-1],  # bottom, right
    4: SHOWN[::-1],  # bottom, left
    5: SHOWN.swapaxes(0, 1),  # left, top
    6: SHOWN[:, ::-1].swapaxes(0, 1),  # right, top
    7: SHOWN[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: SHOWN[::-1].swapaxes(0, 1),  # left, bottom
}


def photo(path: Path, orientation: int, held: NDArray[np.uint8] | None = None) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    pixels = HELD[orientation] if held is None else held
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif.tobytes())
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", HELD)
def test_a_photo_is_read_as_it_is_shown(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = photo(tmp_path / f"p.{suffix}", orientation)
    assert np.array_equal(np.asarray(read_image(path)), SHOWN)
    assert image_size(path) == (6, 4)


def test_calibration_and_runs_see_the_same(tmp_path: Path) -> None:
    plain, turned = photo(tmp_path / "plain.png", 1), photo(tmp_path / "turned.png", 6)
    expected = preprocess_image(read_image(plain), Preprocess(size=(8, 8)))
    (calibrated,) = image_feeds(turned, "x", Preprocess(size=(8, 8)))
    run = read_inputs([Input("x", "float32", (1, 3, 8, 8))], {"x": turned})
    assert np.array_equal(calibrated["x"], expected) and np.array_equal(run["x"], expected)


def test_boxes_in_fractions_are_of_what_is_shown(tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    photo(tmp_path / "images/p.png", 8)
    (tmp_path / "labels/p.txt").write_text("0 0.5 0.5 1 1\n")
    (image,) = read_annotations(tmp_path / "images", tmp_path / "labels").images
    assert isinstance(image, Annotated) and image.objects.boxes.tolist() == [[0, 0, 6, 4]]


def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    cut = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0a\0\0\0"  # a text, past the end
    Image.fromarray(SHOWN).save(tmp_path / "p.png", exif=cut)
    assert np.array_equal(np.asarray(read_image(tmp_path / "p.png")), SHOWN)
    assert image_size(tmp_path / "p.png") == (6, 4)


def test_a_photo_without_exif_is_read_from_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(SHOWN).save(tmp_path / "p.png")
    monkeypatch.setattr("furc.data.images.read_image", lambda path: pytest.fail("all of it was decoded"))
    assert image_size(tmp_path / "p.png") == (6, 4)


def test_folders_behind_links_are_read_too(tmp_path: Path) -> None:
    """A set put together of links had been evaluated without them, and its classes numbered without them."""
    val, elsewhere = tmp_path / "val", tmp_path / "elsewhere"
    for folder in (val / "cat", elsewhere):
        folder.mkdir(parents=True)
        Image.fromarray(SHOWN).save(folder / "p.png")
    (val / "bird").symlink_to(elsewhere)
    (val / "cat/all").symlink_to(val)  # leads back up
    (val / "cat/folder.png").mkdir()
    assert find_images(val) == [val / "bird/p.png", val / "cat/p.png"]
    assert read_labels(val).classes == ("bird", "cat")


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(SHOWN).save(tmp_path / name / "p.png")
    scandir = os.scandir

    def closed(path: Path) -> Iterator[os.DirEntry[str]]:
        if path.name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)  # root reads everything
    with pytest.raises(SourceError, match="Permission denied") as caught:
        find_images(tmp_path)
    assert caught.value.name == "FolderUnreadable" and str(caught.value.at) == str(tmp_path / "b")


def test_what_is_far_longer_than_wide_is_cropped_or_refused_by_its_name(tmp_path: Path) -> None:
    """A strip of 60000 x 1 pixels had been enlarged to 38 million columns of 640 rows, which no memory holds."""
    crop = Preprocess(size=(640, 640), fit="crop")
    assert preprocess_image(Image.new("RGB", (100, 1)), crop).shape == (1, 3, 640, 640)
    Image.new("RGB", (60000, 1)).save(tmp_path / "strip.png")
    with pytest.raises(SourceError, match="60000 x 1 pixels would become 38400000 x 640") as caught:
        list(image_feeds(tmp_path, "x", crop))
    assert caught.value.name == "BadImage" and str(caught.value.at) == str(tmp_path / "strip.png")
    with pytest.raises(SourceError, match=r"strip\.png"):
        read_inputs([Input("x", "float32", (1, 3, 640, 640))], {"x": tmp_path / "strip.png"}, pixels=Pixels(fit="crop"))


@pytest.mark.parametrize(
    "option",
    [
        {"channels": "BGR"}, {"fit": "Letterbox"}, {"place": "center"}, {"layout": "NHWC"}, {"dtype": "int8"},
        {"mean": ()}, {"mean": "1"}, {"mean": np.ones((3, 1))}, {"std": (1.0, 0.0)}, {"std": (np.nan,)},
        {"scale": (1.0,)}, {"fill": 256}, {"fill": True}, {"fill": 7.0},
    ],
)  # fmt: skip
def test_a_word_that_says_nothing_is_refused(option: dict[str, Any]) -> None:
    """channels="BGR" had been RGB, fit="Letterbox" a crop that was not cut, layout="NHWC" channels first."""
    with pytest.raises(ConfigError, match=f"BadOption.*{next(iter(option))} is "):
        Preprocess(**option)
    if next(iter(option)) in {field.name for field in fields(Pixels)}:
        with pytest.raises(ConfigError, match="BadOption"):
            Pixels(**option)


@pytest.mark.parametrize("kind", [Preprocess, Pixels])
@pytest.mark.parametrize("three", [[1.0, 2, 3.5], np.array([1, 2, 3.5], np.float32), (np.float64(1), 2, 3.5)])
def test_numbers_of_numpy_are_those_of_python(kind: Any, three: Any) -> None:
    """They had been refused, by a message that showed the same number."""
    told = kind(fill=np.int64(7), scale=np.float32(0.5), mean=three, std=np.float64(2))
    assert told == kind(fill=7, scale=0.5, mean=(1.0, 2.0, 3.5), std=(2.0,))
    assert hash(told) and {type(number) for number in (told.scale, *told.mean, *told.std)} == {float}


def test_an_image_is_normalized_by_lists_as_by_tuples() -> None:
    image = Image.new("RGB", (3, 2), (10, 20, 30))
    listed = Preprocess(scale=1, mean=[1, 2, 3], std=[2, 2, 4])  # type: ignore[arg-type]
    assert preprocess_image(image, listed)[0, :, 0, 0].tolist() == [4.5, 9.0, 6.75]
