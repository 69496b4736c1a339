"""Program loading lets a program exceed the instruction memory, and costs time where it does not."""

from __future__ import annotations

from collections.abc import Iterator

from furc.advise.proposal import Change, Draft, Figures
from furc.advise.subject import Subject
from furc.compiler_config import compiler_config

KIND = "program_loading"
KEY = "use_program_loading"


def drafts(subject: Subject, base: Figures | None) -> Iterator[Draft]:
    asked = subject.request
    loading = compiler_config(asked.settings).use_program_loading
    wanted = asked.setting(KEY, not loading)
    change = Change(request=wanted, how=f"-c {KEY}={str(not loading).lower()}")
    if loading:
        why = "the program fits the instruction memory in one piece, and switching segments takes time"
        yield Draft(kind=KIND, title="compile without program loading", why=why, change=change)
    elif base is not None and base.program_loading:
        why = "the program does not fit the instruction memory in one piece"
        yield Draft(kind=KIND, title="load the program while it runs", why=why, change=change, refused=why)
