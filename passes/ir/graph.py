"""Graphs: what every level above lir is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from passes.ir.op import Array, Level, Op, Value
from passes.ir.types import TensorType


class Placement(NamedTuple):
    """A way to place a model's operators on NPU and host. way: in words; key: what asks for it. npu_parts: turns that
    the NPU takes; on_host: operators of the host. ms: estimated. chosen: it is how the graph was made."""

    way: str
    key: str
    npu_parts: int
    on_host: int
    ms: float
    chosen: bool


@dataclass(eq=False, kw_only=True)
class Graph:
    """Ops in execution order over values. constants: what values without a producer hold. placements: of a model that
    was just read and of which something is on the host, how it could have been placed; text does not carry them.
    pixels: the model's note of the images that it was calibrated on, for the binary; no pass reads it."""

    name: str
    level: Level
    source: str = ""
    batch: int = 1
    pixels: str = ""
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    constants: dict[Value, Array] = field(default_factory=dict, repr=False)
    placements: tuple[Placement, ...] = field(default=(), repr=False)

    def producers(self) -> dict[Value, Op]:
        """The op that makes each value."""
        return {value: op for op in self.ops for value in op.results}

    def users(self) -> dict[Value, list[Op]]:
        """The ops that read each value, in order, each once; a value nobody reads has no entry."""
        users: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in dict.fromkeys(op.operands()):
                users.setdefault(value, []).append(op)
        return users

    def substitute(self, mapping: Mapping[Value, Value]) -> None:
        """Replace values everywhere, following chains."""
        resolved = {old: _end(mapping, old) for old in mapping}
        for op in self.ops:
            op.substitute(resolved)
        self.outputs = [resolved.get(v, v) for v in self.outputs]

    def remove_dead(self) -> None:
        """Drop ops and constants that no output needs."""
        live: set[Value] = set(self.outputs)
        kept = []
        for op in reversed(self.ops):
            if not live.isdisjoint(op.results):
                kept.append(op)
                live.update(op.operands())
        self.ops = kept[::-1]
        self.constants = {v: a for v, a in self.constants.items() if v in live}

    def copied(self) -> Graph:
        """Other values and ops over the same arrays: passes change types and ops of what they are given, no array."""
        made = [*self.inputs, *self.constants, *(value for op in self.ops for value in op.results)]
        copies = {value: Value(value.name, value.type) for value in made}
        return replace(
            self,
            inputs=[copies[value] for value in self.inputs],
            outputs=[copies[value] for value in self.outputs],
            ops=[op.on(copies.__getitem__, tuple(copies[value] for value in op.results)) for op in self.ops],
            constants={copies[value]: array for value, array in self.constants.items()},
        )

    def names(self) -> set[str]:
        """Every value name in use."""
        values = [*self.inputs, *self.constants, *(v for op in self.ops for v in op.results)]
        return {v.name for v in values}


def _end(mapping: Mapping[Value, Value], value: Value) -> Value:
    while value in mapping:
        value = mapping[value]
    return value


class Names:
    """Fresh value names for one graph."""

    def __init__(self, taken: Iterable[str]) -> None:
        self.taken = set(taken)

    def fresh(self, hint: str) -> str:
        """hint itself, or hint.1, hint.2, ... where it is taken."""
        name, count = hint, 0
        while name in self.taken:
            count += 1
            name = f"{hint}.{count}"
        self.taken.add(name)
        return name


def constant(graph: Graph, names: Names, hint: str, array: Array, type: TensorType) -> Value:
    """Add a constant to a graph."""
    value = Value(names.fresh(hint), type)
    graph.constants[value] = np.ascontiguousarray(array)
    return value
