"""What a proposal is: a change, why, and what a run costs before and after it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import onnx

from furc.request import Request

GAIN_A_PERCENT_DB = 0.25  # of accuracy, worth a percent of latency: as the quantizer weighs splits
LEAST_SHARE = 0.005  # of latency or throughput that a change must bring
LEAST_DB = 0.5  # of accuracy likewise
MS_A_SECOND = 1e3


class Figures(NamedTuple):
    """What a run costs on the modelled machine, all in ms. host_ms: everything that the host does, the parts of the
    model that were cut off among it. at_once: runs that the card does side by side. program_loading: the program is
    loaded in pieces while it runs."""

    npu_ms: float
    host_ms: float
    batch: int = 1
    at_once: int = 1
    program_loading: bool = False

    @property
    def latency_ms(self) -> float:
        return self.npu_ms + self.host_ms

    @property
    def npu_images_per_second(self) -> float:
        """What the NPU alone can do, with the host at work on other runs meanwhile; infinite where it does nothing."""
        return MS_A_SECOND * self.batch * self.at_once / self.npu_ms if self.npu_ms else math.inf


class Accuracy(NamedTuple):
    """How close the outputs in INT8 are to those in float, on samples held back: SNR in dB, 120 where they are equal.

    db: of the error averaged over outputs, a Concat at the end being what it joins. worst_db: of the output `worst`.
    """

    db: float
    worst_db: float
    worst: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """model: the changed one, None where it stays. before, rest: float models of what was cut off, run before and after
    it. request: the options of a compile, None where they stay. input_dtype: what the model takes once quantized. how:
    in words of commands."""

    model: onnx.ModelProto | None = None
    before: onnx.ModelProto | None = None
    rest: onnx.ModelProto | None = None
    request: Request | None = None
    input_dtype: str = "float32"
    how: str = ""

    @property
    def changes_model(self) -> bool:
        return self.model is not None or self.input_dtype != "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A change to be measured. kind: the name of its file. tensors: where the model is cut. retrain: the function
    changes, so that the model is to be trained again. rescues: as it is, INT8 is expected to lose a part of an output.
    reasons: how many there are for it.
    refused: what the compiler says to the model without this change, where it does not compile."""

    kind: str
    title: str
    why: str
    change: Change
    tensors: tuple[str, ...] = ()
    retrain: bool = False
    rescues: bool = False
    reasons: int = 1
    refused: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change, measured. before: None where the model does not compile as it is; accuracies: None without data."""

    draft: Draft
    before: Figures | None
    after: Figures
    accuracy_before: Accuracy | None
    accuracy_after: Accuracy | None

    @property
    def kind(self) -> str:
        return self.draft.kind

    @property
    def title(self) -> str:
        return self.draft.title

    @property
    def change(self) -> Change:
        return self.draft.change

    @property
    def saved(self) -> float:
        """Of the latency, as a share: negative where it grows; 1 where nothing compiled before."""
        return 1.0 if self.before is None else 1 - self.after.latency_ms / self.before.latency_ms

    @property
    def gained(self) -> float:
        """Of the images the NPU does in a second, as a share."""
        if self.before is None or self.before.npu_ms == 0:
            return 0.0
        return self.after.npu_images_per_second / self.before.npu_images_per_second - 1

    @property
    def gained_db(self) -> float:
        """Of accuracy; 0 where it was not measured."""
        if self.accuracy_before is None or self.accuracy_after is None:
            return 0.0
        return self.accuracy_after.db - self.accuracy_before.db

    @property
    def score(self) -> float:
        """Percents of latency, with accuracy at what it is worth."""
        return 100 * self.saved + self.gained_db / GAIN_A_PERCENT_DB

    @property
    def pays(self) -> bool:
        """It is better in something, and not worse in accuracy by more than that is worth."""
        if self.before is None or self.gained_db >= LEAST_DB:
            return True
        if self.draft.rescues and self.accuracy_after is None:
            return True
        saved_ms = self.before.latency_ms - self.after.latency_ms
        noticed = saved_ms >= LEAST_SHARE * (self.before.npu_ms or self.before.latency_ms)  # the host's may be far more
        faster = noticed and (self.score > 0 or self.draft.retrain)
        return faster or (self.gained >= LEAST_SHARE and self.kind in FOR_THROUGHPUT)

    @property
    def rank(self) -> tuple[float, ...]:
        """The best is least: what rescues an output whose accuracy nobody measured, that with most reasons first, then
        what makes a run faster or better, then what makes more runs of it, then what has to be trained again."""
        if self.draft.rescues and self.accuracy_after is None:
            return 0, -self.draft.reasons, -self.score
        if self.draft.retrain:
            return 3, -self.score
        return (1, -self.score) if self.score > 0 else (2, -self.gained)

    def to_json(self) -> dict[str, Any]:
        draft = self.draft
        return {
            "kind": draft.kind, "title": draft.title, "tensors": list(draft.tensors), "why": draft.why,
            "how": draft.change.how, "changes_model": draft.change.changes_model, "retrain": draft.retrain,
            "before": figures_json(self.before), "after": figures_json(self.after),
            "accuracy_before": accuracy_json(self.accuracy_before),
            "accuracy_after": accuracy_json(self.accuracy_after),
        }  # fmt: skip


FOR_THROUGHPUT = ("batch", "target")  # kinds that trade latency for it


class Considered(NamedTuple):
    """A change that does not pay. why_not: it brings nothing, or what the compiler says to it."""

    kind: str
    title: str
    why_not: str


def figures_json(figures: Figures | None) -> dict[str, object] | None:
    if figures is None:
        return None
    throughput = figures.npu_images_per_second
    own = {name: round(value, 6) if isinstance(value, float) else value for name, value in figures._asdict().items()}
    return own | {
        "latency_ms": round(figures.latency_ms, 6),
        "npu_images_per_second": round(throughput, 3) if math.isfinite(throughput) else None,
    }


def accuracy_json(accuracy: Accuracy | None) -> dict[str, object] | None:
    return None if accuracy is None else accuracy._asdict()
