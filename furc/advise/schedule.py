"""What the hardware would allow: the headroom of a model, and no advice for a card with the vendor's compiler."""

from __future__ import annotations

from collections.abc import Iterator

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.compiler_config import compiler_config
from passes.options import BEST

KIND = "schedule"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked = subject.request
    if base is None or compiler_config(asked.settings).schedule == BEST:
        return
    wanted = asked.setting(KIND, BEST)
    yield Draft(
        kind=KIND, title="a compiler that schedules better",
        why="the hardware would allow it: concatenations on chip, all columns for what is made of a channel slice; a "
        "card with the vendor's compiler does not show this",
        change=Change(request=wanted, how=f"-c {KIND}={BEST}"),
    )  # fmt: skip
