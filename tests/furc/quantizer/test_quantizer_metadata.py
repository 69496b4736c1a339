"""What a float model's metadata says of ranges and types comes from a file."""

from __future__ import annotations

import time
from itertools import pairwise

import onnx
import pytest
from quantizer_models import images, residual

import furc
from furc.quantizer import QuantizeOptions, quantize, quantize_model, ranges_of
from furc.quantizer.write.calibrated import KEY
from furc.quantizer.write.editor import NOTES_KEY
from isa.errors import QuantizeError

BOMB = "a: &a [1, 1]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))


def with_metadata(key: str, value: str) -> onnx.ModelProto:
    model = residual()
    model.metadata_props.add(key=key, value=value)
    return model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "the metadata FurisoaAI.CalibrationResult is not YAML: anchors and aliases"),
        ("[" * 5000, "the metadata FurisoaAI.CalibrationResult is not YAML: "),
        ("- " * 5000, "the metadata FurisoaAI.CalibrationResult is not YAML: nested more than "),
        ("x: [0, 1", "the metadata FurisoaAI.CalibrationResult is not YAML: "),
        ("7", "the metadata FurisoaAI.CalibrationResult is not a mapping"),
        ("x: [0]", "the metadata gives tensor 'x' [0], not two numbers"),
        ("x: " + str(list(range(500))), "the metadata gives tensor 'x' [0, 1, 2, "),
        ("x: [.nan, 1]", "the metadata gives tensor 'x' [nan, 1], which is no range"),
        ("x: [2, 1]", "the metadata gives tensor 'x' [2, 1], which is no range"),
        (f"x: [0, {'9' * 400}]", "the metadata gives tensor 'x' [inf, inf], which is no range"),
    ],
)
def test_ranges_that_are_none(text: str, message: str) -> None:
    started = time.monotonic()
    for read in (ranges_of, quantize, furc.compile):
        with pytest.raises(QuantizeError) as caught:
            read(with_metadata(KEY, text))
        assert caught.value.name == "BadRange" and caught.value.message.startswith(message)
        assert "\n" not in caught.value.message and len(caught.value.message) < 400
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        "[7]",
        '[["x", "int9", null]]',
        '[["x", "int8", [1]], ["y"]]',
        '[["x", "int8", ["a", "b"]]]',
        '[["x", "int8", {"a": 1, "b": 2}]]',
        f'[["x", "int8", [0, {"9" * 400}]]]',
        '[["x", "int8", [0, 1], 2]]',
        '[[["x"], "int8", null]]',
        '[{"x": 1}]',
        "9" * 5000,
        "[" * 5000,
    ],
)
def test_types_that_are_none(text: str) -> None:
    with pytest.raises(QuantizeError, match="is not what ModelEditor notes"):
        quantize_model(with_metadata(NOTES_KEY, text), images(1), QuantizeOptions(method="MIN_MAX_ASYM"))


def test_types_of_tensors_that_are_not_there() -> None:
    with pytest.raises(QuantizeError):
        quantize_model(
            with_metadata(NOTES_KEY, '[["z", "int8", null]]'), images(1), QuantizeOptions(method="MIN_MAX_ASYM")
        )
