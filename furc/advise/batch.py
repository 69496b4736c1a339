"""More images a run: weights are loaded once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject

KIND = "batch"
BATCHES = (2, 4, 8)


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    now = subject.request.batch or 1
    for batch in BATCHES if base is not None else ():
        if batch > now:
            yield Draft(
                kind=KIND, title=f"{batch} images a run", why="weights and programs are loaded once for all of them",
                change=Change(request=replace(subject.request, batch=batch), how=f"-b {batch}"),
            )  # fmt: skip
