"""Imports only go down: furc reads passes and isa, passes read isa, isa reads nothing of ours."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("isa", "passes", "furc")


def imports(source: str, package: str) -> Iterator[tuple[str, int]]:
    """Top-level package and line of every import, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (package if node.level else (node.module or "").split(".")[0]), node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("__import__", "importlib.import_module"):
            name = node.args[0] if node.args else None
            if isinstance(name, ast.Constant):
                yield str(name.value).split(".")[0], node.lineno


@pytest.mark.parametrize("level", range(len(FLOORS)))
def test_no_upward_imports(level: int) -> None:
    floor, above = FLOORS[level], (*FLOORS[level + 1 :], "tests", "benchmarks")
    up = [
        f"{path.relative_to(ROOT)}:{line} imports {top}"
        for path in sorted((ROOT / floor).rglob("*.py"))
        for top, line in imports(path.read_text(encoding="utf-8"), floor)
        if top in above
    ]
    assert not up, "\n".join(up)


def test_no_modules_of_the_library_import_each_other_in_a_circle() -> None:
    """Imports for types alone count too: what knows each other belongs into one file, or one of them below."""
    names = {module_name(path): path for path in (ROOT / "furc").rglob("*.py")}
    graph: nx.DiGraph[str] = nx.DiGraph()
    for name, path in names.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                graph.add_edges_from((name, alias.name) for alias in node.names if alias.name in names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = [f"{node.module}.{alias.name}" for alias in node.names]
                graph.add_edges_from((name, i if i in names else node.module) for i in inner)
    circles = [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1]
    assert not circles, "\n".join(map(" <-> ".join, circles))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_an_import_inside_a_function_is_seen() -> None:
    source = "def f():\n    from furc.report import x\n    import passes.ir\n"
    assert list(imports(source, "isa")) == [("furc", 2), ("passes", 3)]


def test_package_initializers_of_isa_hold_no_logic() -> None:
    for path in (ROOT / "isa").rglob("__init__.py"):
        kinds = {type(node) for node in ast.parse(path.read_text(encoding="utf-8")).body}
        assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, ast.Assign}, path
