"""What an operator is: one class that states its operands, rules, meaning, pieces and instructions.

An op is a dataclass whose fields are its operands (their types say in which role the op reads them) and its
attributes. Printing, parsing, cloning and verification walk those fields; splitting, layouts, placement, emission,
cost and both executors call the methods below. None of them knows an op by name.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

from numpy.typing import NDArray

from isa.errors import NOWHERE, Loc
from isa.instructions import Instruction
from isa.layout import Box, Window
from isa.npu import NpuConfig
from isa.operands import DramWindow, SramRange
from passes.ir.strides import View
from passes.ir.types import TensorType

Array = NDArray[Any]


class Level(StrEnum):
    """The levels of the vendor's compiler that are graphs; lir and enf follow."""

    DFG = "dfg"
    LDFG = "ldfg"
    CDFG = "cdfg"
    GIR = "gir"


LOW = (Level.LDFG, Level.CDFG, Level.GIR)
COMMANDS = (Level.CDFG, Level.GIR)


@dataclass(eq=False, slots=True)
class Value:
    """A tensor: made once, by an op, as a graph input or as a constant."""

    name: str
    type: TensorType

    def __repr__(self) -> str:
        return f"%{self.name}"


class Role(StrEnum):
    """In what capacity an op reads a value."""

    ACTIVATION = "activation"
    CONSTANT = "constant"  # weights, bias, tables: known when compiling; packed and loaded striped below ldfg
    BUFFER = "buffer"  # what the result is written into


Roles = tuple[Role | None, ...]
OPERANDS: Roles = tuple(Role)
ATTRIBUTES: Roles = (None,)

Activation = Annotated[Value, Role.ACTIVATION]
Constant = Annotated[Value, Role.CONSTANT]
Buffer = Annotated[Value, Role.BUFFER]


class Runs(StrEnum):
    """Who does the work of an op."""

    NPU = "npu"  # the tensor unit
    DMA = "dma"  # between DRAM and SRAM
    HOST = "host"
    NOBODY = "nobody"  # a name for bytes that are there already


class OpField(NamedTuple):
    """One field of an op class. kind: one operand, an optional one, several, or an attribute, which has no role."""

    name: str
    kind: typing.Literal["one", "optional", "many", "attribute"]
    role: Role | None
    annotation: Any


class Packed(NamedTuple):
    """Constants as bytes, and the field that takes them; the other constants of the op are then left out."""

    field: str
    data: Array


class Read(Protocol):
    """What a value holds while a graph is executed."""

    def __call__(self, value: Value, /) -> Array: ...


class Site(Protocol):
    """Where an op runs: places of its operands and of what it writes, and the banks that are its turn."""

    npu: NpuConfig

    def window(self, value: Value) -> Window: ...
    def target(self, op: Op) -> Window: ...
    def dram(self, value: Value) -> DramWindow: ...
    def dram_target(self, op: Op) -> DramWindow: ...
    def striped(self, value: Value | None) -> SramRange: ...
    def weight_bank(self) -> int: ...
    def table_bank(self) -> int: ...


class Lowering(Protocol):
    """What an op of dfg lowers itself with (passes/ldfg/to_lowlevel.py)."""

    def value(self, old: Value) -> Value: ...
    def array(self, old: Value) -> Array: ...
    def result(self, old: Value) -> Value: ...
    def emit(self, op: Op, *old: Value) -> None: ...
    def constant(self, hint: str, array: Array, like: TensorType | None = None) -> Value: ...
    def move(self, op: Op, x: Value, change: Callable[[View], View | None], *, keeps_order: bool = False) -> None: ...
    def expanded(self, old: Value, shape: tuple[int, ...], loc: Loc) -> Value: ...
    def fresh(self, hint: str) -> str: ...


