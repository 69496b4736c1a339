"""How images became the inputs that a model was calibrated on: a note in the model, spelled as the options that say so.

    furc.pixels: --resize letterbox --place top-left --fill 114 --scale 1 --mean 0 --std 1 --channels bgr

`furc quantize` writes it into the metadata of the INT8 model, `furc compile` carries it into the binary as it is, and
who reads images for either of them goes by it where the user says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol

import onnx
from onnx import helper

from furc.data.images import CHOICES, Preprocess
from furc.data.pixels import USUAL, Pixels, as_stored, preprocess_for
from furc.onnx.model_proto import PIXELS
from isa.errors import Loc, SourceError

OPTIONS = {"fit": "resize"}  # where an option is not called as the field is
OF_LETTERBOX = ("place", "fill")
MOST_SHOWN = 100  # characters of a note that is none of furc's


class Tensor(Protocol):
    """An input as this module sees it: of a binary, of a model, or of a graph. dtype: NumPy's name."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def note_pixels(model: onnx.ModelProto, pixels: Pixels) -> None:
    """Write the note into a model's metadata, in place of one that is there."""
    kept = {p.key: p.value for p in model.metadata_props} | {PIXELS: spelled(pixels)}
    del model.metadata_props[:]
    helper.set_model_props(model, kept)


def spelled(pixels: Pixels, *, usual: bool = True) -> str:
    """The options, those that say nothing beside others left out. usual: with those that are as by default."""
    words = []
    for field in fields(Pixels):
        value, name = getattr(pixels, field.name), OPTIONS.get(field.name, field.name)
        silent = field.name in OF_LETTERBOX and pixels.fit != "letterbox"
        if silent or (not usual and value == field.default):
            continue
        numbers = value if isinstance(value, tuple) else (value,)
        words += [
            f"--{name}",
            ",".join(n if isinstance(n, str) else repr(float(n)).removesuffix(".0") for n in numbers),
        ]
    return " ".join(words)


def preprocess_by(
    tensor: Tensor, given: Pixels | None, note: str, at: Loc, told: Callable[[str], None], who: str
) -> Preprocess:
    """As `preprocess_for`, by the options given, or by those noted where none are. told: hears which are taken, or that
    those given are others. who: whose the note is, for it.

    Raises also SourceError BadNote where a note is needed and is none of furc's.
    """
    noted = read_note(note) if note else USUAL
    stored = noted if noted is None or tensor.dtype == "float32" else as_stored(noted)  # the model has the rest in it
    if given is None:
        if stored is None:
            raise SourceError(
                "BadNote", f"the model notes '{note[:MOST_SHOWN]}', which are no options of images", at=at,
                hint="say how images become inputs: --resize, --scale, --mean, --std, --channels",
            )  # fmt: skip
        if note:
            told(f"{who}: images are taken as in its calibration, {_words(stored)}")
        return _preprocess(tensor, stored, at)
    how = _preprocess(tensor, given, at)
    if stored is None:
        told(f"warning: {who}: it notes '{note[:MOST_SHOWN]}' of its calibration, which furc cannot read")
    elif note and how != _preprocess(tensor, stored, at):
        told(f"warning: {who}: its calibration took images {_words(stored)}, here they are taken {_words(given)}")
    return how


def _preprocess(tensor: Tensor, pixels: Pixels, at: Loc) -> Preprocess:
    return preprocess_for(tensor.name, tensor.shape, pixels, tensor.dtype, at)


def _words(pixels: Pixels) -> str:
    return f"with {found}" if (found := spelled(pixels, usual=False)) else "as by default"


def read_note(note: str) -> Pixels | None:
    """The inverse of `spelled`; None for any other text."""
    words = note.split(" ")
    given = dict(zip(words[::2], words[1::2], strict=False))
    known: dict[str, Any] = {}
    try:
        for field in fields(Pixels):
            text = given.get(f"--{OPTIONS.get(field.name, field.name)}")
            if text is not None:
                known[field.name] = _value(field.name, text)
    except ValueError:
        return None
    found = Pixels(**known)
    return found if spelled(found) == note else None


def _value(name: str, text: str) -> object:
    """Raises ValueError."""
    if name in CHOICES:
        return CHOICES[name][CHOICES[name].index(text)]
    numbers = tuple(map(float, text.split(",")))
    if not all(map(math.isfinite, numbers)) or (name == "std" and not all(numbers)):
        raise ValueError(text)
    if name in ("mean", "std"):
        return numbers
    (number,) = numbers
    if name == "fill" and (number != int(number) or not 0 <= number <= 255):
        raise ValueError(text)
    return int(number) if name == "fill" else number
