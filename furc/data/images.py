"""Images as input arrays, one at a time."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from furc.data.arrays import Array
from furc.data.folders import files_below
from isa.errors import ConfigError, Loc, SourceError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}
DEEP = ("I", "F")  # Pillow's modes of 16 and 32 bits a pixel
MOST_PIXELS = 1 << 26  # of an image on its way to an input: 256 MiB, about what Pillow opens at most
UInt8 = NDArray[np.uint8]
Float32 = NDArray[np.float32]
Fit: TypeAlias = Literal["stretch", "letterbox", "crop"]
Place: TypeAlias = Literal["centre", "top-left"]
Channels: TypeAlias = Literal["rgb", "bgr", "gray"]
Layout: TypeAlias = Literal["nchw", "nhwc"]
Stored: TypeAlias = Literal["float32", "uint8"]
CHOICES: dict[str, tuple[str, ...]] = {
    "fit": get_args(Fit), "place": get_args(Place), "channels": get_args(Channels), "layout": get_args(Layout),
    "dtype": get_args(Stored),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocess:
    """How pixels become a model's input: fit to size, then (pixel * scale - mean) / std, a number a channel.

    size: (rows, columns), None keeps the image's. fit: stretch to the size; letterbox keeps proportions and fills with
    `fill`; crop scales the shorter side to the size and takes the middle. place: of a letterboxed image, in the middle
    as YOLOv5 has it or at the top left as YOLOX has. mean, std: after scale, in the order of `channels`; a number, list
    or array becomes a tuple. dtype "uint8" feeds pixels as they are. Raises ConfigError BadOption.
    """

    size: tuple[int, int] | None = None
    fit: Fit = "stretch"
    fill: int = 114
    place: Place = "centre"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Channels = "rgb"
    layout: Layout = "nchw"
    dtype: Stored = "float32"

    def __post_init__(self) -> None:
        check_words(fit=self.fit, place=self.place, channels=self.channels, layout=self.layout, dtype=self.dtype)
        for name, value in plain_numbers(fill=self.fill, scale=self.scale, mean=self.mean, std=self.std).items():
            object.__setattr__(self, name, value)


def check_words(**words: str) -> None:
    """Options that are one of a few words, by name. Raises ConfigError BadOption.

    Where images are made into inputs, a word that is none, such as "BGR", would be the other one without a sound.
    """
    for option, word in words.items():
        if word not in CHOICES[option]:
            raise ConfigError("BadOption", f"{option} is '{word}'", hint=f"one of {', '.join(CHOICES[option])}")


def plain_numbers(*, fill: object, scale: object, mean: object, std: object) -> dict[str, object]:
    """These options as Python's own numbers and tuples, whatever NumPy or the caller calls them.

    Raises ConfigError BadOption where they are none."""
    several = {"mean": _several(mean), "std": _several(std)}
    for (option, numbers), given in zip(several.items(), (mean, std), strict=True):
        if not numbers:
            raise ConfigError("BadOption", f"{option} is {given}", hint=f"write {option}=(127.5,), or one a channel")
    if not all(several["std"]):
        raise ConfigError("BadOption", f"std is {std}", hint="pixels are divided by it")
    if not isinstance(scale, Real) or not math.isfinite(scale):
        raise ConfigError("BadOption", f"scale is {scale}", hint="one number")
    if not isinstance(fill, Integral) or isinstance(fill, bool) or not 0 <= int(fill) <= 255:
        raise ConfigError("BadOption", f"fill is {fill}", hint="a pixel, 0 to 255")
    return {"fill": int(fill), "scale": float(scale), **several}


def _several(value: object) -> tuple[float, ...]:
    """One number, or those of a list, a tuple or an array with one axis; () where they are none."""
    given = value.tolist() if isinstance(value, np.ndarray) else value
    numbers = given if isinstance(given, list | tuple) else (given,)
    return tuple(map(float, numbers)) if all(map(_is_number, numbers)) else ()


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


class Placed(NamedTuple):
    """Where a letterboxed image lies in an input: its rows and columns there, by which factor, and from where on."""

    rows: int
    columns: int
    ratio: float
    left: int
    top: int


def find_images(source: Path) -> list[Path]:
    """The images in a directory and those below, or the one given. Raises SourceError NoImages, FolderUnreadable."""
    if source.is_file():
        return [source]
    found = [p for p in files_below(source) if p.suffix.lower() in SUFFIXES] if source.is_dir() else []
    if not found:
        arrays = sorted(source.glob("*.npz")) if source.is_dir() else []
        raise SourceError(
            "NoImages",
            "there is no image here" if source.is_dir() else "there is no such directory or file",
            at=Loc(str(source)),
            hint=f"give {arrays[0]} itself" if arrays else f"furc reads {', '.join(sorted(SUFFIXES))} and .npz",
        )
    return found


def read_image(path: Path) -> Image.Image:
    """An image in RGB, as viewers and OpenCV show it: turned as its EXIF orientation says.

    EXIF that cannot be read says nothing, to them as to us. Raises SourceError[BadImage].
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # a file of some KB with 90 million pixels
            warnings.filterwarnings("ignore", "Corrupt EXIF data")
            with Image.open(path) as image:
                mode = image.mode
                ImageOps.exif_transpose(image, in_place=True)
                pixels = image.convert("RGB")
    except Exception as error:  # Pillow's decoders raise whatever their parsing meets
        words = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError("BadImage", f"cannot be read as an image: {words[0]}", at=Loc(str(path)),
                          hint=f"furc reads {', '.join(sorted(SUFFIXES))}") from error  # fmt: skip
    if mode.startswith(DEEP):  # Pillow makes white of all that is above 255
        raise SourceError("BadImage", f"its pixels have more than 8 bits (Pillow calls them {mode})", at=Loc(str(path)),
                          hint="bring it to 8 bits, or pass arrays")  # fmt: skip
    return pixels


