"""Calibration samples, dicts from input names to arrays: from a folder of images, from an .npz, or noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from furc.data.arrays import Array, array_names, read_array
from furc.data.images import Preprocess, find_images, preprocess_image, read_image
from furc.onnx.graph import input_infos
from isa.errors import ConfigError, FurcError, Loc, QuantizeError, SourceError

Sample = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]
IMAGE_AXES = 4
OPEN_SHAPE = "give it: -b 1 for an open batch, else --input-shape NAME=1x3x640x640"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """Where samples come from and how images become inputs. random: samples of noise instead of a path.

    limit: the first so many. fit, scale, mean, std, channels: as in Preprocess; the size and the order of axes are the
    model's.
    """

    path: Path | None = None
    random: int | None = None
    limit: int | None = None
    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Literal["rgb", "bgr", "gray"] = "rgb"


def read_samples(model: onnx.ModelProto, source: SampleSource, input_shapes: Shapes | None = None) -> list[Sample]:
    """The samples for a float model. input_shapes: of inputs that the model leaves open.

    Raises SourceError NoImages, BadImage, BadData, NotAnImageInput where there is no data or it does not fit,
    ConfigError BadChannels, QuantizeError OpenShape.
    """
    shapes = input_shapes or {}
    if source.random is not None:
        return random_samples(model, source.random, input_shapes=shapes)
    if source.path is None:
        raise ConfigError("NoSamples", "neither a path nor a number of random samples", hint="give one of them")
    if not source.path.exists():
        raise SourceError(
            "NoImages", "there is no such directory or file", at=Loc(str(source.path)),
            hint="give a directory of images or an .npz of arrays [samples, ...] by input name",
        )  # fmt: skip
    names = [info.name for info in input_infos(model)]
    if source.path.suffix == ".npz" and len(names) > 1:
        found = list(_of_archive(source.path, names, source.limit))
    else:
        found = list(_of_images(model, names[0], shapes, source)) if names else []
    if not found:
        raise SourceError("NoImages", "no samples", at=Loc(str(source.path)), hint="give at least one, better 100")
    return found


def random_samples(
    model: onnx.ModelProto, count: int, seed: int = 0, input_shapes: Shapes | None = None
) -> list[Sample]:
    """Uniform noise for every input: good to see a model compile. Raises QuantizeError[OpenShape]."""
    rng = np.random.default_rng(seed)
    shapes = {info.name: _shape(info, input_shapes or {}) for info in input_infos(model)}
    for name, shape in shapes.items():
        if min(shape, default=1) < 1:
            raise QuantizeError("OpenShape", f"input '{name}' has no fixed shape", hint=OPEN_SHAPE)
    return [{name: rng.random(shape, np.float32) for name, shape in shapes.items()} for _ in range(count)]


def image_feeds(
    source: Path | str, input_name: str, preprocess: Preprocess, limit: int | None = None
) -> Iterator[Sample]:
    """Samples for `Calibrator` and `quantize_model`. source: a directory, an image or an .npz; files in order of names.

    Arrays of an npz are fed as they are: one entry named after the input, or a single entry, [samples, ...].
    Raises SourceError[NoImages, BadImage, BadData].
    """
    path = Path(source)
    if path.suffix == ".npz":
        for sample in itertools.islice(_samples(path, input_name), limit):
            yield {input_name: sample[None]}
        return
    for file in find_images(path)[:limit]:
        yield {input_name: preprocess_image(read_image(file), preprocess)}


def _samples(path: Path, name: str) -> Array:
    """An array [samples, ...] of an .npz. Raises SourceError BadData."""
    try:
        return read_array(path, name)
    except SourceError as error:
        raise _bad_data(error) from error


def _bad_data(error: FurcError) -> SourceError:
    return SourceError("BadData", error.message, at=error.at, hint=error.hint)


def _of_archive(path: Path, names: list[str], limit: int | None) -> Iterator[Sample]:
    try:
        held = array_names(path)
    except SourceError as error:
        raise _bad_data(error) from error
    for name in names:
        if name not in held:
            message = f"no array '{name}', it holds {', '.join(held) or 'nothing'}"
            raise SourceError("BadData", message, at=Loc(str(path)), hint="name the arrays like the inputs")
    arrays = {name: _samples(path, name) for name in names}
    count = min(len(array) for array in arrays.values())
    for index in range(count if limit is None else min(limit, count)):
        yield {name: array[index : index + 1] for name, array in arrays.items()}


def _of_images(model: onnx.ModelProto, name: str, shapes: Shapes, source: SampleSource) -> Iterator[Sample]:
    assert source.path is not None
    how = Preprocess() if source.path.suffix == ".npz" else _preprocess(model, name, shapes, source)
    yield from image_feeds(source.path, name, how, source.limit)


def _preprocess(model: onnx.ModelProto, name: str, shapes: Shapes, source: SampleSource) -> Preprocess:
    """For the shape of the input: [n, c, h, w] or [n, h, w, c]."""
    shape = _shape(next(info for info in input_infos(model) if info.name == name), shapes)
    last = len(shape) == IMAGE_AXES and shape[3] in (1, 3) and shape[1] not in (1, 3)
    size = shape[1:3] if last else shape[2:4]
    if len(shape) != IMAGE_AXES or min(size) < 1:
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {list(shape)}, images need four axes with known rows and columns",
            hint="give --input-shape, or an .npz",
        )  # fmt: skip
    channels = shape[3] if last else shape[1]
    order = "gray" if channels == 1 else source.channels
    _check_channels(name, channels, order, source)
    return Preprocess(
        size=(int(size[0]), int(size[1])),
        fit=source.fit,
        scale=source.scale,
        mean=source.mean,
        std=source.std,
        channels=order,
        layout="nhwc" if last else "nchw",
    )


def _check_channels(name: str, channels: int, order: str, source: SampleSource) -> None:
    wanted = 1 if order == "gray" else 3
    if channels not in (0, wanted):
        raise SourceError("NotAnImageInput", f"input '{name}' has {channels} channels, {order} images have {wanted}",
                          hint="choose --channels, or give an .npz")  # fmt: skip
    for what, numbers in (("mean", source.mean), ("std", source.std)):
        if len(numbers) not in (1, wanted):
            raise ConfigError("BadChannels", f"{what} has {len(numbers)} numbers for {wanted} channels",
                              hint="give one number, or one a channel")  # fmt: skip


def _shape(info: onnx.ValueInfoProto, shapes: Shapes) -> tuple[int, ...]:
    """The extents of an input, 0 where they are open."""
    return shapes.get(info.name) or tuple(int(d.dim_value) for d in info.type.tensor_type.shape.dim)
