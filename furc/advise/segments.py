"""More parts of the model on the NPU, with the host in between."""

from __future__ import annotations

from collections.abc import Iterator

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.check import Where
from furc.compiler_config import compiler_config
from furc.frontend.onnx.placing import AUTO
from isa.errors import counted

KIND = "segments"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked = subject.request
    beside = [j for j in subject.report.of(Where.HOST) if j.possible]
    if beside and not isinstance(compiler_config(asked.settings).max_npu_segments, str):
        request = asked.setting("max_npu_segments", AUTO)
        why = f"on the host {counted(len(beside), 'operator')} that the NPU takes: one part of the model runs on it"
        yield Draft(
            kind=KIND, title="as many NPU segments as pay", why=why,
            change=Change(request=request, how=f"-c max_npu_segments={AUTO}"),
        )  # fmt: skip
