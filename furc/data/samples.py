"""Calibration samples, dicts from input names to arrays: from a folder of images, from an .npz, or noise."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import onnx

from furc.data.arrays import Array, array_names, read_array, samples_in
from furc.data.feeds import Taken, feeds, taken
from furc.data.images import SUFFIXES, Preprocess, find_images, preprocess_image, read_image
from furc.data.pixels import LIKELY, USUAL, Pixels, preprocess_for
from furc.onnx.files import Source, in_file, load
from furc.onnx.model_proto import input_infos
from isa.errors import ConfigError, FurcError, Loc, QuantizeError, SourceError

Sample = dict[str, Array]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSource:
    """Where samples come from and how images become inputs. random: samples of noise instead of a path.

    limit: the first so many. Raises ConfigError BadOption.
    """

    path: Path | None = None
    random: int | None = None
    limit: int | None = None
    pixels: Pixels = USUAL

    def __post_init__(self) -> None:
        check_count("random", self.random)
        check_count("limit", self.limit)

    @property
    def of_images(self) -> bool:
        """Whether `pixels` says anything."""
        return self.random is None and self.path is not None and self.path.suffix != ".npz"


def check_count(name: str, count: int | None) -> None:
    """Raises ConfigError BadOption where it is no whole number from 1 on."""
    if count is not None and (not isinstance(count, Integral) or isinstance(count, bool) or count < 1):
        raise ConfigError("BadOption", f"{name} is {count}", hint="a whole number from 1 on")


def read_samples(model: onnx.ModelProto, source: SampleSource, input_shapes: Shapes | None = None) -> list[Sample]:
    """The samples for a float model, in its element types. input_shapes: of inputs that the model leaves open.

    Raises SourceError NoImages, BadImage, BadData, NotAnImageInput where there is no data or it does not fit,
    ConfigError BadChannels, QuantizeError OpenShape, BadCalibrationData, NotFinite.
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
    if source.path.is_file() and source.path.suffix.lower() not in (*SUFFIXES, ".npz"):
        raise SourceError(
            "BadData", "neither an image nor an .npz, by its name", at=Loc(str(source.path)),
            hint="give a directory of images, or write arrays [samples, ...] by input name with numpy.savez",
        )  # fmt: skip
    names = [info.name for info in input_infos(model)]
    if source.path.suffix == ".npz" and len(names) > 1:
        found = list(_of_archive(source.path, names, source.limit))
    else:
        found = list(_of_images(model, names[0], shapes, source)) if names else []
    if not found:
        raise SourceError("NoImages", "no samples", at=Loc(str(source.path)), hint="give at least one, better 100")
    of_any_shape = [tensor._replace(shape=None) for tensor in map(taken, input_infos(model))]  # who runs it knows them
    return list(feeds(of_any_shape, found))


def random_samples(model: Source, count: int, seed: int = 0, input_shapes: Shapes | None = None) -> list[Sample]:
    """Noise for every input, floats uniform in [0, 1): good to see a model compile. An open batch is 1.

    Raises QuantizeError[OpenShape, UnsupportedInput], SourceError.
    """
    rng, shapes = np.random.default_rng(seed), input_shapes or {}
    proto = model if isinstance(model, onnx.ModelProto) else load(model)
    inputs = [(tensor, shapes.get(tensor.name) or _fixed(tensor)) for tensor in map(taken, input_infos(proto))]
    return [{tensor.name: _noise(tensor, shape, rng) for tensor, shape in inputs} for _ in range(count)]


def _noise(tensor: Taken, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if tensor.dtype.kind == "f":
        return rng.random(shape, np.float32).astype(tensor.dtype)
    return rng.integers(0, 2, shape).astype(tensor.dtype)  # 0 and 1 are indices of whatever there is


def _fixed(tensor: Taken) -> tuple[int, ...]:
    """Its shape, a batch that is open being 1. Some exporters write -1 for an open axis, some 0."""
    shape = None if tensor.shape is None else tuple(e if e is not None and e > 0 else None for e in tensor.shape)
    if shape is not None and len(shape) > 1 and shape[0] is None:
        shape = (1, *shape[1:])
    if shape is None or None in shape:
        known = shape or LIKELY
        usual = LIKELY if len(known) == len(LIKELY) else (1,) * len(known)
        likely = "x".join(str(extent or other) for extent, other in zip(known, usual, strict=True))
        raise QuantizeError(
            "OpenShape", f"input '{tensor.name}' has no fixed shape",
            hint=f"--input-shape {tensor.name}={likely}, or input_shapes in Python",
        )  # fmt: skip
    return tuple(extent for extent in shape if extent is not None)


def image_feeds(
    source: Path | str, input_name: str, preprocess: Preprocess, limit: int | None = None
) -> Iterator[Sample]:
    """Samples for `Calibrator` and `quantize_model`. source: a directory, an image or an .npz; files in order of names.

    Arrays of an npz are fed as they are: one entry named after the input, or a single entry, [samples, ...].
    Raises SourceError[NoImages, BadImage, BadData], ConfigError BadOption.
    """
    check_count("limit", limit)
    path = Path(source)
    if path.suffix == ".npz":
        for sample in itertools.islice(_samples(path, input_name), limit):
            yield {input_name: sample[None]}
        return
    for file in find_images(path)[:limit]:
        with in_file(file):
            sample = preprocess_image(read_image(file), preprocess)
        yield {input_name: sample}


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
    count = samples_in(arrays, path)
    for index in range(count if limit is None else min(limit, count)):
        yield {name: array[index : index + 1] for name, array in arrays.items()}


def _of_images(model: onnx.ModelProto, name: str, shapes: Shapes, source: SampleSource) -> Iterator[Sample]:
    assert source.path is not None
    how = Preprocess()
    if source.of_images:
        shape = _shape(next(info for info in input_infos(model) if info.name == name), shapes)
        how = preprocess_for(name, shape, source.pixels)
    yield from image_feeds(source.path, name, how, source.limit)


def _shape(info: onnx.ValueInfoProto, shapes: Shapes) -> tuple[int, ...]:
    """The extents of an input, 0 where they are open."""
    return shapes.get(info.name) or tuple(int(d.dim_value) for d in info.type.tensor_type.shape.dim)
