"""lir: the instructions of the PE in order, with the operator each belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from isa.enf import Operator
from isa.instructions import Instruction
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

    def dram_bytes(self, npu: NpuConfig) -> int:
        """DRAM set aside for its code: half an instruction memory a segment, or all of the only one."""
        return npu.instruction_memory_bytes // 2 * max(2, len(self.segments))


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
