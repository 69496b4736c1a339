"""lir: the instructions of the PE in order, with the operator each belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from isa.enf import Operator
from isa.instructions import Instruction, LoadProgram
from isa.npu import NpuConfig
from passes.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction, the index of its operator, and that of its command in the gir graph; -1: the program itself."""

    instruction: Instruction
    operator: int
    command: int = -1


@dataclass(eq=False)
class Run:
    """What the NPU executes from one start to `end`: instructions in issue order, between two turns of the host.

    segments: first step of each program segment.
    """

    steps: list[Step]
    segments: list[int]

    def segment_addresses(self, start: int) -> list[int]:
        """DRAM addresses of its segments: the first at `start`, the others where `loadp` finds them."""
        return [start, *(s.instruction.src.address for s in self.steps if isinstance(s.instruction, LoadProgram))]

    def dram_bytes(self, npu: NpuConfig) -> int:
        """DRAM set aside for its code: up to the last segment, and an instruction memory for that one."""
        last = self.segment_addresses(0)
        return (last[-1] - last[0] if len(last) > 1 else 0) + npu.instruction_memory_bytes


@dataclass(eq=False, kw_only=True)
class Program:
    """The runs of a model in order. graph: the gir they came from, with constants, addresses and host ops.

    boundary: DRAM addresses from here on are activations; they move up by the size of the program when it is linked.
    """

    graph: Graph
    runs: list[Run]
    operators: list[Operator]
    boundary: int

    def steps(self) -> Iterator[Step]:
        """Every instruction of every run."""
        return chain.from_iterable(run.steps for run in self.runs)

    def placed(self, npu: NpuConfig) -> Iterator[tuple[Run, int]]:
        """Each run and the DRAM address of its first segment. What a run takes is asked when the next one is placed, so
        that it may be cut meanwhile."""
        at = self.boundary
        for run in self.runs:
            yield run, at
            at += run.dram_bytes(npu)

    def instructions(self) -> list[list[Instruction]]:
        """The instructions of each run."""
        return [[step.instruction for step in run.steps] for run in self.runs]
