"""A trace is what Perfetto takes without a warning: sorted, disjoint on each thread, named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from furc.profiling.profile import Profile
from furc.profiling.recorded import Recorded
from furc.report.trace import chrome_trace

ENGINES = {"DMA in", "DMA out", "tensor unit main", "tensor unit sub", "host"}


@pytest.fixture
def events(made: tuple[object, Recorded, Profile]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(chrome_trace(made[2]))["traceEvents"]
    return found


def test_events_are_sorted_and_well_formed(events: list[dict[str, Any]]) -> None:
    times = [event["ts"] for event in events]
    assert times == sorted(times) and all(time >= 0 for time in times)
    assert {event["ph"] for event in events} == {"M", "X", "C"}
    assert {event["pid"] for event in events} == {1}
    for event in events:
        assert event["ph"] != "X" or event["dur"] >= 0
        assert all(round(event[key] * 1000, 6) % 1 == 0 for key in ("ts", "dur") if key in event)


def test_one_process_and_one_thread_an_engine(events: list[dict[str, Any]]) -> None:
    assert len([e for e in events if e["name"] == "process_name"]) == 1
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(threads.values()) == ENGINES and len(threads) == len(ENGINES)
    assert {e["tid"] for e in events if e["ph"] == "X"} <= set(threads)


def test_slices_on_a_thread_are_disjoint(events: list[dict[str, Any]]) -> None:
    reached: dict[int, int] = {}
    for event in events:
        if event["ph"] == "X":
            start, stop = round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)
            assert start >= reached.get(event["tid"], 0)
            reached[event["tid"]] = stop


def test_slices_name_their_origin(events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["ph"] == "X" and event["cat"] == "npu":
            assert {"onnx_nodes", "shape", "cycles", "bound_by"} <= set(event["args"])
    assert any(e["ph"] == "X" and "/conv1/Conv" in e["args"].get("onnx_nodes", "") for e in events)


def test_counters(events: list[dict[str, Any]]) -> None:
    names = {e["name"] for e in events if e["ph"] == "C"}
    assert names == {"SRAM bytes", "DRAM GB/s", "MAC utilization"}
    assert all(isinstance(e["args"]["value"], int | float) for e in events if e["ph"] == "C")


def test_the_host_works_before_and_after(made: tuple[object, Recorded, Profile], events: list[dict[str, Any]]) -> None:
    end = max(e["ts"] + e["dur"] for e in events if e["ph"] == "X")
    assert end == pytest.approx(made[2].latency_ms * 1e3, abs=0.01)
