"""furc.advise.advise: every change that may help a model, compiled and measured, the best first.

found = advise("model.onnx", data=SampleSource(path=Path("images")))
found.proposals[0].title
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from furc.advise import (
    activation,
    batch,
    cut,
    operator_set,
    program_loading,
    schedule,
    segments,
    softmax,
    target,
    together,
    uint8_input,
)
from furc.advise.accuracy import DECIDES, Judging
from furc.advise.latency import Timing
from furc.advise.proposal import (
    LEAST_SHARE,
    Accuracy,
    Change,
    Considered,
    Draft,
    Figures,
    Proposal,
    accuracy_json,
    figures_json,
)
from furc.advise.subject import Subject, subject_of
from furc.data.samples import SampleSource, read_samples
from furc.onnx.files import in_file
from furc.progress import Progress, silent
from furc.quantizer import QuantizeOptions, Task
from furc.request import Request
from isa.errors import ConfigError, FurcError


class Kind(Protocol):
    """A file of this folder: what it proposes for a model. base: what the model costs as it is."""

    KIND: str

    def drafts(self, subject: Subject, base: Figures | None) -> Iterator[Draft]: ...


KINDS: tuple[Kind, ...] = (
    program_loading, uint8_input, cut, softmax, activation, operator_set, segments, target, batch,
    schedule,
)  # fmt: skip
BEST_OF = ("batch", "target")  # kinds of which one proposal is enough: the one with the highest throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """proposals: the best first. considered: what was tried and does not pay. before: what the model costs as it is,
    None where it does not compile, which `refused` tells. program loading counts as on where it is needed."""

    source: str
    target: str
    before: Figures | None
    accuracy: Accuracy | None
    refused: str
    proposals: tuple[Proposal, ...]
    considered: tuple[Considered, ...]

    def to_json(self) -> str:
        values = {
            "model": self.source, "target": self.target, "before": figures_json(self.before), "refused": self.refused,
            "accuracy_before": accuracy_json(self.accuracy),
            "proposals": [proposal.to_json() for proposal in self.proposals],
            "considered": [each._asdict() for each in self.considered],
        }  # fmt: skip
        return json.dumps(values, indent=1)


def advise(
    path: Path | str,
    request: Request | None = None,
    *,
    data: SampleSource | None = None,
    task: Task = Task.AUTO,
    options: QuantizeOptions = DECIDES,
    kinds: Sequence[str] = (),
    progress: Progress | None = None,
) -> Advice:
    """What to change in a model, float or quantized, ONNX or TFLite.

    data: samples for a float model; accuracy is then measured on a quarter of them, at most 8, the model being
    quantized on the others with `options`. task: what stands behind the outputs. kinds: those of KINDS that are tried,
    all by default. Raises FurcError where the model cannot be read, ConfigError UnknownKind, NotFloat.
    """
    asked = request or Request()
    asked.options()  # a wrong option is told before the work begins
    chosen = _chosen(kinds)
    with in_file(path):
        subject = subject_of(path, asked)
        judging = _judging(subject, data, task, options)
        return _Advising(subject, judging, progress or silent).run(chosen)


def _chosen(names: Sequence[str]) -> list[Kind]:
    known = {kind.KIND: kind for kind in KINDS}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"they are {', '.join(known)}"
            raise ConfigError("UnknownKind", f"there is no kind of proposal '{name}'", hint=hint)
    return [kind for name, kind in known.items() if not names or name in names]


def _judging(subject: Subject, data: SampleSource | None, task: Task, options: QuantizeOptions) -> Judging | None:
    if data is None:
        return None
    if not subject.is_float:
        raise ConfigError(
            "NotFloat", "accuracy is measured against a float model, and this one is quantized",
            hint="leave the data out, or pass the float model",
        )  # fmt: skip
    samples = read_samples(subject.model, data)
    subject.sample = samples[0]
    return Judging(subject, samples, task, options)


class _Advising:
    def __init__(self, subject: Subject, judging: Judging | None, progress: Progress) -> None:
        self.subject, self.judging, self.progress = subject, judging, progress
        self.timing = Timing(subject)
        self.proposals: list[Proposal] = []
        self.considered: list[Considered] = []
        self.seen: set[tuple[str, ...]] = set()

    def run(self, kinds: Sequence[Kind]) -> Advice:
        self.progress("as it is", 0, None)
        refused, self.base, self.accuracy = "", None, None
        try:
            self.base = self.timing.of(Change())
            self.accuracy = self.judging.of(Change()) if self.judging is not None else None
        except FurcError as error:
            refused = f"{error.name}: {error.message}"
        for kind in kinds:
            self._try(kind)
        both = together.draft_of(self._ranked())
        if both is not None and (proposal := self._measured(both)) is not None:
            self.proposals.append(proposal)
        npu = self.subject.request.npu()
        return Advice(
            source=self.subject.source, target=npu.title, before=self.base, accuracy=self.accuracy, refused=refused,
            proposals=tuple(self._ranked()), considered=tuple(self.considered),
        )  # fmt: skip

    def _ranked(self) -> list[Proposal]:
        return sorted(self.proposals, key=lambda proposal: proposal.rank)

    def _try(self, kind: Kind) -> None:
        """Every proposal of a kind; of some kinds the best alone, and more of the same only while it helps."""
        found: list[Proposal] = []
        for draft in self._drafts(kind):
            key = _identity(draft)
            if key in self.seen:
                continue
            self.seen |= {key} if key else set()
            self.progress(draft.title, 0, None)
            proposal = self._measured(draft)
            if proposal is None:
                continue
            if kind.KIND in BEST_OF and found and proposal.gained < found[0].gained + LEAST_SHARE:
                break
            found = [proposal] if kind.KIND in BEST_OF else [*found, proposal]
        self.proposals += found

    def _drafts(self, kind: Kind) -> Iterator[Draft]:
        try:
            yield from kind.drafts(self.subject, self.base)
        except FurcError as error:
            self.considered.append(Considered(kind.KIND, "", f"{error.name}: {error.message}"))

    def _measured(self, draft: Draft) -> Proposal | None:
        """A proposal; None where it does not pay, which is noted."""
        try:
            after = self.timing.of(draft.change)
            accuracy = self.accuracy
            if self.judging is not None and draft.change.model is not None:
                accuracy = self.judging.of(draft.change)  # bytes are on the grid of the floats
        except FurcError as error:
            self._pass_over(draft, f"{error.name}: {error.message}")
            return None
        proposal = Proposal(
            draft=draft, before=None if draft.refused else self.base, after=after,
            accuracy_before=self.accuracy, accuracy_after=accuracy,
        )  # fmt: skip
        if not proposal.pays:
            self._pass_over(draft, _costs(proposal))
            return None
        return proposal

    def _pass_over(self, draft: Draft, why: str) -> None:
        self.considered.append(Considered(draft.kind, draft.title, why))


def _identity(draft: Draft) -> tuple[str, ...]:
    """Two kinds may come to the same cut."""
    model = draft.change.model
    if model is None or (draft.change.rest is None and draft.change.before is None):
        return ()
    return (*(i.name for i in model.graph.input), ">", *(o.name for o in model.graph.output))


def _costs(proposal: Proposal) -> str:
    before, after = proposal.before, proposal.after
    assert before is not None
    text = f"{before.latency_ms:.3f} ms before, {after.latency_ms:.3f} ms after"
    if proposal.accuracy_before is not None and proposal.accuracy_after is not None:
        text += f"; {proposal.accuracy_before.db:.1f} dB before, {proposal.accuracy_after.db:.1f} dB after"
    return text
