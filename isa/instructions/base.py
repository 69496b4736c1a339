"""What an instruction is: a dataclass whose fields are its operands, its meaning, its effect and its cost.

Encoder, decoder, assembler, docs/isa.md, race check and fuzzers walk the fields of the classes; a class made with
`@instruction` is in the table.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, dataclass_transform

from isa.operands import (
    Bank,
    DramRangeOperand,
    DramWindowOperand,
    Float,
    Int,
    Operand,
    OperandValue,
    ProgramOffset,
    Range,
    Role,
    Space,
    SramRange,
    SramRangeOperand,
    WindowOperand,
)

if TYPE_CHECKING:
    from isa.machine import Machine
    from isa.npu import NpuConfig
    from isa.timing.formulas import Cost


class Unit(StrEnum):
    """Who executes an instruction. Units run concurrently; each takes its own instructions in order."""

    CONTROL = "control"
    DMA_IN = "dma_in"
    DMA_OUT = "dma_out"
    SUB = "sub"
    MAIN = "main"


@dataclass(frozen=True, slots=True, eq=False)
class Spec:
    """One row of the table: what an instruction is called, who runs it, what it names, what it does."""

    mnemonic: str
    opcode: int
    unit: Unit
    operands: tuple[Operand, ...]
    meaning: str
    instruction: type[Instruction]  # the class


NO_SRAM = SramRange(0, 0)
BY_MNEMONIC: dict[str, Spec] = {}
BY_OPCODE: dict[int, Spec] = {}

_OPERAND, _AFTER = "operand", "after"  # keys of the metadata of a field


def _operand(operand: Operand, after: str = "") -> Any:
    """A field of an instruction. after: the operand it stands behind, where that is an inherited one."""
    metadata = {_OPERAND: operand, _AFTER: after}
    return field(metadata=metadata) if operand.default is None else field(default=operand.default, metadata=metadata)


def uint(bits: int, meaning: str, *, bias: int = 0, default: int | None = None) -> Any:
    """A whole number from `bias` up."""
    return _operand(Int("", meaning, bits=bits, bias=bias, default=default))


def sint(bits: int, meaning: str, *, default: int | None = None) -> Any:
    """A whole number in two's complement."""
    return _operand(Int("", meaning, bits=bits, signed=True, default=default))


def real(meaning: str) -> Any:
    """A float32."""
    return _operand(Float("", meaning))


def read(meaning: str, *, default: SramRange | None = None) -> Any:
    """Memory that is read: a Window, DramWindow, SramRange or DramRange, as the annotation says."""
    return _operand(Operand("", meaning, Role.READ, default))


def write(meaning: str, *, default: SramRange | None = None) -> Any:
    """Memory that is written."""
    return _operand(Operand("", meaning, Role.WRITE, default))


def update(meaning: str, *, default: SramRange | None = None, after: str = "") -> Any:
    """Memory that is read and written."""
    return _operand(Operand("", meaning, Role.UPDATE, default), after)


def register_bank(space: Space, role: Role, meaning: str, *, default: int) -> Any:
    """One of the two banks of the weight registers or the tables."""
    return _operand(Bank("", meaning, role, bits=1, default=default, space=space))


def program_offset(role: Role, meaning: str) -> Any:
    """A byte offset in instruction memory."""
    return _operand(ProgramOffset("", meaning, role, bits=16, scale=4))


_MEMORY = {
    "Window": WindowOperand,
    "DramWindow": DramWindowOperand,
    "SramRange": SramRangeOperand,
    "DramRange": DramRangeOperand,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Instruction:
    """One instruction: a value for each operand, the tag it completes and the tags it waits for.

    A wait for tag t means: until the latest instruction before this one (in program order) that signals t is
    complete. So a program cannot deadlock: waits point backwards only.
    """

    signal: int | None = None
    wait: int = 0  # mask of tags

    spec: ClassVar[Spec]
    mnemonic: ClassVar[str]
    unit: ClassVar[Unit]
    places: ClassVar[tuple[Operand, ...]]  # operands that are no numbers
    weight_banks: ClassVar[tuple[Operand, ...]]  # operands that say which bank of the weight registers
    _get: ClassVar[Callable[[Instruction], tuple[OperandValue, ...]]]
    _set: ClassVar[tuple[Callable[[Instruction, object], None], ...]]
    _touching: ClassVar[dict[bool, tuple[tuple[Operand, Callable[[Instruction], OperandValue]], ...]]]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Instruction) and other._all == self._all

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        shown = (f"{f.name}={getattr(self, f.name)!r}" for f in fields(self))
        return f"{type(self).__name__}({', '.join(shown)})"

    @property
    def _all(self) -> tuple[object, ...]:
        return (self.signal, self.wait, *self.values)

    def execute(self, machine: Machine) -> None:
        """What it does to the machine."""
        raise NotImplementedError

    def cost(self, npu: NpuConfig) -> Cost:
        """What it costs on its unit."""
        raise NotImplementedError

    @property
    def values(self) -> tuple[OperandValue, ...]:
        """The operands in the order of the table."""
        return type(self)._get(self)

    @classmethod
    def of(cls, values: Iterable[OperandValue], signal: int | None = None, wait: int = 0) -> Self:
        """The instruction with these operands, in the order of the table."""
        made = object.__new__(cls)  # frozen: the slots are set as the dataclass's own __init__ does
        for put, value in zip(cls._set, (signal, wait, *values), strict=True):
            put(made, value)
        return made

    def scheduled(self, signal: int | None, wait: int) -> Self:
        """The same work with other tags."""
        return self.of(self.values, signal, wait)

    def reads(self, access_bytes: int) -> tuple[Range, ...]:
        """Memory this instruction reads."""
        return self._touched(False, access_bytes)

    def writes(self, access_bytes: int) -> tuple[Range, ...]:
        """Memory this instruction writes."""
        return self._touched(True, access_bytes)

    def _touched(self, written: bool, access_bytes: int) -> tuple[Range, ...]:
        return tuple(
            touched
            for operand, value in self._touching[written]
            for touched in operand.touches(value(self), access_bytes)
        )


