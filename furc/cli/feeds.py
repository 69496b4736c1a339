"""The data of a run: files given as NAME=FILE, seeded random data for everything else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import numpy as np

from furc.cli.arrays import Array, read_array
from furc.cli.pixels import Pixels, preprocess_for
from furc.cli.random_inputs import random_array
from isa.enf import ModelTensor
from isa.errors import Loc, RunError, SourceError

ARRAYS = (".npy", ".npz")
MIDDLE = 128  # int8 inputs hold pixels less this


def read_feeds(
    tensors: Iterable[ModelTensor], files: Mapping[str, Path], seed: int, pixels: Pixels | None = None
) -> dict[str, Array]:
    """The arrays of the files, or random ones for all inputs. Session refuses unknown names."""
    known = {tensor.name: tensor for tensor in tensors}
    rng = np.random.default_rng(seed)
    feeds = {name: _read(path, name, known.get(name), pixels or Pixels()) for name, path in files.items()}
    if not files:
        feeds = {name: random_array(t.shape, np.dtype(t.dtype), rng) for name, t in known.items()}
    return feeds


def _read(path: Path, name: str, tensor: ModelTensor | None, pixels: Pixels) -> Array:
    if path.suffix in ARRAYS:
        array = read_array(path, name)
        if tensor is not None:
            _check(array, tensor, path)
        return array
    return _images(path, tensor, pixels) if tensor is not None else np.empty(0)  # Session names the unknown input


def _check(array: Array, tensor: ModelTensor, path: Path) -> None:
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
        rest = array.shape[1:] == tensor.shape[1:] and array.ndim
        if rest:
            hint = f"a run takes {tensor.shape[0]}: pass as many, or compile with --batch {array.shape[0]}"
        elif array.shape == tensor.shape[1:]:
            hint = "put the axis of the batch in front: a[None]"
        else:
            hint = "bring the data to this shape: rows and columns are the model's"
        raise RunError("InputShape", f"{what}, {wanted}", at=at, hint=hint)


def _images(path: Path, tensor: ModelTensor, pixels: Pixels) -> Array:
    """[n, c, h, w] or [n, h, w, c]: one image for every n, or the first n of a directory."""
    from furc.quantizer.images import find_images, preprocess_image, read_image

    at = Loc(str(path))
    if not path.exists():
        raise SourceError("ImageNotFound", "no such file", at=at, hint="give an image, an .npy or an .npz")
    how = preprocess_for(tensor.name, tensor.shape, pixels, tensor.dtype, at)
    files, n = find_images(path), tensor.shape[0]
    if path.is_dir() and len(files) < n:
        raise SourceError("NoImages", f"{len(files)} images, a run takes {n}", at=at, hint=f"give a directory of {n}")
    if path.is_dir() and len(files) > n:
        click.echo(f"{path}: {len(files)} images, the first {n} are run", err=True)
    made = [preprocess_image(read_image(file), how) for file in files[:n]]
    stacked = np.concatenate(made) if len(made) == n else np.repeat(made[0], n, axis=0)
    return (stacked.astype(np.int16) - MIDDLE).astype(np.int8) if tensor.dtype == "int8" else stacked
