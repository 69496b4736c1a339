"""The data of a run: files given as NAME=FILE, seeded random data for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from furc.cli.random_inputs import random_array
from furc.data.arrays import Array, read_array
from isa.enf import ModelTensor
from isa.errors import Loc, SourceError

ARRAYS = (".npy", ".npz")
IMAGE_AXES = 4
MIDDLE = 128  # int8 inputs hold pixels less this


def read_feeds(tensors: Iterable[ModelTensor], files: Mapping[str, Path], seed: int) -> dict[str, Array]:
    """The arrays of the files, or random ones for all inputs. Session refuses unknown names and wrong shapes."""
    known = {tensor.name: tensor for tensor in tensors}
    rng = np.random.default_rng(seed)
    feeds = {name: _read(path, name, known.get(name)) for name, path in files.items()}
    if not files:
        feeds = {name: random_array(t.shape, np.dtype(t.dtype), rng) for name, t in known.items()}
    return feeds


def _read(path: Path, name: str, tensor: ModelTensor | None) -> Array:
    if path.suffix in ARRAYS or tensor is None:
        return read_array(path, name) if path.suffix in ARRAYS else np.empty(0)  # Session names the unknown input
    return _image(path, tensor)


def _image(path: Path, tensor: ModelTensor) -> Array:
    """An image as [n, 3, h, w] or [n, 1, h, w]: stretched to h x w, RGB, floats divided by 255, one for every n."""
    from furc.data.images import Preprocess, preprocess_image, read_image

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