@dataclass(eq=False, kw_only=True)
class Op:
    """One operation. results: the values it makes, for most ops one."""

    results: tuple[Value, ...]
    loc: Loc = NOWHERE

    mnemonic: ClassVar[str] = ""  # in the text of dfg, and in messages
    vendor: ClassVar[str] = ""  # in the text of lower levels and in profiles, where the vendor has a name of its own
    levels: ClassVar[tuple[Level, ...]] = ()
    runs: ClassVar[Runs] = Runs.NPU
    timeless: ClassVar[tuple[str, ...]] = ()  # attributes that change values, never the time they take
    at_once: ClassVar[bool] = True  # operands and result are in SRAM together
    open_extents: ClassVar[bool] = False  # operands and results may have extents that only a run tells

    _readers: ClassVar[dict[Roles, Callable[[Op], tuple[Value, ...]]]]

    def __init_subclass__(cls) -> None:
        cls._readers = {}

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    @property
    def profiled_as(self) -> str:
        """What profiles call the operator."""
        return self.vendor or self.mnemonic

    # meaning

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of what the op makes, from operands and attributes."""
        raise NotImplementedError

    def rules(self, level: Level) -> Iterator[str]:
        """Rules that do not hold, each as a sentence. Shapes of results are checked elsewhere."""
        return iter(())

    def compute(self, read: Read, npu: NpuConfig) -> tuple[Array, ...]:
        """What the op makes. npu: the machine that packed constants are packed for."""
        raise NotImplementedError

    # dfg

    def grown(self, axes: Mapping[Value, int], factor: int) -> int | None:
        """Let the batch axis of the operands in `axes` grow: adapt attributes; the axis of the results that grows.

        None where the op cannot. The default is that of ops that treat every index alike, with broadcasting."""
        rank = self.results[0].type.rank
        found = {rank - value.type.rank + axis for value, axis in axes.items()}
        return found.pop() if len(found) == 1 else None

    def lower(self, low: Lowering) -> None:
        """Append the low-level form. The default: the same op on four axes."""
        low.emit(self.on(low.value, tuple(low.result(r) for r in self.results)), *self.results)

    # ldfg: pieces

    def cut_axes(self) -> tuple[int, ...]:
        """Axes (n 0, c 1, h 2) of the result along which the op can be cut into pieces, the best first."""
        return ()

    def needs(self, operand: str, piece: Box) -> Box:
        """The box of an operand that a piece of the result needs."""
        raise NotImplementedError

    def needs_of(self, operand: str, value: Value, piece: Box) -> Box:
        """The box of one of several values that a field holds; as of a field that holds one."""
        return self.needs(operand, piece)

    def piece(self, piece: Box) -> dict[str, Any]:
        """The attributes that change where the op makes a piece of the result."""
        return {}

    def constant_rows(self, piece: Box) -> dict[str, slice]:
        """The rows, along the first axis, of those constants of which a piece of the result takes a part."""
        return {}

    # ldfg: footprint, in bytes

    def packed_bytes(self, channels: int) -> int:
        """Constants that must be in SRAM, striped, where `channels` are made (padding included); 0: none."""
        return 0

    def scratch_bytes(self, y: Window, npu: NpuConfig) -> int:
        """SRAM of each slice for partial sums while the op writes y."""
        return 0

    def place_scratch(self, offset: int) -> None:
        """Say where the partial sums lie in every slice, in bytes."""
        raise NotImplementedError

    def scratch_offset(self) -> int:
        """Where they lie."""
        raise NotImplementedError

    def pack(self, read: Read, npu: NpuConfig) -> Packed | None:
        """Constants as the bytes that `load_weights` brings on chip; None where there are none."""
        return None

    # commands

    def alias(self) -> tuple[Value, Box] | None:
        """The value that the result is a part of; None where it is a buffer of its own."""
        return None

    def written(self) -> Box | None:
        """The box of its buffer that the op writes; None: all of the result."""
        return None

    def instructions(self, at: Site) -> Iterator[Instruction]:
        """The instructions of the op, in order, without tags."""
        raise NotImplementedError

    def distinct_instructions(self, at: Site) -> Iterator[tuple[Instruction, int]]:
        """Instructions that cost alike, once, with how many there are: what the cost of the op is summed over."""
        return ((instruction, 1) for instruction in self.instructions(at))

    def timed_by(self, at: Site) -> Hashable:
        """What of its buffers' layouts the cycles of the op depend on; None: all of each."""
        return None

    # operands

    def operands(self) -> tuple[Value, ...]:
        """Every value the op reads, in field order."""
        return self._reader(OPERANDS)(self)

    def held(self, *held_by: OpField) -> tuple[Value, ...]:
        """The values of some fields, which are operands."""
        found: list[Value] = []
        for name, kind, _, _ in held_by:
            value = getattr(self, name)
            if kind == "many":
                found += value
            elif value is not None:
                found.append(value)
        return tuple(found)

    def reads(self, role: Role) -> tuple[Value, ...]:
        """The operands in a role, in field order."""
        return self._reader((role,))(self)

    def activations(self) -> tuple[Value, ...]:
        return self.reads(Role.ACTIVATION)

    @classmethod
    def _reader(cls, roles: Roles) -> Callable[[Op], tuple[Value, ...]]:
        """Gives the operands in some roles."""
        if roles not in cls._readers:
            cls._readers[roles] = _reader(fields_in(cls, roles))
        return cls._readers[roles]

    def on(self, value: Callable[[Value], Value], results: tuple[Value, ...]) -> Op:
        """A copy that reads and makes other values."""
        copy = _copied(self)
        copy.results = results
        for name, kind, role, _ in op_fields(type(self)):
            if role is not None:
                held = getattr(self, name)
                setattr(
                    copy, name, tuple(map(value, held)) if kind == "many" else None if held is None else value(held)
                )
        return copy

    def substitute(self, mapping: Mapping[Value, Value]) -> None:
        """Read other values instead."""
        for name, kind, role, _ in op_fields(type(self)):
            if role is not None:
                held = getattr(self, name)
                if kind == "many":
                    setattr(self, name, tuple(mapping.get(v, v) for v in held))
                elif held is not None:
                    setattr(self, name, mapping.get(held, held))


