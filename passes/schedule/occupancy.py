"""What lies in SRAM when: one rectangle a buffer, from the lifetimes of a gir graph."""

from __future__ import annotations

from typing import NamedTuple

from isa.npu import NpuConfig
from passes.ir.graph import Graph, Value
from passes.ir.lowlevel import LowLevelConv2d
from passes.ir.types import InSram, Striped
from passes.ir.windows import Windows
from passes.lower.cost_model import scratch_bytes, striped_bytes, whole_window


class Occupied(NamedTuple):
    """Bytes [low, high) of every slice, during commands [first, last] of the graph."""

    name: str
    kind: str  # activation, weights or scratch
    first: int
    last: int
    low: int
    high: int


def occupancy(graph: Graph, npu: NpuConfig) -> list[Occupied]:
    """Every buffer of a gir graph."""
    windows, spans = Windows(graph), dict[Value, tuple[int, int]]()
    found = []
    for index, op in enumerate(graph.ops):
        for value in (*op.operands(), op.result):
            root = windows.root(value)
            if isinstance(root.type.place, InSram | Striped):
                first, _ = spans.get(root, (index, index))
                spans[root] = (first, index)
        if isinstance(op, LowLevelConv2d):
            size = scratch_bytes(op, whole_window(op.result.type.shape4, op.result.type.layout), npu)
            if size:
                found.append(Occupied(f"{op.result.name}.sums", "scratch", index, index, op.scratch, op.scratch + size))
    for root, (first, last) in spans.items():
        place = root.type.place
        assert isinstance(place, InSram | Striped) and place.offset is not None
        if isinstance(place, Striped):
            size, kind = striped_bytes(root.type.elements, npu), "weights"
        else:
            size, kind = place.layout.bytes_per_slice(root.type.shape4, npu.sram_access_bytes), "activation"
        found.append(Occupied(root.name, kind, first, last, place.offset, place.offset + size))
    return found


def peak_bytes_per_slice(graph: Graph, npu: NpuConfig) -> int:
    """Most bytes of a slice in use at one command."""
    change: dict[int, int] = {}
    for rectangle in occupancy(graph, npu):
        size = rectangle.high - rectangle.low
        change[rectangle.first] = change.get(rectangle.first, 0) + size
        change[rectangle.last + 1] = change.get(rectangle.last + 1, 0) - size
    now = peak = 0
    for index in sorted(change):
        now += change[index]
        peak = max(peak, now)
    return peak
