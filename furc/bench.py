"""Latency and throughput on the modelled device, and how fast the model of it runs here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from furc.data.inputs import random_inputs
from furc.data.samples import check_count
from furc.profile_files import profile_file
from furc.profiling.profile import Profile
from furc.request import Request
from furc.runtime.session import Session
from isa.errors import ConfigError

WORKLOADS = {"L": "latency", "T": "throughput"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """workload: L, one query at a time, or T, the host prepares the next while the NPU has this one.

    seconds: that each run took on this computer, the shortest first; the device's time is in the profile.
    """

    profile: Profile
    workload: str
    seconds: tuple[float, ...]

    @property
    def queries_per_second(self) -> float:
        """Of the modelled device."""
        p = self.profile
        period = p.latency_ms if self.workload == "L" else max(p.npu_ms, p.host_ms)
        return 1e3 / period if period else 0.0

    def to_json(self) -> dict[str, object]:
        """Every number with its unit in the key."""
        p, milliseconds = self.profile, [1e3 * s for s in self.seconds]
        return {
            "model": p.model,
            "target": p.target,
            "batch": p.batch,
            "workload": WORKLOADS[self.workload],
            "queries_per_second": round(self.queries_per_second, 3),
            "images_per_second": round(p.batch * self.queries_per_second, 3),
            "latency_ms": round(p.latency_ms, 6),
            "npu_ms": round(p.npu_ms, 6),
            "host_ms": round(p.host_ms, 6),
            "simulator": {
                "queries": len(milliseconds),
                "min_ms": round(milliseconds[0], 3),
                "median_ms": round(milliseconds[len(milliseconds) // 2], 3),
                "mean_ms": round(sum(milliseconds) / len(milliseconds), 3),
                "max_ms": round(milliseconds[-1], 3),
            },
        }

    def to_text(self) -> str:
        """A line on the workload, two on the device, one on the simulator."""
        found, own = self.to_json(), [1e3 * s for s in self.seconds]
        return (
            f"This benchmark was modelled with {WORKLOADS[self.workload]}-workload: {self.profile.model} on "
            f"{self.profile.target}, batch {self.profile.batch}\n"
            f"{found['queries_per_second']} queries per second, {found['images_per_second']} images per second\n"
            f"latency {found['latency_ms']} ms: NPU {found['npu_ms']} ms, host {found['host_ms']} ms\n"
            f"simulator on this computer, {len(own)} queries: median {round(own[len(own) // 2], 3)} ms, "
            f"min {round(own[0], 3)} ms, max {round(own[-1], 3)} ms\n"
        )


def bench(
    model: Path | str, request: Request | None = None, *, queries: int = 10, workload: str = "L", seed: int = 0
) -> BenchResult:
    """Benchmark an ENF, or a model that is compiled first, on random data. workload: one of WORKLOADS.

    Raises FurcError; ConfigError BadOption."""
    check_count("queries", queries)
    if workload not in WORKLOADS:
        raise ConfigError("BadOption", f"there is no workload '{workload}'", hint=f"one of {', '.join(WORKLOADS)}")
    measured = profile_file(model, request)
    recorded = measured.recorded
    session = Session(recorded.enf, npu=recorded.npu)
    data = random_inputs(session.inputs, seed)
    session.run(data)  # kernels are prepared at the first run
    seconds = []
    for _ in range(queries):
        begin = time.perf_counter()
        session.run(data)
        seconds.append(time.perf_counter() - begin)
    return BenchResult(profile=measured, workload=workload, seconds=tuple(sorted(seconds)))
