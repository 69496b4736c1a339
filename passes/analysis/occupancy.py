"""What lies in SRAM when: one rectangle a buffer, from the lifetimes of a gir graph."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from isa.npu import NpuConfig
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import striped_bytes, whole_window
from passes.ir.graph import Graph
from passes.ir.op import Runs, Value
from passes.ir.types import InSram, Striped


class Occupied(NamedTuple):
    """Bytes [low, high) of every slice, during commands [first, last] of the graph: all of them for weights whose bytes
    nothing else takes, which stay from run to run."""

    name: str
    kind: str  # activation, weights or scratch
    first: int
    last: int
    low: int
    high: int


def occupancy(graph: Graph, npu: NpuConfig) -> list[Occupied]:
    """Every buffer of a gir graph."""
    aliases, spans = Aliases(graph), dict[Value, tuple[int, int]]()
    found = []
    for index, op in enumerate(graph.ops):
        for value in (*op.operands(), *op.results):
            root = aliases.root(value)
            if isinstance(root.type.place, InSram | Striped):
                first, _ = spans.get(root, (index, index))
                spans[root] = (first, index)
        if op.runs is Runs.NPU:
            size = op.scratch_bytes(whole_window(op.result.type.shape4, op.result.type.layout), npu)
            if size:
                low = op.scratch_offset()
                found.append(Occupied(f"{op.result.name}.sums", "scratch", index, index, low, low + size))
    for root, (first, last) in spans.items():
        place = root.type.place
        assert isinstance(place, InSram | Striped) and place.offset is not None
        if isinstance(place, Striped):
            size, kind = striped_bytes(root.type.elements, npu), "weights"
        else:
            size, kind = place.layout.bytes_per_slice(root.type.shape4, npu.sram_access_bytes), "activation"
        found.append(Occupied(root.name, kind, first, last, place.offset, place.offset + size))
    shared = _shared(found)
    end = len(graph.ops) - 1
    return [
        each._replace(first=0, last=end) if each.kind == "weights" and each not in shared else each for each in found
    ]


def _shared(buffers: Iterable[Occupied]) -> set[Occupied]:
    """Those that have bytes in common with another one, at whatever time."""
    shared: set[Occupied] = set()
    furthest: Occupied | None = None  # of those that begin lower
    for each in sorted(buffers, key=lambda buffer: buffer.low):
        if furthest is not None and each.low < furthest.high:
            shared |= {each, furthest}
        if furthest is None or each.high > furthest.high:
            furthest = each
    return shared


def peak(buffers: Iterable[Occupied]) -> tuple[int, int]:
    """Most bytes of a slice in use at one command, and the first command where so many are."""
    change: dict[int, int] = {}
    for each in buffers:
        size = each.high - each.low
        change[each.first] = change.get(each.first, 0) + size
        change[each.last + 1] = change.get(each.last + 1, 0) - size
    now = most = command = 0
    for index in sorted(change):
        now += change[index]
        if now > most:
            most, command = now, index
    return most, command
