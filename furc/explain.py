"""What belongs together in a binary: a node of the model, low-level operators, instructions, memory, and time.

print(explain_file("model.enf", "conv1").operators)     # a node of the model, or a part of its name
explain_file("model.enf", "#3")                          # an operator, by its number in the binary
explain_file("model.enf", "@17")                         # an executed instruction, by its number
explain_file("model.enf", "sram:0x400")                  # an address; 0x400 alone is one of SRAM and of DRAM
explain_file("model.enf", "21000")                       # a cycle

All of it follows from the binary: which operator an instruction is of, what memory it names, when the clock has it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from furc.build import build
from furc.machine import machine_of
from furc.profiling.profile import is_enf
from furc.profiling.recorded import ENGINES, PROGRAM, Recorded, record
from furc.request import Request
from isa import enf as enf_file
from isa.assembly import format_instruction
from isa.enf import Enf, HostOperator
from isa.errors import ConfigError, Loc, counted
from isa.npu import NpuConfig
from isa.operands import Range, Space

MEMORY = (Space.SRAM, Space.DRAM)
FORMS = "a node's name, #OPERATOR, @INSTRUCTION, sram:0x400, dram:0x400, 0x400, or a cycle"
_ADDRESS = re.compile(r"(?:(sram|dram):)?0x([0-9a-fA-F]{1,15})|(sram|dram):(\d{1,15})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """One instruction. operator: its number in the binary, -1 for the program itself; engine: "" for what takes none.

    reads, writes: SRAM (offsets in every slice) and DRAM. start, stop: cycles.
    """

    index: int
    text: str
    operator: int
    engine: str
    start: float
    stop: float
    reads: tuple[Range, ...]
    writes: tuple[Range, ...]

    @property
    def touched(self) -> tuple[Range, ...]:
        return (*self.reads, *self.writes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One operator. instructions: all of its, or those that were asked for; reads_from, read_by: operators by number.

    reads, writes: memory of these instructions, ranges that touch joined.
    """

    number: int
    name: str
    nodes: tuple[str, ...]
    shape: tuple[int, ...]
    instructions: tuple[Executed, ...]
    reads: tuple[Range, ...]
    writes: tuple[Range, ...]
    reads_from: tuple[int, ...]
    read_by: tuple[int, ...]

    @property
    def start_cycle(self) -> float:
        return min(i.start for i in self._working)

    @property
    def end_cycle(self) -> float:
        return max(i.stop for i in self._working)

    @property
    def _working(self) -> Sequence[Executed]:
        """Without loads of weights that are there from an earlier run: they take no time."""
        return [i for i in self.instructions if i.stop > i.start] or self.instructions


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was asked for, and what belongs to it. host: operators on the host that a node became."""

    asked: str
    operators: tuple[Explained, ...]
    host: tuple[HostOperator, ...] = ()


def explain_file(path: Path | str, where: str, request: Request | None = None) -> Explanation:
    """Of a binary, or of a model, which is compiled first. where: FORMS. Raises FurcError; ConfigError NothingThere."""
    path, asked = Path(path), request or Request()
    if is_enf(path):
        binary = enf_file.load(path)
        return explain(binary, machine_of(binary, asked.what_if), where)
    return explain(build(path, asked).enf, asked.npu(), where)


def explain(enf: Enf, npu: NpuConfig, where: str) -> Explanation:
    """Of a binary on its machine. A name of the model goes before any other meaning of the word."""
    return _Map(record(enf, npu)).explanation(where.strip())


class _Map:
    """A binary on the clock, ready to be asked."""

    def __init__(self, recorded: Recorded) -> None:
        self.recorded, self.enf = recorded, recorded.enf

    @cached_property
    def executed(self) -> tuple[Executed, ...]:
        """Every instruction, in the order they run."""
        access = self.recorded.npu.sram_access_bytes
        return tuple(
            Executed(
                index=event.index,
                text=format_instruction(event.instruction),
                operator=owner,
                engine=str(ENGINES.get(event.instruction.unit, "")),
                start=event.start,
                stop=event.end,
                reads=tuple(r for r in event.instruction.reads(access) if r.space in MEMORY),
                writes=tuple(r for r in event.instruction.writes(access) if r.space in MEMORY),
            )
            for event, owner in zip(self.recorded.timeline.events, self.recorded.owners, strict=True)
        )

    @cached_property
    def flow(self) -> tuple[tuple[int, int], ...]:
        """(writer, reader) of operators: who reads what another wrote last."""
        written: list[tuple[Range, int]] = []
        pairs: dict[tuple[int, int], None] = {}
        for one in self.executed:
            for part in one.reads:
                pairs.update(dict.fromkeys((by, one.operator) for old, by in written if old.overlaps(part)))
            for part in one.writes:
                written = [(piece, by) for old, by in written for piece in _without(old, part)]
                written.append((part, one.operator))
        return tuple((a, b) for a, b in pairs if a != b)

    def explanation(self, where: str) -> Explanation:
        nodes = self._nodes(where)
        if nodes:
            chosen = [i for i, operator in enumerate(self.enf.operators) if nodes.intersection(operator.nodes)]
            host = tuple(o for s in self.enf.host_steps for o in s.operators if nodes.intersection(o.nodes))
            return Explanation(asked=f"node {_listed(sorted(nodes))}", operators=self._operators(chosen), host=host)
        if number := re.fullmatch(r"#(\d{1,9})", where):
            return self._operator(int(number[1]))
        if number := re.fullmatch(r"@(\d{1,9})", where):
            return self._instruction(int(number[1]))
        if address := _ADDRESS.fullmatch(where):
            return self._address(address)
        if re.fullmatch(r"\d{1,15}(?:\.\d+)?", where):
            cycle = float(where)
            return self._among(f"cycle {where}", [i for i in self.executed if i.start <= cycle < i.stop])
        raise self._nothing(f"nothing is called '{where}'", where)

    def _nodes(self, where: str) -> set[str]:
        """Names of the model that are meant: the very name, or all that have it as a part."""
        names = self._names()
        if where in names:
            return {where}
        looks_like_name = len(where) > 1 and not re.fullmatch(r"[#@]?\d+(?:\.\d+)?", where)
        return {n for n in names if where in n} if looks_like_name and not _ADDRESS.fullmatch(where) else set()

    def _names(self) -> set[str]:
        on_host = [o for step in self.enf.host_steps for o in step.operators]
        lists = (*(o.nodes for o in self.enf.operators), *(o.nodes for o in on_host))
        return {node for nodes in lists for node in nodes}

    def _operator(self, number: int) -> Explanation:
        if number >= len(self.enf.operators):
            raise self._nothing(f"there is no operator {number}, there are {len(self.enf.operators)}", "")
        return Explanation(asked=f"operator {number}", operators=self._operators([number]))

    def _instruction(self, number: int) -> Explanation:
        found = [i for i in self.executed if i.index == number]
        if not found:
            raise self._nothing(f"there is no instruction {number}, there are {len(self.executed)}", "")
        return self._among(f"instruction {number}", found)

    def _address(self, address: re.Match[str]) -> Explanation:
        space = address[1] or address[3]
        at = int(address[2], 16) if address[2] else int(address[4])
        points = [Range(s, at, at + 1) for s in MEMORY if space in (None, s.value)]
        found = [i for i in self.executed if any(r.overlaps(point) for r in i.touched for point in points)]
        return self._among(f"address {space or 'sram and dram'}:{at:#x}", found)

    def _among(self, asked: str, chosen: Sequence[Executed]) -> Explanation:
        """The operators of some instructions, with these alone."""
        if not chosen:
            raise self._nothing(f"no instruction at {asked}", "")
        numbers = list(dict.fromkeys(i.operator for i in chosen))
        return Explanation(asked=asked, operators=self._operators(numbers, chosen))

    def _operators(self, numbers: Iterable[int], chosen: Sequence[Executed] | None = None) -> tuple[Explained, ...]:
        instructions = self.executed if chosen is None else chosen
        found = (self._explained(n, tuple(i for i in instructions if i.operator == n)) for n in numbers)
        return tuple(each for each in found if each.instructions)

    def _explained(self, number: int, instructions: tuple[Executed, ...]) -> Explained:
        operator = self.enf.operators[number] if number >= 0 else PROGRAM
        return Explained(
            number=number,
            name=operator.name,
            nodes=operator.nodes,
            shape=operator.shape,
            instructions=instructions,
            reads=joined(r for i in instructions for r in i.reads),
            writes=joined(r for i in instructions for r in i.writes),
            reads_from=tuple(a for a, b in self.flow if b == number),
            read_by=tuple(b for a, b in self.flow if a == number),
        )

    def _nothing(self, message: str, where: str) -> ConfigError:
        near = difflib.get_close_matches(where, self._names(), 1) if where else []
        instructions = counted(len(self.executed), "instruction")
        cycles = f"; it takes {round(self.recorded.timeline.cycles)} cycles, {instructions}"
        hint = f"did you mean '{near[0]}'?" if near else f"give {FORMS}{cycles}"
        return ConfigError("NothingThere", message, at=Loc(self.enf.model_name), hint=hint)


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """In order, those that overlap or touch as one."""
    found: list[Range] = []
    for each in sorted(set(ranges)):
        last = found[-1] if found else None
        if last is not None and last.space is each.space and each.start <= last.stop:
            found[-1] = last._replace(stop=max(last.stop, each.stop))
        else:
            found.append(each)
    return tuple(found)


def _without(old: Range, new: Range) -> Iterable[Range]:
    """What is left of a range when another is written over it."""
    if not old.overlaps(new):
        return (old,)
    left, right = old._replace(stop=new.start), old._replace(start=new.stop)
    return tuple(part for part in (left, right) if part.start < part.stop)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown
