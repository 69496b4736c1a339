"""Text of lir: the instructions as assembly, the operators they belong to, and the gir graph they came from.

    lir boundary=0x1c0
    operator "LowLevelConv2d" [1,16,8,8] loc("conv1")
    program segments=[0] {
    .operator 0 command 2  # LowLevelConv2d conv1
    load src=dram@0x1c0:HCHCW:1x1x8x8 dst=@0x3ffc0:HCHCW(8x1):1x1x8x8 -> t0
    .operator -1
    end
    }
    gir "digits" batch=1 {
      ...
    }

A program for each turn of the NPU, in order. `.operator`, with the op of the graph that they carry out, holds for the
instructions after it. Linking needs inputs, outputs,
host ops and constants: they are those of the graph, whose constants are in the side file as at every level. `#`
starts a comment in a program.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from isa.assembly import format_instruction, parse_program
from isa.enf import Operator
from isa.errors import Loc, SourceError
from passes.ir.lir import Program, Run, Step
from passes.ir.op import Array
from passes.ir.text import parse, show

_STRING = r'"(?:[^"\\]|\\.)*"'
_HEADER = re.compile(r"lir boundary=0x([0-9a-f]{1,16})")
_OPERATOR = re.compile(rf"operator ({_STRING}) (\[[\d,]*\])(?: loc\(({_STRING}(?:, {_STRING})*)\))?")
_DIRECTIVE = re.compile(r"\.operator (-?\d{1,9})(?: command (\d{1,9}))?")
_OPEN = re.compile(r"program segments=\[(\d{1,9}(?:,\d{1,9})*)\] \{")
_CLOSE = "}"
_FORM = "lir boundary=0x0, then operators, then program segments=[0] { } for each run, then the gir graph: docs/ir.md"


def show_program(program: Program) -> str:
    """The text of a program, without what the constants of its graph hold."""
    lines = [f"lir boundary=0x{program.boundary:x}"]
    lines += [_show_operator(operator) for operator in program.operators]
    for run in program.runs:
        lines += [f"program segments=[{','.join(map(str, run.segments))}] {{", *_assembly(program, run), _CLOSE]
    return "\n".join(lines) + "\n" + show(program.graph)


def _show_operator(operator: Operator) -> str:
    nodes = f" loc({', '.join(map(json.dumps, operator.nodes))})" if operator.nodes else ""
    return f"operator {json.dumps(operator.name)} [{','.join(map(str, operator.shape))}]{nodes}"


def _assembly(program: Program, run: Run) -> Iterator[str]:
    current = None
    for step in run.steps:
        if (step.operator, step.command) != current:
            current = step.operator, step.command
            command = f" command {step.command}" if step.command >= 0 else ""
            yield f".operator {step.operator}{command}{_comment(program.operators, step.operator)}"
        yield format_instruction(step.instruction)


def _comment(operators: Sequence[Operator], index: int) -> str:
    """Whom the instructions serve, for people; parsing reads the number alone."""
    if index < 0:
        return ""
    operator = operators[index]
    return "  # " + " ".join(" ".join((operator.name, *operator.nodes)).split())


def parse_program_text(text: str, constants: Mapping[str, Array], source: str = "") -> Program:
    """The inverse of show_program. Raises SourceError BadIrText or EncodeError, with line and column."""
    return _Reader(text, constants, source).read()


class _Reader:
    def __init__(self, text: str, constants: Mapping[str, Array], source: str) -> None:
        self.lines, self.constants, self.source = text.splitlines(), constants, source
        self.at = 0
        self.operators: list[Operator] = []

    def read(self) -> Program:
        header = self._match(_HEADER)
        while self._line().startswith("operator"):
            self._declaration()
        runs = []
        while self._line().startswith("program"):
            runs.append(self._run())
        graph = parse("\n" * self.at + "\n".join(self.lines[self.at :]) + "\n", self.constants, self.source)
        return Program(graph=graph, runs=runs, operators=self.operators, boundary=int(header[1], 16))

    def _run(self) -> Run:
        segments = [int(first) for first in self._match(_OPEN)[1].split(",")]
        begin = self.at
        while self._line() != _CLOSE:
            self.at += 1
        steps = self._steps(begin, self.at)
        self.at += 1
        return Run(steps, segments)

    def _line(self) -> str:
        """The current line; comment lines and empty lines are passed over."""
        while self.at < len(self.lines) and re.fullmatch(r"\s*(//.*)?", self.lines[self.at]):
            self.at += 1
        if self.at == len(self.lines):
            raise self._error("the text ends early")
        return self.lines[self.at].strip()

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.fullmatch(self._line())
        if match is None:
            raise self._error(f"not lir text: {self.lines[self.at].strip()[:120]!r}")
        self.at += 1
        return match

    def _declaration(self) -> None:
        match = self._match(_OPERATOR)
        nodes = tuple(map(self._text, re.findall(_STRING, match[3] or "")))
        shape = tuple(int(extent[:24]) for extent in match[2].strip("[]").split(",") if extent)
        self.operators.append(Operator(self._text(match[1]), nodes, shape))

    def _text(self, quoted: str) -> str:
        try:
            return str(json.loads(quoted))
        except json.JSONDecodeError as error:
            raise self._error(f"not a string: {quoted[:120]}: {error.msg}") from None

    def _steps(self, begin: int, end: int) -> list[Step]:
        """The program between two lines: directives are read here, everything else by the assembler."""
        owners: list[tuple[int, int]] = []  # of each line that holds an instruction
        lines, owner = [""] * begin, (-1, -1)  # empty lines, so that errors point at the lines of this text
        for self.at in range(begin, end):
            line = self.lines[self.at].partition("#")[0].strip()
            match = _DIRECTIVE.fullmatch(line)
            if match is not None:
                owner = self._known(int(match[1])), int(match[2] or -1)
            elif line:
                owners.append(owner)
            lines.append(line if match is None else "")
        self.at = end
        instructions = parse_program("\n".join(lines) + "\n", self.source)
        return [Step(instruction, *owner) for instruction, owner in zip(instructions, owners, strict=True)]

    def _known(self, operator: int) -> int:
        if not -1 <= operator < len(self.operators):
            raise self._error(f"no operator {operator}, there are {len(self.operators)}")
        return operator

    def _error(self, message: str) -> SourceError:
        return SourceError("BadIrText", message, at=Loc(self.source, detail=f"{self.at + 1}:1"), hint=_FORM)
