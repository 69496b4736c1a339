"""Advice as tables and paragraphs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

from furc.advise import Accuracy, Advice, Figures, Proposal
from furc.advise.proposal import FOR_THROUGHPUT
from furc.report.tables import Column, Table, count
from isa.errors import counted

WIDTH = 80
TENSORS = 6  # that are named
AS_IT_IS = "as it is"
LEAST_SHOWN = 0.005  # of a share


def advice_table(advice: Advice) -> Table:
    """What a run costs as it is and with each proposal."""
    measured = advice.accuracy is not None
    columns = [
        Column(""), Column("proposal", long=True), Column("ms a run", right=True), Column("NPU", right=True),
        Column("host", right=True), Column("NPU images/s", right=True), *([Column("dB", right=True)] * measured),
    ]  # fmt: skip
    rows = [_row("", AS_IT_IS, advice.before, advice.accuracy, measured)]
    rows += [
        _row(str(number), _short(proposal.title), proposal.after, proposal.accuracy_after, measured)
        for number, proposal in enumerate(advice.proposals, 1)
    ]
    return Table(title=f"{advice.source} on {advice.target}, modelled", columns=tuple(columns), rows=tuple(rows))


def paragraphs(advice: Advice) -> Iterator[str]:
    """Each proposal in words."""
    if advice.refused:
        yield _wrapped("", f"As it is, the model does not compile: {advice.refused}") + "\n"
    for number, proposal in enumerate(advice.proposals, 1):
        draft, head = proposal.draft, f"{number}. "
        lines = [_wrapped(head, f"{draft.title}: {_gain(proposal)}"), _wrapped(" " * len(head), f"why: {draft.why}")]
        if draft.tensors:
            lines.append(_wrapped(" " * len(head), f"at: {_names(draft.tensors)}"))
        lines.append(_wrapped(" " * len(head), f"how: {_how(proposal, number)}"))
        yield "\n".join(lines) + "\n"


def considered_table(advice: Advice) -> Table:
    """What was tried and does not pay."""
    columns = (Column("tried"), Column("change", long=True), Column("why not", long=True))
    return Table(title="Tried, and it does not pay", columns=columns, rows=tuple(advice.considered))


def closing(advice: Advice, *, listed: bool) -> str:
    """The last line. listed: what does not pay stands above it."""
    lists = " (--all lists them)" if advice.considered and not listed else ""
    if not advice.proposals:
        return f"Nothing to advise: {counted(len(advice.considered), 'change')} tried, none pays{lists}"
    rest = f"; {len(advice.considered)} more tried, which do not pay{lists}" if advice.considered else ""
    if all(proposal.kind in FOR_THROUGHPUT for proposal in advice.proposals):
        return f"Nothing to advise for a single run: what there is makes more images a second{rest}"
    return f"{counted(len(advice.proposals), 'proposal')}, the best first{rest}"


def _row(
    number: str, title: str, figures: Figures | None, accuracy: Accuracy | None, measured: bool
) -> tuple[str, ...]:
    cells: tuple[str, ...] = ("", "", "", "")
    if figures is not None:
        throughput = figures.npu_images_per_second
        shown = count(throughput) if math.isfinite(throughput) else ""
        cells = (f"{figures.latency_ms:.3f}", f"{figures.npu_ms:.3f}", f"{figures.host_ms:.3f}", shown)
    return (number, title, *cells, *([f"{accuracy.db:.1f}" if accuracy is not None else ""] * measured))


def _short(title: str) -> str:
    return textwrap.shorten(title, 29, placeholder="...")


def _gain(proposal: Proposal) -> str:
    """What it brings, in words."""
    before, after = proposal.before, proposal.after
    if before is None:
        parts = [f"{after.latency_ms:.3f} ms a run, and without it no run at all"]
    else:
        parts = [f"{before.latency_ms:.3f} ms a run become {after.latency_ms:.3f} ({-100 * proposal.saved:+.1f}%)"]
        if after.batch > before.batch:
            parts = [f"a run of {after.batch} images takes {after.latency_ms:.3f} ms"]
    if before is not None and abs(proposal.gained) >= LEAST_SHOWN:
        parts.append(f"{100 * proposal.gained:+.1f}% images a second of the NPU")
    if proposal.accuracy_before is not None and proposal.accuracy_after is not None and proposal.gained_db:
        parts.append(f"accuracy from {_db(proposal.accuracy_before)} to {_db(proposal.accuracy_after)}")
    elif proposal.draft.rescues:
        parts.append("accuracy needs it (--calibration-data measures that)")
    if proposal.draft.retrain:
        parts.append("to be trained again")
    return ", ".join(parts)


def _db(accuracy: Accuracy) -> str:
    return f"{accuracy.db:.1f} dB (worst '{accuracy.worst}', {max(accuracy.worst_db, 0.0) + 0.0:.1f})"


def _names(tensors: tuple[str, ...]) -> str:
    more = f", and {len(tensors) - TENSORS} more" if len(tensors) > TENSORS else ""
    return ", ".join(tensors[:TENSORS]) + more


def _how(proposal: Proposal, number: int) -> str:
    """The command: --apply says which proposal, where it is not the first."""
    return proposal.change.how.replace("--apply", f"--apply OUT.onnx --proposal {number}")


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
