"""docs/reading.md names what exists, and is an hour."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LINES = 1200
NAMED = re.compile(r"`([a-z_/]+\.py):([\w.]+)`")


def lines_of(file: str, name: str) -> int:
    """Lines of a function, a class, a method of one or an assignment at the top of a file."""
    body: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    for part in name.split("."):
        found = next((node for node in body if part in _names(node)), None)
        assert found is not None, f"{file} has no {name}"
        body = found.body if isinstance(found, ast.ClassDef) else []
    assert found is not None and found.end_lineno is not None
    return found.end_lineno - found.lineno + 1


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_the_tour_names_what_exists_and_is_an_hour() -> None:
    page = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
    named = NAMED.findall(page)
    assert len(named) > 20
    lines = {f"{file}:{name}": lines_of(file, name) for file, name in named}
    assert sum(lines.values()) <= MOST_LINES, lines
