"""The longer list of operators of the SDK 0.10, where it would keep one on the NPU."""

from __future__ import annotations

from collections.abc import Iterator

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.check import CheckReport, Where, check_file
from furc.compiler_config import OPERATOR_SETS, compiler_config

KIND = "operator_set"
SHOWN = 3


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked, wider = subject.request, OPERATOR_SETS[-1]
    if compiler_config(asked.settings).operator_set == wider or not subject.report.of(Where.HOST):
        return
    request = asked.setting("operator_set", wider)
    left = _on_host(check_file(subject.model, request, subject.source))
    taken = [j for j in subject.report.of(Where.HOST) if j.node not in left and not j.possible]
    moved = [f"{j.operator} '{j.node}'" for j in taken]
    if moved:
        more = f" and {len(moved) - SHOWN} more" if len(moved) > SHOWN else ""
        yield Draft(
            kind=KIND, title=f"the operator set {wider}",
            why=f"it has {', '.join(moved[:SHOWN])}{more} on the NPU: the vendor's later documents list them",
            change=Change(request=request, how=f"-c operator_set={wider}"),
        )  # fmt: skip


def _on_host(report: CheckReport) -> set[str]:
    return {judgement.node for judgement in report.of(Where.HOST)}
