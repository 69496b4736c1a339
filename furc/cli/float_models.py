"""Float models and calibration data from files, for the commands that quantize."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from furc.cli.pixels import Pixels, pixel_options, preprocess_for
from furc.cli.request import FILE
from isa.errors import Loc, SourceError

if TYPE_CHECKING:
    import onnx

    from furc.cli.arrays import Array

Sample = dict[str, "Array"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where calibration data comes from. random: samples of noise instead of data."""

    path: Path | None
    random: int | None
    limit: int | None
    pixels: Pixels


def read_float_model(path: Path) -> onnx.ModelProto:
    """An ONNX model with its external data. Raises SourceError, as the frontend does."""
    from furc.frontend.onnx.reading import read_proto

    model = read_proto(path)
    if not model.graph.output:
        raise SourceError("NotOnnx", "not an ONNX model: no graph with outputs", at=Loc(str(path)),
                          hint="pass a .onnx file")  # fmt: skip
    return model


def read_samples(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]], options: DataOptions) -> list[Sample]:
    """Calibration samples, dicts by input name. Raises SourceError where there is no data, or it does not fit."""
    from furc.quantizer import get_pure_input_names, random_samples

    if options.random is not None:
        if shapes:
            from furc.quantizer import optimize_model

            model = optimize_model(model, shapes)
        return random_samples(model, options.random)
    assert options.path is not None
    if not options.path.exists():
        raise SourceError(
            "NoImages", "there is no such directory or file", at=Loc(str(options.path)),
            hint="give a directory of images or an .npz of arrays [samples, ...] by input name",
        )  # fmt: skip
    names = get_pure_input_names(model)
    if options.path.suffix == ".npz" and len(names) > 1:
        found = list(_of_archive(options.path, names, options.limit))
    else:
        found = list(_of_images(model, names[0], shapes, options)) if names else []
    if not found:
        raise SourceError("NoImages", "no samples", at=Loc(str(options.path)), hint="give at least one, better 100")
    return found


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of calibration data, handed over as one `data`."""
    import functools

    @functools.wraps(function)
    def wrapped(
        *, calibration_data: Path | None, random: int | None, samples: int | None, pixels: Pixels, **others: Any
    ) -> Any:
        if (calibration_data is None) == (random is None):
            raise click.UsageError("give one of --calibration-data and --random")
        data = DataOptions(path=calibration_data, random=random, limit=samples, pixels=pixels)
        return function(data=data, **others)

    declared: Callable[..., Any] = pixel_options(wrapped)
    for option in reversed(list(_options())):
        declared = option(declared)
    return declared


def _options() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    yield click.option(
        "--calibration-data", type=FILE, metavar="DIR|F.npz",
        help="Images, also in directories below, or arrays [samples, ...] by input name.",
    )  # fmt: skip
    yield click.option(
        "--random", type=click.IntRange(min=1), metavar="N",
        help="Calibrate on N samples of noise instead: for timing, not for accuracy.",
    )  # fmt: skip
    yield click.option(
        "--samples", type=click.IntRange(min=1), metavar="N", help="Use the first N samples.  [default: all]"
    )


def _of_archive(path: Path, names: list[str], limit: int | None) -> Iterator[Sample]:
    from furc.cli.arrays import read_arrays

    arrays = read_arrays(path)
    for name in names:
        if name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise SourceError("BadData", f"no array '{name}', it holds {held}", at=Loc(str(path)),
                              hint="name the arrays like the inputs")  # fmt: skip
    count = min(len(arrays[name]) for name in names)
    for index in range(count if limit is None else min(limit, count)):
        yield {name: arrays[name][index : index + 1] for name in names}


def _of_images(
    model: onnx.ModelProto, name: str, shapes: dict[str, tuple[int, ...]], options: DataOptions
) -> Iterator[Sample]:
    from furc.quantizer import Preprocess, image_feeds

    assert options.path is not None
    how = Preprocess()
    if options.path.suffix != ".npz":
        info = next(i for i in model.graph.input if i.name == name)
        shape = shapes.get(name) or tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
        how = preprocess_for(name, shape, options.pixels)
    yield from image_feeds(options.path, name, how, options.limit)
