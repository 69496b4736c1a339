"""What `furc profile` and `furc run` print of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from furc.cli.display import show

if TYPE_CHECKING:
    from pathlib import Path

    from furc.report.profile import Profile
    from isa.enf import Enf
    from isa.npu import NpuConfig

TOP = 20


def show_profile(profile: Profile, top: int | None = TOP) -> None:
    """Totals, operators, host; on stdout."""
    from furc.report.profile_table import host_table, operator_table, summary_table

    for table in (summary_table(profile), operator_table(profile, top), host_table(profile)):
        show(table)


def machine_of(enf: Enf, npu_config: Path | None) -> NpuConfig:
    """The machine to run a binary on. Raises ConfigError, or EnfError where the binary needs another one."""
    from isa import npu as npus
    from isa.enf import check_compatible
    from isa.errors import EnfError, Loc

    if npu_config is None and enf.target not in npus.TARGETS:
        raise EnfError(
            "IncompatibleConfiguration", f"the file is for a machine called '{enf.target}'", at=Loc(enf.model_name),
            hint="give that machine by --npu-config",
        )  # fmt: skip
    npu = npus.load_config(npu_config) if npu_config is not None else npus.target(enf.target)
    check_compatible(enf, npu)
    return npu
