"""How images became inputs, from furc quantize through furc compile to furc run and furc eval."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from PIL import Image

from furc.data.images import preprocess_image
from furc.onnx.model_proto import PIXELS, noted_pixels
from furc.quantizer import Preprocess
from furc.zoo import digits
from isa.enf import load

Furc = Callable[..., Result]
OPTIONS = ("--resize", "letterbox", "--scale", "0.002")
TOLD = "images are taken as in its calibration, with --resize letterbox --scale 0.002"


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 11, 3), np.uint8))


@pytest.fixture
def noted(furc: Furc, models: Path) -> Path:
    """Here: n.onnx, quantized from images by OPTIONS; n.enf; the images, in directories of their classes."""
    for index, (image, label) in enumerate(zip(digits.test_images()[:8], digits.test_labels(), strict=False)):
        Path(f"photos/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(f"photos/{label}/{index}.png")
    furc("quantize", models / "float.onnx", "-o", "n.onnx", "--calibration-data", "photos", *OPTIONS)
    furc("compile", "n.onnx", "-o", "n.enf")
    picture().save("p.png")
    return Path("photos")


@pytest.mark.usefixtures("noted")
def test_a_run_takes_images_as_the_calibration_did(furc: Furc, fed: list[dict[str, Any]]) -> None:
    said = furc("run", "n.enf", "--input", "images=p.png").stderr
    assert said.splitlines()[0] == f"input 'images': {TOLD}"
    how = Preprocess(size=(8, 8), channels="gray", fit="letterbox", scale=0.002)
    assert np.array_equal(fed[0]["images"], preprocess_image(picture(), how))
    assert "calibration" not in furc("run", "n.enf", "--input", "images=p.png", *OPTIONS).stderr
    said = furc("run", "n.enf", "--input", "images=p.png", "--resize", "stretch").stderr
    assert said.startswith(
        "warning: input 'images': its calibration took images with --resize letterbox --scale 0.002,"
    )
    assert np.array_equal(fed[2]["images"], preprocess_image(picture(), Preprocess(size=(8, 8), channels="gray")))
    assert "calibration" not in furc("run", "n.enf").stderr  # no image is read


@pytest.mark.usefixtures("noted")
def test_a_verification_takes_images_as_the_calibration_did_and_says_so(furc: Furc) -> None:
    said = furc("verify", "n.onnx", "--input", "images=p.png", "--minimal", "part.onnx").stderr
    assert said.splitlines() == [f"input 'images': {TOLD}"]
    assert "calibration" not in furc("verify", "n.onnx").stderr  # no image is read


@pytest.mark.usefixtures("noted")
def test_the_note_goes_by_every_level_and_form(furc: Furc, models: Path) -> None:
    note = noted_pixels(onnx.load("n.onnx"))
    assert (
        load("n.enf").pixels
        == note
        == "--resize letterbox --place centre --fill 114 --scale 0.002 --mean 0 --std 1 --channels rgb"
    )
    for level in ("dfg", "ldfg", "cdfg", "gir", "lir"):
        furc("compile", "n.onnx", "--target-ir", level, "-o", f"n.{level}")
        furc("compile", f"n.{level}", "-o", f"{level}.enf")
        assert load(f"{level}.enf").pixels == note
    furc("quantize", models / "float.onnx", "-o", "c.onnx", "--calibration-data", "photos", "--format", "calibrated")
    furc("compile", "c.onnx", "-o", "c.enf")
    assert load("c.enf").pixels == noted_pixels(onnx.load("c.onnx")) != ""
    assert note in furc("info", "n.enf").stdout


def test_what_is_not_calibrated_on_images_notes_nothing(furc: Furc, models: Path) -> None:
    assert noted_pixels(onnx.load(models / "int8.onnx")) == load(models / "model.enf").pixels == ""
    assert b'"pixels"' not in (models / "model.enf").read_bytes()
    furc("quantize", models / "float.onnx", "-o", "r.onnx", "--random", 2)
    assert noted_pixels(onnx.load("r.onnx")) == ""


@pytest.mark.usefixtures("noted")
def test_another_note_is_another_entry_of_the_cache(furc: Furc) -> None:
    model = onnx.load("n.onnx")
    (entry,) = (entry for entry in model.metadata_props if entry.key == PIXELS)
    entry.value = entry.value.replace("0.002", "0.5")
    onnx.save(model, "n.onnx")
    furc("compile", "n.onnx", "-o", "other.enf")
    assert load("other.enf").pixels == entry.value


def test_all_models_of_an_evaluation_go_by_the_note(furc: Furc, models: Path, noted: Path) -> None:
    words = ("eval", "n.enf", "--float", models / "float.onnx", "--data", noted, "--json")
    result = furc(*words, "by_note.json")
    assert f"n.enf: {TOLD}" in result.stderr.splitlines()
    assert "calibration" not in furc(*words, "given.json", *OPTIONS).stderr
    by_note, given = (json.loads(Path(name).read_text())["models"] for name in ("by_note.json", "given.json"))
    assert [m["percent"] for m in by_note] == [m["percent"] for m in given]
    assert by_note[1]["sqnr_db"] == given[1]["sqnr_db"]
    said = furc(*words, "others.json", "--resize", "letterbox").stderr
    assert said.count("warning: n.enf: its calibration took images with") == 1
    others = json.loads(Path("others.json").read_text())["models"]
    assert others[1]["sqnr_db"] != given[1]["sqnr_db"]


def test_notes_that_disagree_leave_a_model_without_one_open(furc: Furc, models: Path, noted: Path) -> None:
    furc("quantize", models / "float.onnx", "-o", "m.onnx", "--calibration-data", noted)
    both = furc("eval", "n.enf", "m.onnx", "--data", noted).stderr
    assert f"n.enf: {TOLD}" in both and "m.onnx: images are taken as in its calibration, as by default" in both
    words = ("eval", "n.enf", "m.onnx", "--float", models / "float.onnx", "--data", noted)
    assert "error[PixelsDiffer]: float.onnx: n.enf was calibrated on images with" in furc(*words, exits=1).stderr
    furc(*words, *OPTIONS)
