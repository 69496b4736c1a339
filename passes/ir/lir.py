"""lir: the instructions of the PE in order, with the operator each belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from isa.enf import Operator
from isa.instructions import Instruction
from passes.ir.graph import Graph


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction and the index of its operator; -1 for what serves the program itself."""

    instruction: Instruction
    operator: int


@dataclass(eq=False, kw_only=True)
class Program:
    """Instructions in issue order. graph: the gir they came from, with constants and addresses.

    boundary: DRAM addresses from here on are activations; they move up by the size of the program when it is linked.
    segments: first step of each program segment.
    """

    graph: Graph
    steps: list[Step]
    operators: list[Operator]
    boundary: int
    segments: list[int]
