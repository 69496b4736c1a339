"""The options of calibration samples, for the commands that quantize."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from furc.cli.pixels import pixel_options, refuse_without_images
from furc.cli.request import FILE
from furc.data.pixels import USUAL, Pixels
from furc.data.samples import SampleSource
from furc.quantizer import CalibrationMethod

METHODS = tuple(map(str, CalibrationMethod))


def sample_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: where samples come from and how images become inputs, handed over as one `data`."""
    return _declared(function, needed=True)


def optional_sample_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `sample_options`, for what can do without samples: then `data` is None."""
    return _declared(function, needed=False)


def _declared(function: Callable[..., Any], *, needed: bool) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(
        *, calibration_data: Path | None, random: int | None, samples: int | None, pixels: Pixels | None, **others: Any
    ) -> Any:
        given = (calibration_data is not None) + (random is not None)
        if given > 1 or (needed and not given):
            raise click.UsageError("give one of --calibration-data and --random")
        if calibration_data is None or calibration_data.suffix == ".npz":
            refuse_without_images("--calibration-data" if random is None else "--random")
        if not given:
            return function(data=None, **others)
        data = SampleSource(path=calibration_data, random=random, limit=samples, pixels=pixels or USUAL)
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
