"""Values, ops and graphs: what every level above lir is made of.

An op is a dataclass whose fields are its operands (Value, Value | None, tuple[Value, ...]) and its attributes.
Printing, parsing, cloning and verification walk those fields and know no op by name. Nodes compare by identity.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from isa.errors import NOWHERE, Loc, VerifyError
from passes.ir.types import TensorType

Array = NDArray[Any]


class Level(StrEnum):
    """The levels of the vendor's compiler that are graphs; lir and enf follow."""

    DFG = "dfg"
    LDFG = "ldfg"
    CDFG = "cdfg"
    GIR = "gir"


@dataclass(eq=False, slots=True)
class Value:
    """A tensor: made once, by an op, as a graph input or as a constant."""

    name: str
    type: TensorType

    def __repr__(self) -> str:
        return f"%{self.name}"


class OpField(NamedTuple):
    """One field of an op class: an operand, an optional operand, several operands, or an attribute."""

    name: str
    kind: typing.Literal["one", "optional", "many", "attribute"]
    annotation: object


@dataclass(eq=False, kw_only=True)
class Op:
    """One operation. Subclasses add operands and attributes and say what must hold in `verify`."""

    result: Value
    loc: Loc = NOWHERE
    mnemonic: ClassVar[str] = ""

    def verify(self) -> Iterator[str]:
        """Rules of the op that do not hold, each as a sentence."""
        return iter(())

    def operands(self) -> Iterator[Value]:
        """Every value the op reads, in field order."""
        for name, kind, _ in op_fields(type(self)):
            value = getattr(self, name)
            if kind == "many":
                yield from value
            elif kind != "attribute" and value is not None:
                yield value

    def substitute(self, mapping: Mapping[Value, Value]) -> None:
        """Read other values instead."""
        for name, kind, _ in op_fields(type(self)):
            value = getattr(self, name)
            if kind == "many":
                setattr(self, name, tuple(mapping.get(v, v) for v in value))
            elif kind != "attribute" and value is not None:
                setattr(self, name, mapping.get(value, value))


_OWN = {f.name for f in fields(Op)}
REGISTRY: dict[tuple[Level, str], type[Op]] = {}


def register(*levels: Level) -> typing.Callable[[type[Op]], type[Op]]:
    """Class decorator: the op exists at these levels. A mnemonic used twice is an error when the class is made."""

    def add(cls: type[Op]) -> type[Op]:
        for level in levels:
            assert (level, cls.mnemonic) not in REGISTRY, f"{cls.mnemonic} is declared twice at {level}"
            REGISTRY[level, cls.mnemonic] = cls
        return cls

    return add


_FIELDS: dict[type[Op], tuple[OpField, ...]] = {}


def op_fields(cls: type[Op]) -> tuple[OpField, ...]:
    """Operands and attributes of an op class, in the order they are declared."""
    if cls not in _FIELDS:
        _FIELDS[cls] = _read_fields(cls)
    return _FIELDS[cls]


def _read_fields(cls: type[Op]) -> tuple[OpField, ...]:
    hints = typing.get_type_hints(cls)
    result = []
    for f in fields(cls):
        if f.name in _OWN:
            continue
        hint = hints[f.name]
        if hint is Value:
            result.append(OpField(f.name, "one", hint))
        elif typing.get_origin(hint) in (typing.Union, types.UnionType) and Value in typing.get_args(hint):
            result.append(OpField(f.name, "optional", hint))
        elif typing.get_origin(hint) is tuple and typing.get_args(hint)[0] is Value:
            result.append(OpField(f.name, "many", hint))
        else:
            result.append(OpField(f.name, "attribute", hint))
    return tuple(result)


@dataclass(eq=False, kw_only=True)
class Graph:
    """Ops in execution order over values. constants: what values without a producer hold."""

    name: str
    level: Level
    source: str = ""
    batch: int = 1
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    constants: dict[Value, Array] = field(default_factory=dict, repr=False)

    def producers(self) -> dict[Value, Op]:
        """The op that makes each value."""
        return {op.result: op for op in self.ops}

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
            if op.result in live:
                kept.append(op)
                live.update(op.operands())
        self.ops = kept[::-1]
        self.constants = {v: a for v, a in self.constants.items() if v in live}

    def names(self) -> set[str]:
        """Every value name in use."""
        values = [*self.inputs, *self.constants, *(op.result for op in self.ops)]
        return {v.name for v in values}

    def dependencies(self) -> nx.DiGraph[Op]:
        """Ops as nodes, an edge from the producer of a value to each reader."""
        graph: nx.DiGraph[Op] = nx.DiGraph()
        graph.add_nodes_from(self.ops)
        producers = self.producers()
        graph.add_edges_from((producers[v], op) for op in self.ops for v in op.operands() if v in producers)
        return graph


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


def verify(graph: Graph) -> None:
    """Check what holds at every level and what each op says. Raises VerifyError with up to five findings."""
    problems: list[str] = []
    known: set[Value] = {*graph.inputs, *graph.constants}
    seen: set[str] = {v.name for v in known}
    if len(seen) != len(known):
        problems.append("two inputs or constants share a name")
    for op in graph.ops:
        if REGISTRY.get((graph.level, op.mnemonic)) is not type(op):
            problems.append(f"{op.result}: {op.mnemonic} is not an op of {graph.level}")
        problems += [f"{op.result}: {op.mnemonic} reads {v} before it is made" for v in op.operands() if v not in known]
        if op.result.name in seen:
            problems.append(f"{op.result}: the name is used twice")
        seen.add(op.result.name)
        known.add(op.result)
        problems += [f"{op.result}: {op.mnemonic}: {problem}" for problem in _broken_rules(op)]
    problems += [f"output {v} is never made" for v in graph.outputs if v not in known]
    for value, array in graph.constants.items():
        if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
            problems.append(f"{value}: the constant is {array.dtype}{list(array.shape)}, its type {_shown(value.type)}")
    if problems:
        raise VerifyError(
            "InvalidIr", problems[0], at=Loc(graph.source, detail=str(graph.level)), also=tuple(problems[1:5])
        )


def _broken_rules(op: Op) -> list[str]:
    """What the op says does not hold. Rules may unpack shapes: text can give an op operands of any rank."""
    try:
        return list(op.verify())
    except (ArithmeticError, AssertionError, IndexError, TypeError, ValueError):
        return [f"it cannot read {', '.join(f'{v} {_shown(v.type)}' for v in op.operands())}"]


def _shown(type: TensorType) -> str:
    return f"{type.dtype}{list(type.shape)}"


def constant(graph: Graph, names: Names, hint: str, array: Array, type: TensorType) -> Value:
    """Add a constant to a graph."""
    value = Value(names.fresh(hint), type)
    graph.constants[value] = np.ascontiguousarray(array)
    return value
