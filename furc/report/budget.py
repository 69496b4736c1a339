"""The budget of a compilation: instruction memory, SRAM, DRAM and the host, each with its largest consumers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from furc.report.host import HostOperator, host_operators
from furc.report.profile import instruction_bytes
from furc.report.recorded import PROGRAM
from furc.report.tables import Column, Table, count, nodes, percent, shape
from isa.enf import Enf, Operator
from isa.interpreter import fetch
from isa.npu import NpuConfig
from passes.ir.lir import Program
from passes.schedule.occupancy import Occupied, occupancy

TOP = 3
HOST_COLUMNS = (Column("tensor", long=True), Column("shape"), Column("ms", right=True), Column("why", long=True))


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who takes how much of something."""

    name: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of a resource, and the largest consumers of it."""

    used: int
    limit: int
    top: tuple[Consumer, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a binary takes of its machine. All sizes in bytes."""

    instruction_memory: Use
    sram: Use
    dram: Use
    host: tuple[HostOperator, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def budget_of(enf: Enf, program: Program, npu: NpuConfig) -> Budget:
    """The budget of what was just compiled."""
    return Budget(_instructions(enf, npu), _sram(enf, program, npu), _dram(enf, npu), host_operators(enf, npu))


def budget_from_json(text: str) -> Budget:
    """The inverse of to_json. Raises ValueError, KeyError or TypeError where the text is something else."""
    values = json.loads(text)
    uses = [_use(values[name]) for name in ("instruction_memory", "sram", "dram")]
    host = tuple(HostOperator(**{**o, "shape": tuple(o["shape"])}) for o in values["host"])
    return Budget(uses[0], uses[1], uses[2], host)


def budget_tables(budget: Budget) -> tuple[Table, Table]:
    """Resources with their consumers, then what is left on the host."""
    rows = [
        row
        for name, use in (
            ("instruction memory", budget.instruction_memory),
            ("SRAM peak", budget.sram),
            ("DRAM", budget.dram),
        )
        for row in _rows(name, use)
    ]
    numbers = (Column(word, right=True) for word in ("used", "limit", ""))
    host = tuple((o.name, o.tensor, shape(o.shape), f"{o.ms:.3f}", o.reason) for o in budget.host)
    total = ("", "", "", f"{sum(o.ms for o in budget.host):.3f}", "in all")
    return (
        Table(columns=(Column("budget", long=True), *numbers), rows=tuple(rows)),
        Table(columns=(Column("on the host"), *HOST_COLUMNS), rows=host, footer=(total,)),
    )


def _rows(name: str, use: Use) -> Iterable[tuple[str, ...]]:
    share = percent(use.used / use.limit)
    yield (name + (f" ({use.note})" if use.note else ""), f"{count(use.used)} B", f"{count(use.limit)} B", share)
    for consumer in use.top:
        yield (f"  {consumer.name}", f"{count(consumer.bytes)} B", "", "")


def _instructions(enf: Enf, npu: NpuConfig) -> Use:
    sizes: dict[int, int] = {}
    for instruction, operator in zip(fetch(enf, npu), enf.operator_of, strict=False):
        sizes[operator] = sizes.get(operator, 0) + instruction_bytes(instruction)
    top = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    named = tuple(Consumer(_operator(enf.operators[index] if index >= 0 else PROGRAM), size) for index, size in top)
    used, parts = sum(segment.bytes for segment in enf.segments), len(enf.segments)
    return Use(
        used, npu.instruction_memory_bytes, named, f"{parts} segments, loaded while running" if parts > 1 else ""
    )


def _operator(operator: Operator) -> str:
    return " ".join(part for part in (operator.name, nodes(operator.nodes)) if part)


def _sram(enf: Enf, program: Program, npu: NpuConfig) -> Use:
    """The buffers at the command where most is in use."""
    buffers = occupancy(program.graph, npu)
    peak = max((buffer.first for buffer in buffers), key=lambda at: _in_use(buffers, at), default=0)
    there = sorted((b for b in buffers if b.first <= peak <= b.last), key=lambda b: (b.low - b.high, b.name))
    top = tuple(Consumer(f"{b.kind} {b.name}", (b.high - b.low) * npu.num_slices) for b in there[:TOP])
    return Use(enf.sram_peak_bytes, npu.sram_bytes, top)


def _in_use(buffers: list[Occupied], at: int) -> int:
    return sum(b.high - b.low for b in buffers if b.first <= at <= b.last)


def _dram(enf: Enf, npu: NpuConfig) -> Use:
    program = sum(segment.bytes for segment in enf.segments)
    parts = (
        Consumer("constants", enf.segments[0].address),
        Consumer("program", program),
        Consumer("activations", enf.dram_bytes - len(enf.image)),
    )
    return Use(enf.dram_bytes, npu.dram_bytes, tuple(sorted(parts, key=lambda c: -c.bytes)))


def _use(values: dict[str, object]) -> Use:
    used, limit, top, note = (values[key] for key in ("used", "limit", "top", "note"))
    if not isinstance(used, int) or not isinstance(limit, int) or not isinstance(top, list):
        raise TypeError("not a use")
    return Use(used, limit, tuple(Consumer(**consumer) for consumer in top), str(note))
