"""The placements that were considered for a model, as a table."""

from __future__ import annotations

import math

from furc.report.tables import Column, Table
from passes.ir.graph import Placement

COLUMNS = (
    Column("placement", long=True), Column("parts on the NPU", right=True), Column("operators on the host", right=True),
    Column("ms", right=True), Column("against it", right=True), Column("asked for by", long=True),
)  # fmt: skip


def placement_table(placements: tuple[Placement, ...]) -> Table | None:
    """What the chosen one gains over each other one; None where nothing was to be chosen."""
    chosen = next((placement for placement in placements if placement.chosen), None)
    if chosen is None:
        return None
    title = "Placements on NPU and host that were considered; ms are estimates from before the compile"
    return Table(title=title, columns=COLUMNS, rows=tuple(_row(each, chosen) for each in placements))


def _row(placement: Placement, chosen: Placement) -> tuple[str, ...]:
    ms = f"{placement.ms:.3f}" if math.isfinite(placement.ms) else "unknown"  # a tensor crosses that nobody quantizes
    against = "chosen"
    if not placement.chosen:
        more = placement.ms - chosen.ms
        against = "" if not math.isfinite(more) else f"{more:+.3f} ms" if abs(more) >= 5e-4 else "the same"
    return (placement.way, str(placement.npu_parts), str(placement.on_host), ms, against, placement.key)
