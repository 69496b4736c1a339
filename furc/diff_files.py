"""Two runs compared that are files: binaries, models, which are compiled first, or profiles written as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from furc.build import build
from furc.machine import machine_of
from furc.profile_files import check_form, profile_of
from furc.profiling.diff import Diff, diff
from furc.profiling.measured import Measured, is_profile, measured, read_measured
from furc.profiling.profile import is_enf
from furc.reading import calls_itself
from furc.report.diff_html import diff_html
from furc.report.diff_table import host_table, layer_table, totals_table
from furc.report.tables import Table, plain
from furc.request import Request
from isa import enf as enf_file
from isa.errors import Loc, SourceError

DIFF_FORMATS = ("table", "json", "html")


def diff_files(before: Path | str, after: Path | str, request: Request | None = None) -> Diff:
    """Compare two files. request: for those that are models; of an ENF for a what-if machine, that machine.

    Raises FurcError.
    """
    asked = request or Request()
    return diff(measured_file(Path(before), asked), measured_file(Path(after), asked))


def measured_file(path: Path, request: Request) -> Measured:
    """The figures of one file. Raises FurcError."""
    if is_profile(path):
        return read_measured(path)
    if calls_itself(path, ".html", b"<!doctype html>"):
        raise SourceError("NotAProfile", "a page of HTML, from which no figures are read", at=Loc(str(path)),
                          hint="give what it was made from: an ENF, a model, or a profile as JSON (furc profile MODEL "
                          "--format json -o FILE.json)")  # fmt: skip
    if not is_enf(path):
        return measured(profile_of(build(path, request).enf, request.npu()).to_json(), str(path))
    enf = enf_file.load(path)
    npu = machine_of(
        enf, None if enf_file.is_for_target(enf) else request.what_if
    )  # one of the two may be for a target as it is
    return measured(profile_of(enf, npu).to_json(), str(path))


def diff_tables(found: Diff, top: int | None = None) -> tuple[Table, ...]:
    """Totals, layers (the `top` largest changes), the host."""
    return totals_table(found), layer_table(found, top), host_table(found, top)


def diff_text(found: Diff, form: str = "table", top: int | None = None) -> str:
    """A comparison as one of DIFF_FORMATS. top: layers in the table, all by default. Raises ConfigError BadOption."""
    check_form(form, DIFF_FORMATS)
    if form == "json":
        return json.dumps(found.to_json(), indent=1) + "\n"
    if form == "html":
        return diff_html(found)
    return "\n".join(plain(table) for table in diff_tables(found, top))
