"""Golden tests: tests/golden/<pass>/<case>.<level> starts with its command, <case>.<level>.expect holds what it prints.

The command is run in process. Constants are made from their names, so that a text is all there is of a graph; every
pass is executed before and behind, so that an expected text is also a right one. `--update-golden` writes .expect.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from graph_builder import random_inputs

import passes
from isa.errors import NOWHERE, FurcError
from isa.npu import load_config, target
from passes.execute import outputs
from passes.ir.graph import Graph
from passes.ir.levels import verify
from passes.ir.lir import Program
from passes.ir.lir_text import show_program
from passes.ir.op import Array
from passes.ir.text import parse, parse_type, show
from passes.manager import run_pass
from passes.options import BEST, VENDOR, CompileOptions
from passes.pipeline import LIR, PASSES, STAGES, lower
from passes.verify import VerifyingListener

ROOT = Path(__file__).resolve().parents[1] / "golden"
LEVELS = (".dfg", ".ldfg", ".cdfg", ".gir")
CASES = sorted(path for path in ROOT.rglob("*") if path.suffix in LEVELS)
CONSTANT = re.compile(r"const %(?P<name>\S+) : (?P<type>[^@\n]+?(?: @\S+)?)$", re.MULTILINE)


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", CASES, ids=ids)
def test_golden(path: Path, update_golden: bool) -> None:
    expect, got = path.with_name(f"{path.name}.expect"), run(path)
    if update_golden:
        expect.write_text(got, encoding="utf-8")
    wanted = expect.read_text(encoding="utf-8") if expect.exists() else ""
    difference = difflib.unified_diff(wanted.splitlines(), got.splitlines(), "expected", "got", lineterm="")
    assert got == wanted, "\n".join(difference)


def test_every_expectation_has_its_input() -> None:
    inputs = {f"{path.name}.expect" for path in CASES}
    assert not [path for path in ROOT.rglob("*.expect") if path.name not in inputs]


def test_every_pass_has_goldens() -> None:
    graph_passes = {each.name for stage in STAGES if stage.target != LIR for each in stage.passes}
    assert graph_passes <= {path.parent.name for path in CASES}


@pytest.mark.parametrize("name", [each.name for stage in STAGES if stage.target != LIR for each in stage.passes])
def test_the_example_of_the_docstring_is_true(name: str) -> None:
    """Each line of its before and after stands in tests/golden/<name>/docstring; `...` stands for anything."""
    doc = importlib.import_module(PASSES[name].run.__module__).__doc__ or ""
    example = re.search(r"^before:\n(?P<before>(?:    .*\n)+)after[^\n]*:\n(?P<after>(?:    .*\n)+)", doc, re.MULTILINE)
    assert example is not None or "unchanged" in doc, "no example"
    if example is None:
        return
    [path] = (path for path in CASES if path.parent.name == name and path.stem == "docstring")
    before, after = path.read_text(encoding="utf-8"), path.with_name(f"{path.name}.expect").read_text(encoding="utf-8")
    for part, text in ((example["before"], before), (example["after"], after)):
        for line in part.splitlines():
            pattern = ".*".join(re.escape(piece) for piece in line.strip().split("..."))
            assert re.search(rf"^ *{pattern}", text, re.MULTILINE), f"{line.strip()}\nis not in\n{text}"


ERRORS_WITHOUT_TEXT = {  # name -> where it is tested instead
    "HostOperators": "tests/furc/frontend/test_frontend_host.py: the model of a call is in no text",
    "PassChangedResult": "test_verify.py",
    "MoveOutsideSource": "test_execute.py",
    "MissingInput": "tests/passes, of the dfg executor",
    "WrongInput": "tests/passes, of the dfg executor",
}


def test_every_error_of_the_passes_has_a_golden() -> None:
    raised: set[str] = set()
    for path in Path(passes.__file__).parent.rglob("*.py"):
        raised |= set(re.findall(r'(?:Source|Lower|Verify|Run)Error\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    shown = {
        m for path in ROOT.rglob("*.expect") for m in re.findall(r"^error\[(\w+)\]", path.read_text(), re.MULTILINE)
    }
    assert raised - shown == set(ERRORS_WITHOUT_TEXT)


# --- running a command ---------------------------------------------------------------------------------------


def run(path: Path) -> str:
    """What the command of a file prints: the result, or the error and its exit code."""
    text = path.read_text(encoding="utf-8")
    try:
        return command(text.splitlines()[0], text, path)
    except FurcError as error:
        return f"{error}\nexit 1\n"


def command(line: str, text: str, path: Path) -> str:
    """`// run: furc opt --pass NAME... %s` or `// run: furc compile --target-ir LEVEL %s`."""
    words = shlex.split(line.removeprefix("// run: "))
    assert words[:1] == ["furc"] and words[-1] == "%s", f"{path}: the first line is no command"
    options = options_of(words[2:-1], path)
    graph = parse(text, Constants(text), path.name)
    verify(graph)
    npu = load_config(path.parent / options.npu_config) if options.npu_config else target(options.target_npu)
    asked = CompileOptions(
        npu=npu, batch=options.batch or graph.batch, use_program_loading="use_program_loading=true" in options.config,
        schedule=BEST if f"schedule={BEST}" in options.config else VENDOR,
    ).with_liberties()  # fmt: skip
    if words[1] == "opt":
        return show(optimized(graph, options.passes, asked))
    program = lower(graph, asked)
    assert isinstance(program, Program)
    return show_program(program)


def options_of(words: list[str], path: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--pass", dest="passes", action="append", default=[], choices=PASSES)
    parser.add_argument("-b", dest="batch", type=int, default=0)
    parser.add_argument("-c", dest="config", action="append", default=[])
    parser.add_argument("--target-npu", default="warboy")
    parser.add_argument("--npu-config")
    parser.add_argument("--target-ir", choices=["lir"])
    return parser.parse_args(words)


def optimized(graph: Graph, passes: list[str], options: CompileOptions) -> Graph:
    """Run passes by name, each verified and executed."""
    listener = VerifyingListener(random_inputs(graph), options)
    if passes:
        listener.take(graph)
    for name in passes:
        made = run_pass(PASSES[name], graph, options, listener)
        assert isinstance(made, Graph)
        graph = made
    return graph


class Constants(dict[str, Array]):
    """What the constants of a text hold: drawn from a generator seeded by the name."""

    def __init__(self, text: str) -> None:
        super().__init__(self._made(text))

    def _made(self, text: str) -> Iterator[tuple[str, Array]]:
        for match in CONSTANT.finditer(text):
            type = parse_type(match["type"], NOWHERE)
            rng = np.random.default_rng(zlib.crc32(match["name"].encode()))
            if type.place is not None and type.rank == 1:  # packed weights: random bytes would be absurd multipliers
                low, high = 0, 1
            else:
                low, high = (-128, 128) if type.dtype == "i8" else (-500, 500)
            array = (
                rng.uniform(0.0005, 0.002, type.shape) if type.dtype == "f32" else rng.integers(low, high, type.shape)
            )
            yield match["name"], array.astype(type.dtype.numpy)


def test_outputs_of_a_text_are_the_same_every_time() -> None:
    text = 'dfg "t" batch=1 {\n  const %table : i8[256]\n  in %x : i8[1,1,1,4] q(1.0,0)\n'
    text += "  %y = table(x=%x, table=%table) : i8[1,1,1,4] q(1.0,0)\n  out %y\n}\n"
    graphs = [parse(text, Constants(text)) for _ in range(2)]
    first, second = (outputs(graph, random_inputs(graph), target("warboy")) for graph in graphs)
    assert np.array_equal(first, second)