def image_size(path: Path) -> tuple[int, int]:
    """Columns and rows of what `read_image` makes, from the head of the file where that says it. Raises as it."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Corrupt EXIF data")
            with Image.open(path) as image:
                if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                    return image.size
    except Exception:  # as there
        pass
    return read_image(path).size


def preprocess_image(image: Image.Image, p: Preprocess) -> Array:
    """[1, c, h, w] or [1, h, w, c], float32 or uint8. Raises SourceError BadImage, without the name of a file."""
    fitted = _fitted(image.convert("L" if p.channels == "gray" else "RGB"), p)
    pixels = np.asarray(fitted, np.uint8).reshape(fitted.height, fitted.width, -1)
    if p.channels == "bgr":
        pixels = pixels[:, :, ::-1]
    values: Array = pixels if p.dtype == "uint8" else _normalized(pixels, p)
    ordered = values if p.layout == "nhwc" else values.transpose(2, 0, 1)
    return np.ascontiguousarray(ordered[None])


def _normalized(pixels: UInt8, p: Preprocess) -> Float32:
    mean, std = np.asarray(p.mean, np.float32), np.asarray(p.std, np.float32)
    return np.asarray((pixels.astype(np.float32) * np.float32(p.scale) - mean) / std, np.float32)


def _fitted(image: Image.Image, p: Preprocess) -> Image.Image:
    if p.size is None or (image.height, image.width) == p.size:
        return image
    rows, columns = p.size
    if p.fit == "stretch":
        return image.resize((columns, rows), _filter(image, rows, columns))
    at = placed((image.height, image.width), p)
    if at.rows * at.columns > MOST_PIXELS:  # only a crop of what is hundreds of times as long as wide
        what = f"{image.width} x {image.height} pixels would become {at.columns} x {at.rows} before they are cropped"
        raise SourceError("BadImage", what, hint="cut it, or leave it out of the data")
    resized = image.resize((at.columns, at.rows), _filter(image, at.rows, at.columns))
    if p.fit == "crop":
        return resized.crop((-at.left, -at.top, columns - at.left, rows - at.top))
    canvas = Image.new(image.mode, (columns, rows), p.fill if image.mode == "L" else (p.fill,) * 3)
    canvas.paste(resized, (at.left, at.top))
    return canvas


def placed(size: tuple[int, int], p: Preprocess) -> Placed:
    """Where an image of `size` (rows, columns) lies when it keeps its proportions: letterbox or crop. left and top of a
    crop are not above 0."""
    assert p.size is not None
    rows, columns = p.size
    ratios = rows / size[0], columns / size[1]
    ratio = min(ratios) if p.fit == "letterbox" else max(ratios)
    height, width = max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))
    if p.fit == "letterbox" and p.place == "top-left":
        return Placed(height, width, ratio, 0, 0)
    return Placed(height, width, ratio, (columns - width) // 2, (rows - height) // 2)


def _filter(image: Image.Image, rows: int, columns: int) -> Image.Resampling:
    """Averaging when shrinking, so that no pixel is skipped; bilinear when growing."""
    return Image.Resampling.BOX if rows * columns < image.height * image.width else Image.Resampling.BILINEAR
