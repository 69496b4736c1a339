"""Leave a Softmax at the end to the host: the order of the scores is the same without it."""

from __future__ import annotations

from collections.abc import Iterator

from furc.advise.cut import final_softmax
from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.advise.surgery import followers, halves

KIND = "softmax"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    node = final_softmax(subject)
    cut = halves(subject.graph, followers(subject.graph, [node])) if node is not None else None
    if node is not None and cut is not None:
        name = subject.name_of(node)
        why = "the largest score stays the largest without it, and in INT8 all scores below 1/512 become 0"
        yield Draft(
            kind=KIND, title=f"leave {node.op} '{name}' at the end out", why=why, tensors=tuple(cut.cut),
            change=Change(model=cut.first, rest=cut.second, how="--apply; the rest on the host, where it is needed"),
        )  # fmt: skip
