"""How much faster the hardware could run a model than the vendor's compiler schedules it, as its latencies tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from furc.profile_files import profile_file
from furc.profiling.profile import Profile, is_enf
from furc.report.tables import Column, Table, count, percent
from furc.request import Request
from isa.errors import ConfigError, Loc
from passes.options import BEST, VENDOR


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """A model scheduled both ways (`-c schedule=vendor` and `-c schedule=best`), on the same machine."""

    vendor: Profile
    best: Profile

    @property
    def factor(self) -> float:
        """How many times faster the NPU would be."""
        return self.vendor.npu_ms / self.best.npu_ms if self.best.npu_ms else 1.0

    def to_json(self) -> dict[str, object]:
        """Every number with its unit in the key."""
        return {
            "factor": round(self.factor, 6),
            VENDOR: _numbers(self.vendor),
            BEST: _numbers(self.best),
        }

    def table(self) -> Table:
        """Both side by side."""
        rows = tuple((what, *(show(p) for p in (self.vendor, self.best))) for what, show in ROWS)
        title = f"Headroom: the hardware would allow {self.factor:.2f} times the speed of the vendor's schedule"
        columns = (Column(""), Column(VENDOR, right=True), Column(BEST, right=True))
        return Table(title=title, columns=columns, rows=rows)


ROWS: tuple[tuple[str, Callable[[Profile], str]], ...] = (
    ("NPU, ms", lambda p: f"{p.npu_ms:.3f}"),
    ("lower bound, ms", lambda p: f"{p.lower_bound.ms:.3f}"),
    ("MAC use", lambda p: percent(p.mac_utilization)),
    ("DRAM traffic, B", lambda p: count(p.dram_bytes)),
    ("SRAM peak, B", lambda p: count(p.sram_peak_bytes)),
)


def headroom(model: Path | str, request: Request | None = None) -> Headroom:
    """Compile and profile a model both ways. Raises ConfigError NoModel for a binary, and what compiling raises."""
    path, asked = Path(model), request or Request()
    if is_enf(path):
        raise ConfigError(
            "NoModel", "a binary has one schedule: its headroom cannot be told", at=Loc(str(path)),
            hint="give the model that it was compiled from",
        )  # fmt: skip
    return Headroom(**{s: profile_file(path, asked.setting("schedule", s)) for s in (VENDOR, BEST)})


def _numbers(profile: Profile) -> dict[str, object]:
    return {"npu_ms": round(profile.npu_ms, 6), "dram_bytes": profile.dram_bytes, "cycles": round(profile.cycles, 6)}
