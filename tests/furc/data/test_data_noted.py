"""How images became inputs, noted in the model: the note, what is no note, and what goes by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from furc.data.inputs import Input
from furc.data.noted import note_pixels, preprocess_by, read_note, spelled
from furc.data.pixels import USUAL, Pixels
from furc.onnx.model_proto import noted_pixels
from isa.errors import Loc, SourceError

NUMBERS = st.floats(-1e9, 1e9).filter(bool)
PIXELS = st.builds(
    Pixels,
    fit=st.sampled_from(["stretch", "letterbox", "crop"]),
    place=st.sampled_from(["centre", "top-left"]),
    fill=st.integers(0, 255),
    scale=NUMBERS,
    mean=st.tuples(NUMBERS) | st.tuples(NUMBERS, NUMBERS, NUMBERS),
    std=st.tuples(NUMBERS) | st.tuples(NUMBERS, NUMBERS, NUMBERS),
    channels=st.sampled_from(["rgb", "bgr", "gray"]),
)
YOLOX = Pixels(fit="letterbox", place="top-left", scale=1, channels="bgr")
NOTE = "--resize letterbox --place top-left --fill 114 --scale 1 --mean 0 --std 1 --channels bgr"


def by(pixels: Pixels | None, note: str, dtype: str = "float32", channels: int = 3) -> tuple[Any, list[str]]:
    told: list[str] = []
    tensor = Input("x", dtype, (1, channels, 8, 8))
    return preprocess_by(tensor, pixels, note, Loc("p.png"), told.append, "m"), told


def test_a_note_is_the_options_of_a_command() -> None:
    assert spelled(YOLOX) == NOTE and read_note(NOTE) == YOLOX
    assert spelled(USUAL, usual=False) == "" and spelled(YOLOX, usual=False).startswith("--resize letterbox --place")
    assert spelled(Pixels(place="top-left", fill=3)) == spelled(USUAL)  # of images that are stretched


@given(PIXELS)
def test_a_note_says_all_that_counts(pixels: Pixels) -> None:
    counts = pixels if pixels.fit == "letterbox" else replace(pixels, place=USUAL.place, fill=USUAL.fill)
    assert read_note(spelled(pixels)) == counts


@pytest.mark.parametrize(
    "text",
    [
        "x", "--resize stretch", NOTE + " ", NOTE[1:], NOTE + " --scale 1", NOTE.replace("114", "256"),
        NOTE.replace("114", "1.5"), NOTE.replace("--std 1", "--std 0"), NOTE.replace("--scale 1", "--scale inf"),
        NOTE.replace("--scale 1", "--scale 1,1"), NOTE.replace("--mean 0", "--mean nan"),
        NOTE.replace("--mean 0", "--mean"), NOTE.replace("bgr", "cmyk"),
    ],
)  # fmt: skip
def test_other_texts_are_no_notes(text: str) -> None:
    assert read_note(text) is None
    with pytest.raises(SourceError, match=r"^error\[BadNote\]: p\.png: the model notes"):
        by(None, text)
    how, told = by(YOLOX, text)
    assert how == by(YOLOX, "")[0] and [t.partition(" notes '")[0] for t in told] == ["warning: m: it"]


def test_the_note_counts_where_nothing_is_given() -> None:
    how, told = by(None, NOTE)
    assert how == by(YOLOX, "")[0]
    assert told == [f"m: images are taken as in its calibration, with {spelled(YOLOX, usual=False)}"]
    assert by(None, "") == (by(USUAL, "")[0], [])
    assert by(None, spelled(USUAL))[1] == ["m: images are taken as in its calibration, as by default"]


def test_what_is_given_counts_and_is_warned_of_where_it_differs() -> None:
    assert by(YOLOX, NOTE)[1] == []
    how, told = by(USUAL, NOTE)
    assert how == by(USUAL, "")[0]
    noted = f"warning: m: its calibration took images with {spelled(YOLOX, usual=False)}"
    assert told == [f"{noted}, here they are taken as by default"]


def test_what_makes_no_difference_to_an_input_is_not_warned_of() -> None:
    assert by(Pixels(channels="gray"), spelled(USUAL), channels=1)[1] == []
    without_scale = Pixels(channels="bgr", fit="letterbox", place="top-left")
    assert by(without_scale, NOTE, "uint8") == (by(without_scale, "", "uint8")[0], [])  # the model has the scale in it
    assert by(None, NOTE, "uint8")[0] == by(without_scale, "", "uint8")[0]


def test_a_model_has_one_note(tmp_path: Path) -> None:
    tensor = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([], "g", [tensor], [tensor]))
    helper.set_model_props(model, {"author": "me"})
    for pixels in (USUAL, YOLOX):
        note_pixels(model, pixels)
    onnx.save(model, tmp_path / "m.onnx")
    read = onnx.load(tmp_path / "m.onnx")
    assert noted_pixels(read) == NOTE and len(read.metadata_props) == 2
