"""How an image becomes an input of a model: the same for calibration and for runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from furc.data.images import Channels, Fit, Place, Preprocess, check_words, plain_numbers
from isa.errors import NOWHERE, ConfigError, Loc, SourceError, counted

IMAGE_AXES = 4
LIKELY = (1, 3, 640, 640)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """As in Preprocess; the size and the order of axes are the model's. Raises ConfigError BadOption."""

    fit: Fit = "stretch"
    place: Place = "centre"
    fill: int = 114
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: Channels = "rgb"

    def __post_init__(self) -> None:
        check_words(fit=self.fit, place=self.place, channels=self.channels)
        for name, value in plain_numbers(fill=self.fill, scale=self.scale, mean=self.mean, std=self.std).items():
            object.__setattr__(self, name, value)


USUAL = Pixels()


def as_stored(pixels: Pixels) -> Pixels:
    """The same for an input of integers, which takes pixels as they are."""
    return replace(pixels, scale=USUAL.scale, mean=USUAL.mean, std=USUAL.std)


def preprocess_for(
    name: str, shape: Sequence[int], pixels: Pixels, dtype: str = "float32", at: Loc = NOWHERE
) -> Preprocess:
    """For an input [n, c, h, w] or [n, h, w, c], 0 where it is open. dtype: integers take pixels as they are.

    Raises SourceError NotAnImageInput, ConfigError BadChannels.
    """
    last = len(shape) == IMAGE_AXES and shape[3] in (1, 3) and shape[1] not in (1, 3)
    size = shape[1:3] if last else shape[2:4]
    if len(shape) != IMAGE_AXES or min(size) < 1:
        likely = "x".join(str(extent if extent > 0 else d) for extent, d in zip(shape, LIKELY, strict=False))
        fixed = bool(shape) and min(shape) > 0
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {list(shape)}, images need four axes with known rows and columns",
            at=at,
            hint="give an .npz" if fixed else f"give --input-shape {name}={likely or '1x3x640x640'}, or an .npz",
        )  # fmt: skip
    channels = shape[3] if last else shape[1]
    order = "gray" if channels == 1 else pixels.channels
    _check_channels(name, channels, order, pixels, at)
    if dtype != "float32":
        _check_stored(name, dtype, pixels, at)
    return Preprocess(
        size=(int(size[0]), int(size[1])),
        fit=pixels.fit,
        place=pixels.place if pixels.fit == "letterbox" else USUAL.place,  # which say nothing of other images
        fill=pixels.fill if pixels.fit == "letterbox" else USUAL.fill,
        scale=pixels.scale,
        mean=pixels.mean,
        std=pixels.std,
        channels=order,
        layout="nhwc" if last else "nchw",
        dtype="float32" if dtype == "float32" else "uint8",
    )


def _check_channels(name: str, channels: int, order: str, pixels: Pixels, at: Loc) -> None:
    wanted = 1 if order == "gray" else 3
    if channels not in (0, wanted):
        what = f"input '{name}' has {counted(channels, 'channel')}, {order} images have {wanted}"
        raise SourceError("NotAnImageInput", what, at=at, hint="choose --channels, or give an .npz")
    for what, numbers in (("mean", pixels.mean), ("std", pixels.std)):
        if len(numbers) not in (1, wanted):
            message = f"{what} has {counted(len(numbers), 'number')} for {counted(wanted, 'channel')}"
            raise ConfigError("BadChannels", message, hint="give one number, or one a channel")


def _check_stored(name: str, dtype: str, pixels: Pixels, at: Loc) -> None:
    """Stored values are pixels; what they stand for was settled when the model was quantized."""
    wrong = [f"--{what}" for what in ("scale", "mean", "std") if getattr(pixels, what) != getattr(USUAL, what)]
    if wrong:
        raise SourceError(
            "NotAnImageInput", f"input '{name}' is {dtype}: it takes pixels as they are, {wrong[0]} would change them",
            at=at, hint=f"leave out {', '.join(wrong)}: they belong to furc quantize",
        )  # fmt: skip
