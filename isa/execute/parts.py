"""Instructions that ONNX Runtime can compute together: the parts of a fused item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from isa.execute.forwarding import hold, keep
from isa.execute.kernel_form import UInt8
from isa.execute.kernel_graph import KernelGraph, Kernels
from isa.execute.lookup import look_up
from isa.instructions import Instruction
from isa.layout import Window
from isa.machine import Int8, Machine


class Item(Protocol):
    """Some instructions of a program, executed as one."""

    @property
    def instructions(self) -> Sequence[Instruction]: ...

    def run(self, machine: Machine) -> None: ...


class Part(Protocol):
    """What becomes nodes of an ONNX model."""

    @property
    def instructions(self) -> Sequence[Instruction]: ...

    @property
    def reads(self) -> tuple[Window, ...]: ...

    @property
    def writes(self) -> Window: ...

    @property
    def feeds_itself(self) -> bool:
        """Whether `feed` changes what it reads: nothing can be handed to it inside a model."""

    @property
    def looks_up(self) -> bool:
        """Whether its result goes through a table, which no model can do."""

    def bind(self, machine: Machine) -> bool:
        """Take constants from the machine; whether they are others than at the last time."""

    def feed(self, x: UInt8) -> UInt8:
        """What is read, as the model wants it, contiguous."""

    def emit(self, graph: KernelGraph, xs: Sequence[str]) -> str:
        """Add nodes that compute the result of xs; its name."""

    def table(self, machine: Machine) -> Int8 | None:
        """int8 [256] by value + 128, where it looks up: as the bank is now."""


@dataclass(eq=False, slots=True)
class Fused:
    """Parts in order. sources: for each operand of each part, the part that makes it, None where the machine holds it.
    kept: the parts whose results are read by others.

    `take` is called for each part where it stands in the program, `finish` behind the last: what is between them may
    go on as if all had been computed where they stand, for `take` keeps what each part reads."""

    parts: list[Part]
    sources: list[tuple[int | None, ...]]
    kept: list[int]
    _kernels: Kernels | None = None
    _held: list[UInt8] = field(default_factory=list)
    _tables: dict[int, Int8 | None] = field(default_factory=dict)

    @classmethod
    def alone(cls, part: Part) -> Fused:
        """One part by itself."""
        return cls([part], [(None,) * len(part.reads)], [0])

    @property
    def instructions(self) -> list[Instruction]:
        return [instruction for part in self.parts for instruction in part.instructions]

    def run(self, machine: Machine) -> None:
        """All of it."""
        for index in range(len(self.parts)):
            self.take(index, machine)
        self.finish(machine)

    def take(self, index: int, machine: Machine) -> None:
        """What one part reads from the machine, now."""
        if index == 0:
            self._held = []
        part = self.parts[index]
        if part.bind(machine):
            self._kernels = None
        self._tables[index] = part.table(machine)
        for window, source in zip(part.reads, self.sources[index], strict=True):
            if source is None:
                self._held.append(part.feed(hold(machine, window)))

    def finish(self, machine: Machine) -> None:
        """Compute, and write what is kept."""
        if self._kernels is None:
            self._kernels = self._build()
        made = self._kernels.run(self._held)
        self._held = []
        for index, y in zip(self.kept, made, strict=True):
            table = self._tables[index]
            keep(machine, self.parts[index].writes, y if table is None else look_up(y, table))

    def _build(self) -> Kernels:
        graph, results = KernelGraph(), list[str]()
        for part, sources in zip(self.parts, self.sources, strict=True):
            results.append(part.emit(graph, [graph.input() if s is None else results[s] for s in sources]))
        return graph.session([results[index] for index in self.kept])
