"""Latencies that are published of cards, for what is modelled to be set beside."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

PUBLISHED = Path(__file__).with_name("published.csv")
HOST_MS = 0.09  # driver, link and interrupts of an MLPerf query: what its two rows leave beside the NPU


@dataclass(frozen=True, slots=True)
class Row:
    """One published latency. ms: NPU time where it is given, else end to end."""

    model: str
    input_size: int
    target: str
    ms: float
    end_to_end: bool
    source: str
    batch: int = 1

    @property
    def host_ms(self) -> float:
        return HOST_MS if self.end_to_end else 0.0

    @property
    def program_loading(self) -> bool:
        """warboy-vision-models sets use_program_loading; MLPerf and the profiler's examples do not need it."""
        return self.source == "warboy-vision-models"


def published(path: Path = PUBLISHED) -> list[Row]:
    """The rows of a published.csv: warboy-vision-models and furiosa-sdk are FuriosaAI's, MLPerf is MLCommons'."""
    with path.open() as file:
        return [
            Row(
                r["model"], int(r["input"]), r["target"], float(r["npu_ms"] or r["end_to_end_ms"]), not r["npu_ms"],
                r["source"],
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip
