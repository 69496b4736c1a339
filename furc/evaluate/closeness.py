"""How close the outputs of two models are, whatever they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from furc.quantizer.observe.sqnr import Noise, mean_ratio, sqnr_db

Array = NDArray[Any]


@dataclass(slots=True)
class Closeness:
    """Summed over images. db: of the outputs, each counting alike; worst: SQNR of every image, in order.

    agreement: share of images with the same largest value in the first output, in percent; None where that is no row of
    scores."""

    noises: dict[str, Noise] = field(default_factory=dict)
    cosines: list[float] = field(default_factory=list)
    worst: list[float] = field(default_factory=list)
    same: int = 0
    of_scores: bool = True

    def add(self, exact: Mapping[str, Array], found: Mapping[str, Array]) -> None:
        """Of one image, paired outputs of one shape."""
        own, cosines = dict[str, Noise](), []
        for name, values in exact.items():
            a, b = (np.asarray(v, np.float32).reshape(-1) for v in (values, found[name]))
            self.noises.setdefault(name, Noise()).add(a, b)
            own.setdefault(name, Noise()).add(a, b)
            length = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
            cosines.append(float(np.dot(a, b)) / length if length else float(not a.any() and not b.any()))
        first = next(iter(exact))
        self.of_scores &= is_row(np.asarray(exact[first]))
        if self.of_scores:
            self.same += int(np.argmax(exact[first]) == np.argmax(found[first]))
        self.cosines.append(float(np.mean(cosines)))
        self.worst.append(sqnr_db(mean_ratio(own)))

    @property
    def db(self) -> float:
        return sqnr_db(mean_ratio(self.noises))

    @property
    def cosine(self) -> float:
        return float(np.mean(self.cosines)) if self.cosines else 1.0

    @property
    def agreement(self) -> float | None:
        return 100 * self.same / max(len(self.worst), 1) if self.of_scores else None


def is_row(values: Array) -> bool:
    """Whether it is a vector, along whichever axis: a map has a largest value in some place, which says nothing, and
    of no boxes none is the largest."""
    return values.ndim > 0 and values.size == max(values.shape) > 0


def paired(reference: Mapping[str, Array], outputs: Mapping[str, Array]) -> dict[str, Array] | None:
    """Outputs under the reference's names: by name, or in order. None where they are not comparable."""
    named = dict(outputs) if outputs.keys() == reference.keys() else None
    if named is None and len(outputs) == len(reference):
        named = dict(zip(reference, outputs.values(), strict=True))
    if named is None:
        return None
    comparable = all(
        named[n].shape == v.shape and (named[n].dtype.kind == "f") == (v.dtype.kind == "f")
        for n, v in reference.items()
    )
    return named if comparable else None