_I = TypeVar("_I", bound=Instruction)


def _dataclass(cls: type[_I]) -> type[_I]:
    """Comparing, hashing and showing are the base's: made anew for each instruction they take a third of its import."""
    return dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)(cls)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(uint, sint, real, read, write, update, register_bank, program_offset),
)
def family(cls: type[_I]) -> type[_I]:
    """Operands that several instructions share; no instruction itself."""
    return _dataclass(cls)


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(uint, sint, real, read, write, update, register_bank, program_offset),
)
def instruction(mnemonic: str, opcode: int, unit: Unit) -> Callable[[type[_I]], type[_I]]:
    """Make a class an instruction. Its docstring says what it does. Raises TypeError where something is missing."""

    def made(cls: type[_I]) -> type[_I]:
        meaning = " ".join(inspect.cleandoc(cls.__dict__.get("__doc__") or "").split())
        _check(cls, mnemonic, opcode, meaning)
        result = _dataclass(cls)
        operands = tuple(_named(f) for f in _in_order(fields(result)))
        _collect(result, Spec(mnemonic, opcode, unit, operands, meaning, result))
        return result

    return made


def _check(cls: type[Instruction], mnemonic: str, opcode: int, meaning: str) -> None:
    if not meaning:
        raise TypeError(f"{cls.__name__} has no docstring to say what it does")
    for method in ("execute", "cost"):
        if getattr(cls, method) is getattr(Instruction, method):
            raise TypeError(f"{cls.__name__} has no {method}()")
    if mnemonic in BY_MNEMONIC or opcode in BY_OPCODE:
        other = BY_MNEMONIC[mnemonic] if mnemonic in BY_MNEMONIC else BY_OPCODE[opcode]
        raise TypeError(f"{cls.__name__}: {other.mnemonic} (opcode 0x{other.opcode:02x}) is there already")


def _in_order(declared: Sequence[Field[Any]]) -> list[Field[Any]]:
    """The fields that are operands, each behind the one it asks to stand behind."""
    found = [f for f in declared if _OPERAND in f.metadata]
    for moved in [f for f in found if f.metadata[_AFTER]]:
        found.remove(moved)
        found.insert([f.name for f in found].index(moved.metadata[_AFTER]) + 1, moved)
    return found


def _named(declared: Field[Any]) -> Operand:
    """The operand of a field: its kind is that of the annotation where its specifier does not say it."""
    operand: Operand = declared.metadata[_OPERAND]
    if type(operand) is not Operand:
        return replace(operand, name=declared.name)
    return _MEMORY[str(declared.type)](declared.name, operand.meaning, operand.role, operand.default)


def _collect(cls: type[Instruction], spec: Spec) -> None:
    names = [operand.name for operand in spec.operands]
    cls.spec, cls.mnemonic, cls.unit = spec, spec.mnemonic, spec.unit
    cls.places = tuple(operand for operand in spec.operands if not isinstance(operand, Int | Float))
    cls.weight_banks = tuple(o for o in spec.operands if isinstance(o, Bank) and o.space is Space.WEIGHTS)
    cls._get = staticmethod(_getter(names))
    cls._set = tuple(getattr(cls, name).__set__ for name in ("signal", "wait", *names))
    touching = [(operand, attrgetter(operand.name)) for operand in spec.operands if operand.role is not Role.VALUE]
    cls._touching = {
        written: tuple((o, get) for o, get in touching if o.role in (Role.UPDATE, Role.WRITE if written else Role.READ))
        for written in (False, True)
    }
    BY_MNEMONIC[spec.mnemonic] = BY_OPCODE[spec.opcode] = spec


def _getter(names: Sequence[str]) -> Callable[[Instruction], tuple[OperandValue, ...]]:
    """All operands at once: attrgetter gives no tuple for fewer than two."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda made: tuple(getattr(made, name) for name in names)
