"""How an image becomes an input: the same options wherever a command takes images."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, get_args

import click
from click.core import ParameterSource

from furc.data.images import Channels, Fit, Place
from furc.data.pixels import Pixels
from isa.errors import ConfigError

FIELDS = tuple(field.name for field in fields(Pixels))


def pixel_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options, handed over as one `pixels`; None where none of them is given."""

    @functools.wraps(function)
    def wrapped(**given: Any) -> Any:
        pixels = Pixels(**{name: given.pop(name) for name in FIELDS})
        try:
            return function(pixels=pixels if _given() else None, **given)
        except ConfigError as error:
            if error.name != "BadChannels":
                raise
            raise click.UsageError(error.message) from error  # --mean and --std against --channels

    for option in reversed(list(_options())):
        wrapped = option(wrapped)
    return wrapped


def refuse_without_images(source: str) -> None:
    """Refuse the first option of images that is given. source: the option that should have brought an image."""
    for option in _given():
        raise click.UsageError(f"{option} is about images, and {source} brings none: leave {option} out")


def _given() -> list[str]:
    context = click.get_current_context()
    options = [option for option in context.command.params if option.name in FIELDS]
    return [o.opts[0] for o in options if context.get_parameter_source(str(o.name)) is not ParameterSource.DEFAULT]


def _options() -> Iterator[Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """One a field of Pixels, called as it is or, as --resize, with the field's name behind its own."""
    yield click.option(
        "--resize", "fit", type=click.Choice(get_args(Fit)), default="stretch",
        help="How an image comes to the input's rows and columns.",
    )  # fmt: skip
    yield click.option("--place", type=click.Choice(get_args(Place)), default="centre",
                       help="Of a letterboxed image: YOLOX wants top-left.")  # fmt: skip
    yield click.option("--fill", type=click.IntRange(0, 255), default=114, help="Around a letterboxed image.")
    yield click.option("--scale", type=float, default=1 / 255, help="Pixels, 0 to 255, are multiplied by this.",
                       show_default="1/255", callback=_finite)  # fmt: skip
    yield click.option("--mean", default="0", metavar="M[,M,M]", callback=_numbers,
                       help="Then subtracted; one number, or one a channel.")  # fmt: skip
    yield click.option("--std", default="1", metavar="S[,S,S]", callback=_numbers,
                       help="Then divided by; one number, or one a channel.")  # fmt: skip
    yield click.option(
        "--channels", type=click.Choice(get_args(Channels)), default="rgb", help="Order of the channels."
    )


def _finite(context: click.Context, option: click.Parameter, number: float) -> float:
    if not math.isfinite(number):
        raise click.BadParameter(f"{number} makes no pixel a number")
    return number


def _numbers(context: click.Context, option: click.Parameter, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise click.BadParameter(f"'{text}' is not one number or three") from None
    for number in numbers:
        _finite(context, option, number)
    if option.name == "std" and not all(numbers):
        raise click.BadParameter("a standard deviation of 0")
    return numbers
