"""The options of calibration samples, for the commands that quantize."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import click

from furc.cli.request import FILE
from furc.data.samples import SampleSource
from furc.quantizer import CalibrationMethod
from isa.errors import ConfigError

METHODS = tuple(map(str, CalibrationMethod))


def sample_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: where samples come from and how images become inputs, handed over as one `data`."""

    @functools.wraps(function)
    def wrapped(
        *,
        calibration_data: Path | None,
        random: int | None,
        samples: int | None,
        resize: Literal["stretch", "letterbox", "crop"],
        scale: float,
        mean: str,
        std: str,
        channels: Literal["rgb", "bgr", "gray"],
        **others: Any,
    ) -> Any:
        if (calibration_data is None) == (random is None):
            raise click.UsageError("give one of --calibration-data and --random")
        data = SampleSource(
            path=calibration_data,
            random=random,
            limit=samples,
            fit=resize,
            scale=scale,
            mean=_numbers(mean, "--mean"),
            std=_numbers(std, "--std"),
            channels=channels,
        )
        try:
            return function(data=data, **others)
        except ConfigError as error:
            if error.name != "BadChannels":
                raise
            raise click.UsageError(error.message) from error  # --mean and --std against --channels

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
