"""What an evaluation found: figures of every model, by class, and the images that changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path


class Task(StrEnum):
    """What the outputs are."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Estimate:
    """In percent, with the interval in which it lies in 95 of 100 draws of as many images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One model. figures: by metric; differences: the same less the reference's, image by image the same draws.

    seconds: in its runs, on this computer. sqnr_db, cosine, agreement: against the reference's outputs, None where they
    cannot be compared."""

    name: str
    where: str
    seconds: float
    figures: Mapping[str, Estimate]
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    sqnr_db: float | None = None
    cosine: float | None = None
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class: of how many images or objects, and the first metric of every model, in percent."""

    name: str
    count: int
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """An image on which a model does something else than the reference. gain: -1 worse, 0 neither, 1 better."""

    image: str
    path: Path
    model: str
    truth: str
    before: str
    after: str
    gain: int
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """reference: the index of the model that the others are compared with. metric: the first one."""

    task: Task
    images: int
    left_out: int
    reference: int
    models: tuple[Scored, ...]
    classes: tuple[ClassRow, ...] = ()
    changes: tuple[Change, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(self.models[0].figures)

    def to_json(self) -> dict[str, object]:
        """Numbers only; the unit is in the key, or percent."""
        return {
            "eval": str(self.task),
            "images": self.images,
            "left_out": self.left_out,
            "reference": self.models[self.reference].name,
            "models": [_model_json(model) for model in self.models],
            "classes": [
                {"name": row.name, "count": row.count, "percent": [_rounded(v) for v in row.values]}
                for row in self.classes
            ],
            "changes": [{**asdict(change), "path": str(change.path)} for change in self.changes],
        }


def _model_json(model: Scored) -> dict[str, object]:
    return {
        "name": model.name,
        "where": model.where,
        "seconds": round(model.seconds, 3),
        "percent": {key: _estimate_json(found) for key, found in model.figures.items()},
        "difference_points": {key: _estimate_json(found) for key, found in model.differences.items()},
        "sqnr_db": _rounded(model.sqnr_db),
        "cosine": _rounded(model.cosine),
        "agreement_percent": _rounded(model.agreement),
    }


def _estimate_json(found: Estimate) -> dict[str, float | None]:
    return {"value": _rounded(found.value), "low": _rounded(found.low), "high": _rounded(found.high)}


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 6)
