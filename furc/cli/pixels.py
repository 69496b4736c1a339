"""How an image becomes an input: the same options wherever a command takes images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from isa.errors import NOWHERE, Loc, SourceError

if TYPE_CHECKING:
    from furc.quantizer import Preprocess

IMAGE_AXES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What the options say. given: those that the user wrote, in the order of the declaration."""

    fit: Literal["stretch", "letterbox", "crop"] = "stretch"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    given: tuple[str, ...] = ()


def pixel_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options, handed over as one `pixels`."""

    @functools.wraps(function)
    def wrapped(
        *,
        resize: Literal["stretch", "letterbox", "crop"],
        scale: float,
        mean: str,
        std: str,
        channels: Literal["rgb", "bgr", "gray"],
        **others: Any,
    ) -> Any:
        context = click.get_current_context()
        names = ("resize", "scale", "mean", "std", "channels")
        given = [n for n in names if context.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE]
        pixels = Pixels(
            fit=resize,
            scale=scale,
            mean=_numbers(mean, "--mean"),
            std=_numbers(std, "--std"),
            channels=channels,
            given=tuple(f"--{name}" for name in given),
        )
        return function(pixels=pixels, **others)

    for option in reversed(list(_options())):
        wrapped = option(wrapped)
    return wrapped


def preprocess_for(
    name: str, shape: Sequence[int], pixels: Pixels, dtype: str = "float32", at: Loc = NOWHERE
) -> Preprocess:
    """For an input [n, c, h, w] or [n, h, w, c]. dtype: uint8 takes pixels as they are.

    Raises SourceError NotAnImageInput, and click's BadParameter for as many numbers as no channels.
    """
    from furc.quantizer import Preprocess

    last = len(shape) == IMAGE_AXES and shape[3] in (1, 3) and shape[1] not in (1, 3)
    size = shape[1:3] if last else shape[2:4]
    if len(shape) != IMAGE_AXES or min(size) < 1:
        likely = "x".join(str(extent if extent > 0 else d) for extent, d in zip(shape, (1, 3, 640, 640), strict=False))
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {list(shape)}, images need four axes with known rows and columns",
            at=at, hint=f"give --input-shape {name}={likely or '1x3x640x640'}, or an .npz",
        )  # fmt: skip
    channels = shape[3] if last else shape[1]
    order = "gray" if channels == 1 else pixels.channels
    _check_channels(name, channels, order, pixels, at)
    if dtype != "float32":
        _check_stored(name, dtype, pixels, at)
    return Preprocess(
        size=(int(size[0]), int(size[1])),
        fit=pixels.fit,
        scale=pixels.scale,
        mean=pixels.mean,
        std=pixels.std,
        channels=order,
        layout="nhwc" if last else "nchw",
        dtype="float32" if dtype == "float32" else "uint8",
    )


def _options() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    yield click.option(
        "--resize", type=click.Choice(("stretch", "letterbox", "crop")), default="stretch",
        help="How an image comes to the input's rows and columns.",
    )  # fmt: skip
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


def _check_channels(name: str, channels: int, order: str, pixels: Pixels, at: Loc) -> None:
    wanted = 1 if order == "gray" else 3
    if channels not in (0, wanted):
        raise SourceError("NotAnImageInput", f"input '{name}' has {channels} channels, {order} images have {wanted}",
                          at=at, hint="choose --channels, or give an .npz")  # fmt: skip
    for option, numbers in (("--mean", pixels.mean), ("--std", pixels.std)):
        if len(numbers) not in (1, wanted):
            raise click.BadParameter(f"{len(numbers)} numbers for {wanted} channels", param_hint=f"'{option}'")


def _check_stored(name: str, dtype: str, pixels: Pixels, at: Loc) -> None:
    """Stored values are pixels; what they stand for was settled when the model was quantized."""
    wrong = [option for option in pixels.given if option in ("--scale", "--mean", "--std")]
    if wrong:
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {dtype}: it takes pixels as they are, {wrong[0]} would change them",
            at=at, hint=f"leave out {', '.join(wrong)}: they belong to furc quantize",
        )  # fmt: skip
