"""A run as a Chrome trace: JSON that Perfetto and chrome://tracing open.

One process is the device, one thread an engine, and one the host's share of the run. Steps follow one another.
Times are whole nanoseconds, so that slices that touch stay disjoint in every viewer.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator

from furc.profiling.counters import Step, dram_gigabytes_per_second, mac_utilization, sram_bytes
from furc.profiling.host import HostWork, Moment
from furc.profiling.profile import Profile
from furc.profiling.recorded import Engine, Slice
from isa.enf import NpuStep

PROCESS = 1
HOST_THREAD = "host"
THREADS = {HOST_THREAD: 1, Engine.DMA_IN: 2, Engine.MAIN: 3, Engine.SUB: 4, Engine.DMA_OUT: 5}
TraceEvent = dict[str, object]


def chrome_trace(profile: Profile) -> str:
    """The JSON text of a trace, events in order of time."""
    events = sorted(_Trace(profile).events(), key=lambda event: (event["ts"], event["ph"] != "M"))
    return json.dumps({"displayTimeUnit": "ns", "traceEvents": events}, separators=(",", ":")) + "\n"


class _Trace:
    def __init__(self, profile: Profile) -> None:
        self.profile, self.recorded = profile, profile.recorded
        self.ns_per_cycle = 1e9 / self.recorded.npu.clock_hz
        self.start_ns: list[float] = []  # of the NPU steps
        self.host: list[tuple[float, HostWork]] = []  # with its start in ns
        self._place()

    def events(self) -> Iterator[TraceEvent]:
        yield from self._names()
        yield from self._host()
        for piece in self.recorded.slices:
            if piece.event.works:
                yield self._slice(piece)
        yield from self._counter("SRAM bytes", sram_bytes(self.recorded), 0)
        yield from self._counter("DRAM GB/s", dram_gigabytes_per_second(self.recorded), 3)
        yield from self._counter("MAC utilization", mac_utilization(self.recorded), 4)

    def _names(self) -> Iterator[TraceEvent]:
        yield _metadata("process_name", 0, {"name": f"{self.profile.target} {self.profile.model}".strip()})
        for name, thread in THREADS.items():
            yield _metadata("thread_name", thread, {"name": str(name)})
            yield _metadata("thread_sort_index", thread, {"sort_index": thread})

    def _place(self) -> None:
        """One step after another, the host's work around each program."""
        now = 0.0
        for index, step in enumerate(self.recorded.enf.steps):
            now = self._place_host(index, Moment.BEFORE, now)
            if isinstance(step, NpuStep):
                cycles = self.recorded.runs[len(self.start_ns)].cycles
                self.start_ns.append(now)
                now += cycles * self.ns_per_cycle
            now = self._place_host(index, Moment.AFTER, now)

    def _place_host(self, step: int, moment: Moment, now: float) -> float:
        for work in self.profile.host:
            if (work.step, work.moment) == (step, moment):
                self.host.append((now, work))
                now += work.ms * 1e6
        return now

    def _host(self) -> Iterator[TraceEvent]:
        for start, work in self.host:
            end = start + work.ms * 1e6
            yield _complete(work.name, "host", THREADS[HOST_THREAD], start, end, _host_args(work))

    def _slice(self, piece: Slice) -> TraceEvent:
        operator = self.recorded.operator(piece.operator)
        cost = piece.event.cost
        args: dict[str, object] = {
            "onnx_nodes": ", ".join(operator.nodes),
            "shape": list(operator.shape),
            "cycles": round(piece.stop - piece.start, 3),
            "start_cycle": round(piece.start, 3),
            "bound_by": piece.bound_by,
            "instruction": piece.event.instruction.mnemonic,
        }
        args |= {"macs": cost.macs} if cost.macs else {}
        args |= {"dram_bytes": cost.dram_bytes} if cost.dram_bytes else {}
        start, stop = (self._ns(cycle, piece.run) for cycle in (piece.start, piece.stop))
        return _complete(operator.name, "npu", THREADS[piece.engine], start, stop, args)

    def _counter(self, name: str, steps: list[Step], digits: int) -> Iterator[TraceEvent]:
        for at, value in {round(self._ns(step.cycle, self._run(step.cycle))): step.value for step in steps}.items():
            shown = round(value, digits) if digits else round(value)
            yield {"name": name, "ph": "C", "pid": PROCESS, "ts": at / 1000, "args": {"value": shown}}

    def _run(self, cycle: float) -> int:
        """The NPU step that a cycle is of; between two of them the later one."""
        return min(bisect_right(self.recorded.starts, cycle), len(self.start_ns)) - 1

    def _ns(self, cycle: float, run: int) -> float:
        return self.start_ns[run] + (cycle - self.recorded.starts[run]) * self.ns_per_cycle


def _metadata(name: str, thread: int, args: dict[str, object]) -> TraceEvent:
    return {"name": name, "ph": "M", "pid": PROCESS, "tid": thread, "ts": 0, "args": args}


def _complete(
    name: str, category: str, thread: int, start_ns: float, stop_ns: float, args: dict[str, object]
) -> TraceEvent:
    start, stop = round(start_ns), round(stop_ns)
    return {
        "name": name, "cat": category, "ph": "X", "pid": PROCESS, "tid": thread, "ts": start / 1000,
        "dur": (stop - start) / 1000, "args": args,
    }  # fmt: skip


def _host_args(operator: HostWork) -> dict[str, object]:
    return {
        "tensor": operator.tensor,
        "shape": list(operator.shape),
        "ms": round(operator.ms, 6),
        "bound_by": "host",
        "reason": operator.reason,
        "remedy": operator.remedy,
    }
