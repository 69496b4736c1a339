"""The best cut with uint8 inputs: what is left when both are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from furc.advise import cut, softmax, uint8_input
from furc.advise.proposal import Draft, Proposal

KIND = "together"


def draft_of(proposals: Sequence[Proposal]) -> Draft | None:
    """Of proposals that pay, the best first; None where there is nothing to join. A model whose head is cut off has
    another input, of which nobody said that it may be bytes."""
    cuts = [p for p in proposals if p.kind in (cut.KIND, softmax.KIND) and p.change.before is None]
    bytes_pay = any(p.kind == uint8_input.KIND and p.change.input_dtype == "uint8" for p in proposals)
    if not cuts or not bytes_pay:
        return None
    best = cuts[0].draft
    change = replace(best.change, input_dtype="uint8", how="--apply; run the rest in float on the host")
    title = f"{best.title}, feed uint8"
    return replace(
        best,
        kind=KIND,
        title=title,
        why="a run of both; each of them has a proposal of its own, with its reasons",
        change=change,
    )