_OWN = {f.name for f in fields(Op)}
REGISTRY: dict[tuple[Level, str], type[Op]] = {}
_FIELDS: dict[type[Op], tuple[OpField, ...]] = {}
_IN: dict[tuple[type[Op], Roles], tuple[OpField, ...]] = {}


def op(
    mnemonic: str, *, levels: tuple[Level, ...], vendor: str = "", runs: Runs = Runs.NPU
) -> Callable[[type[Op]], type[Op]]:
    """Class decorator: declare an operator. What it forgets to say is an error when the class is made."""

    def declare(cls: type[Op]) -> type[Op]:
        cls.mnemonic, cls.vendor, cls.levels, cls.runs = mnemonic, vendor, levels, runs
        missing = [method for method in _wanted(cls) if getattr(cls, method) is getattr(Op, method)]
        if missing:
            raise TypeError(f"{cls.__name__} does not say {', '.join(missing)}")
        for level in levels:
            if (level, name_at(cls, level)) in REGISTRY:
                raise TypeError(f"{name_at(cls, level)} is declared twice at {level}")
            REGISTRY[level, name_at(cls, level)] = cls
        return cls

    return declare


def _wanted(cls: type[Op]) -> Iterator[str]:
    """Methods that an operator must have, by where it stands and what it reads."""
    yield from ("compute", "shapes")
    if cls.runs not in (Runs.NPU, Runs.DMA):
        return
    if Level.LDFG not in cls.levels and Level.DFG in cls.levels:
        yield "lower"
    if Level.GIR in cls.levels:
        yield "instructions"
    if Level.LDFG in cls.levels:
        yield "needs"


def name_at(cls: type[Op], level: Level) -> str:
    """What the text of a level calls an op."""
    return cls.vendor if cls.vendor and level is not Level.DFG else cls.mnemonic


def op_fields(cls: type[Op]) -> tuple[OpField, ...]:
    """Operands and attributes of an op class, in the order they are declared."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls, include_extras=True)
        _FIELDS[cls] = tuple(_field(f.name, hints[f.name]) for f in fields(cls) if f.name not in _OWN)
    return _FIELDS[cls]


def fields_in(cls: type[Op], roles: Roles) -> tuple[OpField, ...]:
    """Those of them that are in one of some roles."""
    if (cls, roles) not in _IN:
        _IN[cls, roles] = tuple(field for field in op_fields(cls) if field.role in roles)
    return _IN[cls, roles]


def _reader(found: tuple[OpField, ...]) -> Callable[[Op], tuple[Value, ...]]:
    """Gives what some fields hold, which are operands: of most ops so many fields of one value each."""
    if not found:
        return lambda _: ()
    if any(field.kind != "one" for field in found):
        return lambda op: op.held(*found)
    first, *others = (field.name for field in found)
    if not others:
        return lambda op: (getattr(op, first),)
    several: Callable[[Op], tuple[Value, ...]] = attrgetter(first, *others)
    return several


def _field(name: str, hint: Any) -> OpField:
    if _role(hint) is not None:
        return OpField(name, "one", _role(hint), hint)
    inner = typing.get_args(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType) and _role(inner[0]) is not None:
        return OpField(name, "optional", _role(inner[0]), hint)
    if typing.get_origin(hint) is tuple and _role(inner[0]) is not None:
        return OpField(name, "many", _role(inner[0]), hint)
    return OpField(name, "attribute", None, hint)


def _role(hint: Any) -> Role | None:
    return next((m for m in getattr(hint, "__metadata__", ()) if isinstance(m, Role)), None)


def _copied(op: Op) -> Op:
    """A shallow copy without running dataclass initialization."""
    copy = object.__new__(type(op))
    copy.__dict__.update(op.__dict__)
    return copy
