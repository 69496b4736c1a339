"""Float models and calibration data from files, for the commands that quantize."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from furc.cli.request import FILE
from isa.errors import Loc, SourceError

if TYPE_CHECKING:
    import onnx

    from furc.cli.arrays import Array
    from furc.quantizer import Preprocess

Sample = dict[str, "Array"]
IMAGE_AXES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where calibration data comes from and how images become inputs. random: samples of noise instead of data."""

    path: Path | None
    random: int | None
    limit: int | None
    fit: Literal["stretch", "letterbox", "crop"]
    place: Literal["centre", "top-left"]
    fill: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: Literal["rgb", "bgr", "gray"]


def read_float_model(path: Path) -> onnx.ModelProto:
    """An ONNX model with its external data. Raises SourceError ModelNotFound, NotOnnx."""
    import onnx

    at = Loc(str(path))
    if not path.is_file():
        raise SourceError("ModelNotFound", "no such file", at=at, hint="check the path of the model")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf, onnx and the file system each have their own
        words = str(error).strip().splitlines()
        raise SourceError(
            "NotOnnx", f"not an ONNX model: {words[0] if words else type(error).__name__}", at=at,
            hint="pass a model in ONNX's binary form (.onnx)",
        ) from error  # fmt: skip
    if not model.graph.output:
        raise SourceError("NotOnnx", "not an ONNX model: no graph with outputs", at=at, hint="pass a .onnx file")
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
        *,
        calibration_data: Path | None,
        random: int | None,
        samples: int | None,
        resize: Literal["stretch", "letterbox", "crop"],
        place: Literal["centre", "top-left"],
        fill: int,
        scale: float,
        mean: str,
        std: str,
        channels: Literal["rgb", "bgr", "gray"],
        **others: Any,
    ) -> Any:
        if (calibration_data is None) == (random is None):
            raise click.UsageError("give one of --calibration-data and --random")
        data = DataOptions(
            path=calibration_data,
            random=random,
            limit=samples,
            fit=resize,
            place=place,
            fill=fill,
            scale=scale,
            mean=_numbers(mean, "--mean"),
            std=_numbers(std, "--std"),
            channels=channels,
        )
        return function(data=data, **others)

    for option in reversed(list(_options())):
        wrapped = option(wrapped)
    return wrapped


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
    yield click.option(
        "--resize", type=click.Choice(("stretch", "letterbox", "crop")), default="stretch",
        help="How an image comes to the input's rows and columns.",
    )  # fmt: skip
    yield click.option("--place", type=click.Choice(("centre", "top-left")), default="centre",
                       help="Of a letterboxed image: YOLOX wants top-left.")  # fmt: skip
    yield click.option("--fill", type=click.IntRange(0, 255), default=114, help="Around a letterboxed image.")
    yield click.option("--scale", type=float, default=1 / 255, help="Pixels, 0 to 255, are multiplied by this.",
                       show_default="1/255")  # fmt: skip
    yield click.option("--mean", default="0", metavar="M[,M,M]", help="Then subtracted; one number, or one a channel.")
    yield click.option("--std", default="1", metavar="S[,S,S]", help="Then divided by; one number, or one a channel.")
    yield click.option(
        "--channels", type=click.Choice(("rgb", "bgr", "gray")), default="rgb", help="Order of the channels."
    )


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not one number or three", param_hint=f"'{option}'") from None
    if option == "--std" and not all(numbers):
        raise click.BadParameter("a standard deviation of 0", param_hint=f"'{option}'")
    return numbers


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
        how = _preprocess(model, name, shapes, options)
    yield from image_feeds(options.path, name, how, options.limit)


def _preprocess(
    model: onnx.ModelProto, name: str, shapes: dict[str, tuple[int, ...]], options: DataOptions
) -> Preprocess:
    """For the shape of the input: [n, c, h, w] or [n, h, w, c]."""
    from furc.quantizer import Preprocess

    info = next(i for i in model.graph.input if i.name == name)
    shape = shapes.get(name) or tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
    last = len(shape) == IMAGE_AXES and shape[3] in (1, 3) and shape[1] not in (1, 3)
    size = shape[1:3] if last else shape[2:4]
    if len(shape) != IMAGE_AXES or min(size) < 1:
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {list(shape)}, images need four axes with known rows and columns",
            hint="give --input-shape, or an .npz",
        )  # fmt: skip
    channels = shape[3] if last else shape[1]
    order = "gray" if channels == 1 else options.channels
    _check_channels(name, channels, order, options)
    return Preprocess(
        size=(int(size[0]), int(size[1])),
        fit=options.fit,
        place=options.place,
        fill=options.fill,
        scale=options.scale,
        mean=options.mean,
        std=options.std,
        channels=order,
        layout="nhwc" if last else "nchw",
    )


def _check_channels(name: str, channels: int, order: str, options: DataOptions) -> None:
    wanted = 1 if order == "gray" else 3
    if channels not in (0, wanted):
        raise SourceError("NotAnImageInput", f"input '{name}' has {channels} channels, {order} images have {wanted}",
                          hint="choose --channels, or give an .npz")  # fmt: skip
    for option, numbers in (("--mean", options.mean), ("--std", options.std)):
        if len(numbers) not in (1, wanted):
            raise click.BadParameter(f"{len(numbers)} numbers for {wanted} channels", param_hint=f"'{option}'")
