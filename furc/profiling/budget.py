"""The budget of a compilation: instruction memory, SRAM, DRAM and the host, each with its largest consumers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from furc.profiling.host import HostWork, Moment, host_work
from furc.profiling.recorded import PROGRAM
from isa.encoding import instruction_bytes
from isa.enf import Enf
from isa.errors import counted
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.timing.clock import resident_loads, weight_bytes
from passes.analysis.occupancy import occupancy, peak
from passes.ir.graph import Placement
from passes.ir.lir import Program

TOP = 3

Programs = Sequence[Sequence[Instruction]]  # of each NPU step


@dataclass(frozen=True, slots=True)
class Consumer:
    """Who takes how much of something; an operator with its ONNX nodes."""

    name: str
    bytes: int
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """What is used of a resource, and the largest consumers of it."""

    used: int
    limit: int
    top: tuple[Consumer, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a binary takes of its machine. All sizes in bytes. placements: how its operators could have been placed on
    NPU and host, where some are on the host; only known of a model, not of text."""

    instruction_memory: Use
    sram: Use
    dram: Use
    host: tuple[HostWork, ...]
    placements: tuple[Placement, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def budget_of(enf: Enf, program: Program, npu: NpuConfig, placements: tuple[Placement, ...] = ()) -> Budget:
    """The budget of what was just compiled."""
    programs = program.instructions()
    return Budget(
        _instructions(enf, programs, npu),
        _sram(enf, program, programs, npu),
        _dram(enf, npu),
        host_work(enf, npu),
        placements,
    )


def budget_from_json(text: str) -> Budget:
    """The inverse of to_json. Raises ValueError, KeyError or TypeError where the text is something else."""
    values = json.loads(text)
    uses = [_use(values[name]) for name in ("instruction_memory", "sram", "dram")]
    host = tuple(_host(o) for o in values["host"])
    placements = tuple(Placement(*each) for each in values["placements"])
    return Budget(uses[0], uses[1], uses[2], host, placements)


def _instructions(enf: Enf, programs: Programs, npu: NpuConfig) -> Use:
    sizes: dict[int, int] = {}
    for program, step in zip(programs, enf.npu_steps, strict=True):
        for instruction, operator in zip(program, step.operator_of, strict=False):
            sizes[operator] = sizes.get(operator, 0) + instruction_bytes(instruction)
    top = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    owners = ((enf.operators[index] if index >= 0 else PROGRAM, size) for index, size in top)
    named = tuple(Consumer(operator.name, size, operator.nodes) for operator, size in owners)
    used, parts = sum(segment.bytes for segment in enf.segments), len(enf.segments)
    note = f"{counted(parts, 'segment')}, loaded while running" if parts > len(enf.npu_steps) else ""
    return Use(used, npu.instruction_memory_bytes, named, note)


def _sram(enf: Enf, program: Program, programs: Programs, npu: NpuConfig) -> Use:
    """The buffers at the command where most is in use."""
    buffers = occupancy(program.graph, npu)
    _, fullest = peak(buffers)
    there = sorted((b for b in buffers if b.first <= fullest <= b.last), key=lambda b: (b.low - b.high, b.name))
    top = tuple(Consumer(f"{b.kind} {b.name}", (b.high - b.low) * npu.num_slices) for b in there[:TOP])
    resident, reloaded = weight_bytes(programs, resident_loads(programs, npu))
    stay, come = (f"{size:,}".replace(",", " ") for size in (resident, reloaded))
    note = f"{stay} B of weights stay from run to run, {come} B are loaded at every run"
    return Use(enf.sram_peak_bytes, npu.sram_bytes, top, note)


def _dram(enf: Enf, npu: NpuConfig) -> Use:
    program = sum(segment.bytes for segment in enf.segments)
    parts = (
        Consumer("constants", min((segment.address for segment in enf.segments), default=0)),
        Consumer("program", program),
        Consumer("activations", enf.dram_bytes - len(enf.image)),
    )
    return Use(enf.dram_bytes, npu.dram_bytes, tuple(sorted(parts, key=lambda c: -c.bytes)))


def _host(values: dict[str, Any]) -> HostWork:
    nodes, extents, moment = tuple(values["nodes"]), tuple(values["shape"]), Moment(values["moment"])
    return HostWork(**{**values, "nodes": nodes, "shape": extents, "moment": moment})


def _use(values: dict[str, object]) -> Use:
    used, limit, top, note = (values[key] for key in ("used", "limit", "top", "note"))
    if not isinstance(used, int) or not isinstance(limit, int) or not isinstance(top, list):
        raise TypeError("not a use")
    return Use(used, limit, tuple(Consumer(c["name"], c["bytes"], tuple(c["nodes"])) for c in top), str(note))
