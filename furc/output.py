"""Files that furc writes: all of them or none, each whole or as it was before, and none in place of somebody else's."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from furc.interrupts import undisturbed
from furc.reading import PROGRAM_BYTES, STANDARD
from isa import unfinished
from isa.encoding import decode_program
from isa.enf import MAGIC
from isa.errors import FurcError, Loc

HEAD_BYTES = 4096  # of a file that are looked at
TAIL_BYTES = 1 << 16  # the same, at the end
PRODUCER = "furc"  # as ONNX models call it that furc made
CONSTANTS_MARK, ARRAYS_MARK, DUMP_MARK = "furc: constants of IR text", "furc: outputs of a run", "furc: litmus"


class OutputError(FurcError):
    """A file cannot be written."""


class Kind(NamedTuple):
    """A sort of file. recognizes: whether a file is one that furc wrote for this purpose."""

    name: str
    recognizes: Callable[[Path], bool]


def begins(pattern: bytes) -> Callable[[Path], bool]:
    """True for files whose first bytes match a regular expression."""
    compiled = re.compile(pattern, re.DOTALL)

    def recognizes(path: Path) -> bool:
        with path.open("rb") as file:
            return compiled.match(file.read(HEAD_BYTES)) is not None

    return recognizes


def ends(pattern: bytes) -> Callable[[Path], bool]:
    """True for files whose last bytes match a regular expression."""
    compiled = re.compile(pattern, re.DOTALL)

    def recognizes(path: Path) -> bool:
        with path.open("rb") as file:
            file.seek(-min(TAIL_BYTES, path.stat().st_size), os.SEEK_END)
            return compiled.match(file.read()) is not None

    return recognizes


def archive(mark: str) -> Callable[[Path], bool]:
    """True for zip archives with this comment."""

    def recognizes(path: Path) -> bool:
        with zipfile.ZipFile(path) as opened:
            return opened.comment == mark.encode()

    return recognizes


def _is_program(path: Path) -> bool:
    with path.open("rb") as file:
        return len(list(decode_program(file.read(PROGRAM_BYTES)))) > 0


def _is_assembly(path: Path) -> bool:
    """Its first instruction is one."""
    with path.open("rb") as file:
        lines = (line.strip() for line in file.read(HEAD_BYTES).decode("utf-8", "ignore").split("\n"))
    from isa.assembly import parse_program  # here: with its grammar, and few files are looked at so closely

    return bool(parse_program(next((line for line in lines if line and not line.startswith("#")), "")))


BINARY = Kind("a binary", begins(re.escape(MAGIC)))
IR_TEXT = Kind("IR text", begins(rb'(?:\s|//[^\n]*\n)*(?:(?:dfg|ldfg|cdfg|gir) "|lir )'))
CONSTANTS = Kind("the constants of IR text", archive(CONSTANTS_MARK))
ARRAYS = Kind("the outputs of a run", archive(ARRAYS_MARK))
DUMP = Kind("a dump of furc litmus", archive(DUMP_MARK))
MODEL = Kind("a model that furc made", begins(rb".{0,16}\x12\x04" + PRODUCER.encode()))


def _is_part(path: Path) -> bool:
    from furc.tflite.cutting import is_part  # here: with what reads TFLite, and few files are asked

    return is_part(path)


TFLITE_PART = Kind("a part of a TFLite model that furc cut out", _is_part)
PROGRAM = Kind("an encoded program", _is_program)
ASSEMBLY = Kind("assembly", _is_assembly)
DOT = Kind(
    "a drawing of furc's", begins(rb'digraph "[^\n]*\n  rankdir=TB;\n  node \[shape=box, style="filled,rounded"')
)
HTML = Kind("a page of furc's", begins(rb'<!doctype html>.{0,80}<meta name="generator" content="furc">'))
JSON = Kind("JSON of furc's", begins(rb'\{\n "model": .*"npu_ms": '))
EVALUATION = Kind("an evaluation of furc's", begins(rb'\{\n "eval": '))
DIFF = Kind("a comparison of furc's", begins(rb'\{\n "diff": \['))
JOURNAL_HEADER = '{"furc": "the results of a sweep, one a line", "format": 1}\n'
JOURNAL = Kind("the journal of a sweep", begins(re.escape(JOURNAL_HEADER.encode())))
SWEEP_CSV = Kind("the CSV table of a sweep", begins(rb"model,target,batch,configuration,"))
PARQUET_MARK = b"furc: a sweep"
SWEEP_PARQUET = Kind("the Parquet table of a sweep", ends(b"(?=.*" + re.escape(PARQUET_MARK) + b").*PAR1$"))
TRACE = Kind("a trace of furc's", begins(rb'\{"displayTimeUnit":"ns","traceEvents":\['))
TABLES = Kind("tables of furc's", begins(rb"[^\n]* on [^\n]*, modelled\n"))


ELSEWHERE = "give another place"


@dataclass(slots=True)
class Outputs:
    """What is to be written; nothing reaches the disk before `write`.

    sources: what was read; neither is overwritten, nor are the files that a model has its weights in. force: overwrite
    whatever else is there.
    """

    sources: tuple[Path, ...] = ()
    force: bool = False
    contents: dict[Path, bytes] = field(default_factory=dict)

    def add(self, path: Path, content: bytes | str, kind: Kind) -> None:
        """Raises OutputError as `check`, and where another output has the path."""
        self.check(path, kind)
        if any(os.path.realpath(path) == os.path.realpath(other) for other in self.contents):
            raise OutputError(
                "OutputTwice", "two outputs have this name", at=Loc(str(path)), hint="give each its own name"
            )
        self.contents[path] = content.encode() if isinstance(content, str) else content

    def check(self, path: Path | None, kind: Kind) -> None:
        """To be asked before work begins: OutputError where a path is an input, cannot be written, or is another's."""
        if path is None:
            return
        at = Loc(str(path))
        if os.path.exists(path) and any(
            _same(path, read) for source in self.sources for read in (source, *_beside(source))
        ):
            raise OutputError("OutputIsInput", "this would overwrite what is read", at=at, hint="give another name")
        if str(path) == STANDARD:
            what = f"{kind.name} does not go to stdout"
            raise OutputError("OutputUnwritable", what, at=at, hint="give the name of a file")
        if path.is_dir():
            raise OutputError("OutputUnwritable", "this is a directory", at=at, hint="give the name of a file")
        if not path.parent.is_dir():
            hint = f"mkdir -p {quote(str(path.parent))}"
            raise OutputError("OutputUnwritable", "its directory does not exist", at=at, hint=hint)
        if not _takes_files(path):
            raise OutputError("OutputUnwritable", "its directory is read-only for you", at=at, hint=ELSEWHERE)
        if not self.force and _is_anothers(path, kind):
            what = f"there is a file that is not {kind.name}: furc has not written it"
            raise OutputError("WouldOverwrite", what, at=at, hint="give another name, or --force")

    def write(self) -> None:
        """Every file under a temporary name first, then all renamed. Raises OutputError."""
        waiting: list[tuple[Path, Path]] = []
        try:
            for path, content in self.contents.items():
                waiting += _prepared(path, content)
            with undisturbed():  # a text without the constants that belong to it would go with those of before
                for beside, path in waiting:
                    beside.replace(path)
        except (OSError, ValueError) as error:
            what = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise OutputError("OutputUnwritable", what, at=Loc(str(path)), hint=ELSEWHERE) from error
        finally:
            for beside, _ in waiting:
                beside.unlink(missing_ok=True)


