"""Inside the floors: a level of the compiler imports what all share and itself, and nothing imports in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("isa", "passes", "furc")
LEVELS = ("dfg", "ldfg", "cdfg", "gir", "lir", "enf")
SHARED = ("ir", "ops", "analysis", "options")
QUANTIZER = ("grids", "optimize", "observe", "sensitivity", "ranges", "write", "channels", "correct", "noise")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, *, everywhere: bool = True) -> Iterator[str]:
    """Modules of ours that a file imports; everywhere: those inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = ast.walk(tree) if everywhere else iter(tree.body)
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FLOORS:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in FLOORS)


def strangers(folder: str, house: str, allowed: tuple[str, ...]) -> list[str]:
    """Imports by the files of a folder from other rooms of a house, such as `passes`, than the allowed ones."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name in imported(path)
        if name.startswith(f"{house}.") and name.removeprefix(f"{house}.").split(".")[0] not in allowed
    ]


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_imports_what_all_share_and_itself(level: str) -> None:
    assert not strangers(f"passes/{level}", "passes", (*SHARED, level))


@pytest.mark.parametrize(
    ("room", "allowed"),
    [("ir", ("ir", "ops")), ("analysis", ("ir", "ops", "analysis")), ("ops", ("ir", "ops", "analysis"))],
)
def test_analyses_and_operators_know_no_pass(room: str, allowed: tuple[str, ...]) -> None:
    assert not strangers(f"passes/{room}", "passes", allowed)


@pytest.mark.parametrize("room", QUANTIZER)
def test_a_room_of_the_quantizer_stands_on_those_before_it(room: str) -> None:
    before = QUANTIZER[: QUANTIZER.index(room) + 1]
    assert not strangers(f"furc/quantizer/{room}", "furc.quantizer", (*before, "options"))


def test_the_quantizer_says_which_rooms_it_has() -> None:
    page = (ROOT / "furc/quantizer/README.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE)
    assert told == [*QUANTIZER, "reports"]
    assert set(told) == {path.parent.name for path in (ROOT / "furc/quantizer").glob("*/__init__.py")}


def test_nothing_imports_in_a_circle() -> None:
    """Imports when a module is loaded; a package is its __init__."""
    files = {module_of(path): path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for module, path in files.items():
        named = set(imported(path, everywhere=False))
        packages = {name.rpartition(".")[0] for name in named if name in files}  # where only a module of it is taken
        targets = {name for name in named if name in files and name != module} - (packages & _packages(files))
        graph.add_edges_from((module, target) for target in targets)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert not circles, circles


def _packages(files: dict[str, Path]) -> set[str]:
    return {module for module, path in files.items() if path.name == "__init__.py"}


def test_an_import_is_seen_by_module_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("from passes.ir import graph\ndef f():\n    import isa.npu\n")
    assert list(imported(file)) == ["passes.ir.graph", "passes.ir", "isa.npu"]
    assert "isa.npu" not in list(imported(file, everywhere=False))
