"""What goes into a run: files given by input name, or seeded random data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from furc.data.arrays import Array, read_array
from furc.data.images import Preprocess, find_images, preprocess_image, read_image
from furc.data.noted import Tensor, preprocess_by
from furc.data.pixels import Pixels
from furc.onnx.files import in_file
from isa.errors import Loc, RunError, SourceError, counted
from passes.ir.op import Value

ARRAY_SUFFIXES = (".npy", ".npz")
NOT_FINITE = "quantized it becomes some integer, and the outputs look like any others"
MIDDLE = 128  # int8 inputs hold pixels less this


class Input(NamedTuple):
    """A tensor that something takes."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def inputs_of(values: Iterable[Value]) -> list[Input]:
    """Values of a graph as inputs of a run."""
    return [Input(value.name, value.type.dtype.numpy.name, value.type.shape) for value in values]


def random_inputs(tensors: Iterable[Tensor], seed: int = 0) -> dict[str, Array]:
    """Seeded data for every tensor, by name: uniform in [0, 1) for floats, every value of a byte, else 0 and 1."""
    rng = np.random.default_rng(seed)
    return {tensor.name: _random(tensor, rng) for tensor in tensors}


def read_inputs(
    tensors: Iterable[Tensor],
    files: Mapping[str, Path],
    seed: int = 0,
    pixels: Pixels | None = None,
    note: str = "",
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, Array]:
    """The arrays of the files, or random ones for all inputs. Session refuses unknown names.

    files: .npy, .npz (the entry of the input's name, or the only one), an image or a directory of as many images as the
    batch. pixels: how images become inputs, by default as the model notes it (furc/data/noted.py), else as usual. told:
    hears of images that are left out, of the note, and of floats that are no numbers, for which no integer stands.
    Raises SourceError, RunError InputType and InputShape, ConfigError BadChannels.
    """
    known = {tensor.name: tensor for tensor in tensors}
    if not files:
        return random_inputs(known.values(), seed)
    found = {name: _from_file(path, name, known.get(name), pixels, note, told) for name, path in files.items()}
    for name, array in found.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            told(f"warning: input '{name}' holds {'NaN' if np.isnan(array).any() else 'infinity'}: {NOT_FINITE}")
    return found


def _random(tensor: Tensor, rng: np.random.Generator) -> Array:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return rng.random(tensor.shape, np.float32)
    if dtype.itemsize > 1 or dtype.kind == "b":  # masks, indices and counts: what is there at least
        return rng.integers(0, 2, tensor.shape).astype(dtype)
    info = np.iinfo(dtype.name)
    return rng.integers(info.min, info.max + 1, tensor.shape).astype(dtype)


def _from_file(
    path: Path, name: str, tensor: Tensor | None, pixels: Pixels | None, note: str, told: Callable[[str], None]
) -> Array:
    if tensor is None:
        return np.empty(0)  # Session names the unknown input
    if path.suffix in ARRAY_SUFFIXES:
        needed = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        array = read_array(path, name, needed=needed, scalar=not tensor.shape)
        _check(array, tensor, path)
        return array
    return _images(path, tensor, pixels, note, told)


def _check(array: Array, tensor: Tensor, path: Path) -> None:
    """What Session would refuse, with what is likely meant. Raises RunError InputType, InputShape."""
    what, at = f"input '{tensor.name}' is {array.dtype.name}{list(array.shape)}", Loc(str(path))
    wanted = f"expected {tensor.dtype}{list(tensor.shape)}"
    if array.dtype.kind == "f" and tensor.dtype != "float32":
        unit = array.size and float(np.abs(array).max()) <= 1
        hint = f"convert it with .astype('{tensor.dtype}'), which cuts off what is behind the point"
        if unit:
            shift = f" - {MIDDLE}" if tensor.dtype == "int8" else ""
            hint = f"it holds [0, 1], stored values are pixels: (a * 255{shift}).round().astype('{tensor.dtype}')"
        raise RunError("InputType", f"{what}, {wanted}", at=at, hint=hint)
    if array.shape != tensor.shape:
        if array.ndim and tensor.shape and array.shape[1:] == tensor.shape[1:]:
            hint = f"a run takes {tensor.shape[0]}: pass as many, or compile with --batch {array.shape[0]}"
        elif array.shape == tensor.shape[1:]:
            hint = "put the axis of the batch in front: a[None]"
        else:
            hint = "bring the data to this shape: rows and columns are the model's"
        raise RunError("InputShape", f"{what}, {wanted}", at=at, hint=hint)
    if array.dtype.newbyteorder("=") != tensor.dtype:
        hint = f"convert it with .astype('{tensor.dtype}')"
        if tensor.dtype == "float32" and array.dtype.name in ("uint8", "int8"):
            hint = "convert it as the model was trained, pixels for instance by (a / 255).astype('float32')"
        raise RunError("InputType", f"{what}, {wanted}", at=at, hint=hint)


def _images(path: Path, tensor: Tensor, pixels: Pixels | None, note: str, told: Callable[[str], None]) -> Array:
    """[n, c, h, w] or [n, h, w, c]: one image for every n, or the first n of a directory."""
    at = Loc(str(path))
    if not path.exists():
        raise SourceError("ImageNotFound", "no such file", at=at, hint="give an image, an .npy or an .npz")
    how = preprocess_by(tensor, pixels, note, at, told, f"input '{tensor.name}'")
    files, n = find_images(path), tensor.shape[0]
    if path.is_dir() and len(files) < n:
        raise SourceError(
            "NoImages", f"{counted(len(files), 'image')}, a run takes {n}", at=at, hint=f"give a directory of {n}"
        )
    if path.is_dir() and len(files) > n:
        told(f"{path}: {len(files)} images, the first {n} are run")
    made = list[Array]()
    for file in files[:n]:
        with in_file(file):
            made.append(image_input(read_image(file), how, tensor.dtype))
    return np.concatenate(made) if len(made) == n else np.repeat(made[0], n, axis=0)


def image_input(image: Image.Image, how: Preprocess, dtype: str) -> Array:
    """An image as an input of this type: int8 holds pixels less MIDDLE."""
    pixels = preprocess_image(image, how)
    return (pixels.astype(np.int16) - MIDDLE).astype(np.int8) if dtype == "int8" else pixels