def _is_anothers(path: Path, kind: Kind) -> bool:
    """A regular file with something in it that furc cannot have written for this output."""
    try:
        if not path.is_file() or path.stat().st_size == 0:
            return False
        return not kind.recognizes(path)
    except (OSError, ValueError, RecursionError, FurcError, zipfile.BadZipFile):
        return True


def _takes_files(path: Path) -> bool:
    """The folder of what is replaced; a pipe or a device is written to, wherever it lies."""
    target = Path(os.path.realpath(path))
    return (target.exists() and not target.is_file()) or os.access(target.parent, os.W_OK | os.X_OK)


def _prepared(path: Path, content: bytes) -> list[tuple[Path, Path]]:
    """Write beside the target; a pipe or a device cannot be replaced and is written at once."""
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        target.write_bytes(content)
        return []
    unfinished.remove_abandoned(target)
    beside = unfinished.beside(target)
    try:
        with open(beside, "xb") as file:
            file.write(content)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return [(beside, target)]


def _beside(source: Path) -> list[Path]:
    """The files that a model has its weights in, which are read as well."""
    from furc.onnx.files import data_files  # here: with onnx, and few outputs are in place of a file

    if not source.is_file():  # what a pipe holds is there once, for who works with it
        return []
    try:
        return data_files(source)
    except (OSError, ValueError):  # no model, or one that will be refused
        return []


def _same(path: Path, other: Path) -> bool:
    try:
        return path.samefile(other)
    except (OSError, ValueError):
        return False
