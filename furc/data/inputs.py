"""What goes into a run: files given by input name, or seeded random data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from furc.data.arrays import Array, read_array
from furc.data.images import Preprocess, preprocess_image, read_image
from isa.errors import Loc, SourceError
from passes.ir.op import Value

ARRAYS = (".npy", ".npz")
IMAGE_AXES = 4
MIDDLE = 128  # int8 inputs hold pixels less this


class Tensor(Protocol):
    """An input as this module sees it: of a binary, or of a graph. dtype: NumPy's name."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


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


def read_inputs(tensors: Iterable[Tensor], files: Mapping[str, Path], seed: int = 0) -> dict[str, Array]:
    """The arrays of the files, or random ones for all inputs. Session refuses unknown names and wrong shapes.

    files: .npy, .npz (the entry of the input's name, or the only one) or images. Raises SourceError.
    """
    known = {tensor.name: tensor for tensor in tensors}
    if not files:
        return random_inputs(known.values(), seed)
    return {name: _from_file(path, name, known.get(name)) for name, path in files.items()}


def _random(tensor: Tensor, rng: np.random.Generator) -> Array:
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return rng.random(tensor.shape, np.float32)
    if dtype.itemsize > 1 or dtype.kind == "b":  # masks, indices and counts: what is there at least
        return rng.integers(0, 2, tensor.shape).astype(dtype)
    info = np.iinfo(dtype.name)
    return rng.integers(info.min, info.max + 1, tensor.shape).astype(dtype)


def _from_file(path: Path, name: str, tensor: Tensor | None) -> Array:
    if tensor is None:
        return np.empty(0)  # Session names the unknown input
    if path.suffix in ARRAYS:
        needed = math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        return read_array(path, name, needed=needed, scalar=not tensor.shape)
    return _image(path, tensor)


def _image(path: Path, tensor: Tensor) -> Array:
    """An image as [n, 3, h, w] or [n, 1, h, w]: stretched to h x w, RGB, floats divided by 255, one for every n."""
    if not path.is_file():
        raise SourceError("ImageNotFound", "no such file", at=Loc(str(path)), hint="give an image, an .npy or an .npz")
    if len(tensor.shape) != IMAGE_AXES or tensor.shape[1] not in (1, 3):
        raise SourceError(
            "NotAnImageInput", f"input '{tensor.name}' is {list(tensor.shape)}, an image is [n, 3 or 1, h, w]",
            at=Loc(str(path)), hint="give an .npy or .npz of that shape",
        )  # fmt: skip
    n, channels, rows, columns = tensor.shape
    how = Preprocess(
        size=(rows, columns),
        channels="rgb" if channels == 3 else "gray",
        dtype="float32" if tensor.dtype == "float32" else "uint8",
    )
    pixels = preprocess_image(read_image(path), how)
    if tensor.dtype == "int8":
        pixels = (pixels.astype(np.int16) - MIDDLE).astype(np.int8)
    return np.repeat(pixels, n, axis=0)
