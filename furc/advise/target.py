"""The other target: two PEs fused make one run shorter, two PEs with a run each make more of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.machine import DEFAULT_TARGET

KIND = "target"
OTHERS = {
    "warboy-2pe": ("warboy", "each of the two PEs has a run of its own: longer than a fused one, but two at a time"),
    "warboy": ("warboy-2pe", "two PEs work on one run"),
}  # fmt: skip


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked = subject.request
    if asked.what_if is not None:
        return  # a what-if machine is compared with nothing
    other, why = OTHERS[asked.target_npu or DEFAULT_TARGET]
    change = Change(request=replace(asked, target_npu=other), how=f"--target-npu {other}")
    yield Draft(kind=KIND, title=f"compile for {other}", why=why, change=change)
