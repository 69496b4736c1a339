"""What a decoder of a detection head is, and how outputs are told to be its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.errors import RunError

Float = NDArray[np.floating[Any]]


class Candidates(NamedTuple):
    """Boxes before suppression. boxes: [n, 4], left, top, right, bottom in input pixels; scores: [n, classes]."""

    boxes: Float
    scores: Float


Outputs = Sequence[Float]  # of one image, in the model's order, without the axis of the batch
Size = tuple[int, int]  # rows and columns of the input


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """How to read a network's outputs, with what its authors' own evaluation does behind them.

    reads: raises Unfit for the outputs of another head. iou: boxes of a class that overlap more are one object.
    multi_label: a box may be of several classes. shapes: what outputs it takes, in words. source: where that is from.
    """

    name: str
    reads: Callable[[Outputs, Size], Candidates]
    iou: float
    multi_label: bool
    shapes: str
    source: str

    def decode(self, outputs: Outputs, size: Size) -> Candidates:
        """Raises RunError HeadMismatch."""
        try:
            return self.reads(outputs, size)
        except Unfit:
            found = ", ".join(str([1, *output.shape]) for output in outputs)
            raise RunError("HeadMismatch", f"outputs {found} are not those of {self.name}",
                           hint=f"it takes {self.shapes}; see --decode") from None  # fmt: skip


class Unfit(Exception):
    """The outputs are not what this head has."""


def of_scale(outputs: Outputs, *channels: int) -> list[Float]:
    """The three outputs of one scale in the head's own order: two of so many channels, then the classes. Raises Unfit.

    Where they come in another order, they are told by their channels."""
    if [output.shape[0] for output in outputs[:2]] != [*channels]:
        places = {count: place for place, count in enumerate(channels)}
        outputs = sorted(outputs, key=lambda output: places.get(output.shape[0], 2))
    if len(outputs) != 3 or [output.shape[0] for output in outputs[:2]] != [*channels]:
        raise Unfit
    return list(outputs)


def joined(parts: Sequence[Candidates]) -> Candidates:
    boxes, scores = zip(*parts, strict=True)
    return Candidates(np.concatenate(boxes), np.concatenate(scores))
