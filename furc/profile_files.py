"""Profiles of files: of a binary, or of a model, which is compiled first; and their written forms."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from furc.build import build
from furc.machine import machine_of
from furc.profiling.profile import Profile, is_enf, summarize
from furc.profiling.recorded import record
from furc.report.profile_html import profile_html
from furc.report.profile_table import host_table, operator_table, summary_table
from furc.report.tables import Table, plain
from furc.report.trace import chrome_trace
from furc.request import Request
from isa import enf as enf_file
from isa.enf import Enf
from isa.errors import ConfigError
from isa.npu import NpuConfig

FORMATS = ("table", "json", "html", "trace")


def profile_file(path: Path | str, request: Request | None = None) -> Profile:
    """The profile of an ENF, of which the request says the what-if machine alone, or of a model. Raises FurcError."""
    path, asked = Path(path), request or Request()
    if is_enf(path):
        enf = enf_file.load(path)
        return profile_of(enf, machine_of(enf, asked.what_if))
    return profile_of(build(path, asked).enf, asked.npu())


def profile_of(enf: Enf, npu: NpuConfig) -> Profile:
    """The profile of a binary on its machine. Raises EnfError where it is not for this one."""
    return summarize(record(enf, npu))


def profile_tables(profile: Profile, top: int | None = None) -> tuple[Table, ...]:
    """Totals, operators of the NPU (the `top` longest), host."""
    return summary_table(profile), operator_table(profile, top), host_table(profile)


def profile_text(profile: Profile, form: str = "table", top: int | None = None) -> str:
    """A profile as one of FORMATS. top: operators in the table, all by default. Raises ConfigError BadOption."""
    check_form(form, FORMATS)
    if form == "json":
        return json.dumps(profile.to_json(), indent=1) + "\n"
    if form == "html":
        return profile_html(profile)
    if form == "trace":
        return chrome_trace(profile)
    return "\n".join(plain(table) for table in profile_tables(profile, top))


def check_form(form: str, known: Sequence[str]) -> None:
    """Raises ConfigError BadOption."""
    if form not in known:
        raise ConfigError("BadOption", f"there is no form '{form}'", hint=f"one of {', '.join(known)}")
