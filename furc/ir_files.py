"""IR text and the constants beside it: model.ldfg has model.ldfg.npz."""

from __future__ import annotations

import re
from pathlib import Path

from furc.data.arrays import Array, npz_bytes, read_arrays
from furc.output import CONSTANTS, CONSTANTS_MARK, IR_TEXT, Outputs
from furc.reading import TEXT_BYTES, read_at_most
from isa.errors import Loc, SourceError
from passes.ir.graph import Graph
from passes.ir.levels import verify
from passes.ir.lir import Program
from passes.ir.op import Level

SUFFIXES = tuple(f".{level}" for level in (*Level, "lir"))
_CONSTANT = re.compile(r"^\s*const\s+%", re.MULTILINE)


def is_ir(path: Path) -> bool:
    return path.suffix in SUFFIXES


def side_file(path: Path) -> Path:
    """Where the constants of a text are: two levels of one model never share it."""
    return path.with_name(f"{path.name}.npz")


def read_ir(path: Path) -> Graph | Program:
    """The graph in a text, or the program in a .lir; "-" is stdin. Raises SourceError, VerifyError."""
    from passes.ir.lir_text import parse_program_text  # here: with its grammar, which compiling a model does not need
    from passes.ir.text import parse

    text = _text(path)
    constants = _constants(path, text)
    source = str(path)
    if path.suffix == ".lir" or text.lstrip().startswith("lir "):
        program = parse_program_text(text, constants, source)
        verify(program.graph)
        return program
    graph = parse(text, constants, source)
    verify(graph)
    if path.suffix and graph.level != path.suffix[1:] and is_ir(path):
        raise SourceError(
            "BadIrText", f"the text is {graph.level}", at=Loc(source), hint=f"call it {path.stem}.{graph.level}"
        )
    return graph


def write_ir(outputs: Outputs, path: Path, content: Graph | Program) -> None:
    """Add the text, and its side file where there are constants."""
    from passes.ir.lir_text import show_program  # here: see above
    from passes.ir.text import show

    graph = content.graph if isinstance(content, Program) else content
    outputs.add(path, show_program(content) if isinstance(content, Program) else show(content), IR_TEXT)
    if graph.constants:
        arrays = {value.name: array for value, array in graph.constants.items()}
        outputs.add(side_file(path), npz_bytes(arrays, CONSTANTS_MARK), CONSTANTS)


def _text(path: Path) -> str:
    try:
        return read_at_most(path, TEXT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise SourceError(
            "BadIrText", f"not text: byte {error.start}", at=Loc(str(path)),
            hint="give IR text, as furc compile --target-ir writes it",
        ) from error  # fmt: skip
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise SourceError("IrUnreadable", reason, at=Loc(str(path)), hint="check the path") from error


def _constants(path: Path, text: str) -> dict[str, Array]:
    if not _CONSTANT.search(text):
        return {}
    beside = side_file(path)
    if not beside.is_file():
        raise SourceError(
            "NoConstants", f"the text has constants, and there is no {beside.name} beside it", at=Loc(str(path)),
            hint="keep the text and its .npz together",
        )  # fmt: skip
    return read_arrays(beside)
