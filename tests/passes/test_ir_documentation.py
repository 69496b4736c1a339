"""docs/ir.md says what the code says. `pytest tests/passes --update-golden` writes its tables anew."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ir_documentation import PAGE, up_to_date

from passes.ir import lir_text
from passes.ir.op import REGISTRY
from passes.ir.text import parse, show

ROOT = Path(__file__).resolve().parents[2]


class Anything(dict[str, Any]):
    """Constants of the right shape for the example of the page."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> object:
        return None


def test_the_tables_of_the_page_are_up_to_date(update_golden: bool) -> None:
    page = PAGE.read_text(encoding="utf-8")
    if update_golden:
        page = up_to_date(page)
        PAGE.write_text(page, encoding="utf-8")
    assert page == up_to_date(page), "run pytest tests/passes --update-golden"


def test_every_op_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [mnemonic for _, mnemonic in REGISTRY if f"`{mnemonic}`" not in page]


def test_every_op_says_what_it_does() -> None:
    assert not [cls for cls in REGISTRY.values() if (cls.__doc__ or "").startswith(f"{cls.__name__}(")]


@pytest.mark.parametrize("page", ["docs/ir.md", "docs/numerics.md", "docs/reading.md", "passes/README.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_-]+/)*[a-z_]+(?:/|\.(?:py|lark|md)))`", text)
    folders = [ROOT, ROOT / "passes", (ROOT / page).parent]
    assert named and not [name for name in named if not any((folder / name).exists() for folder in folders)]


def test_the_example_text_of_the_page_parses() -> None:
    page = PAGE.read_text(encoding="utf-8")
    [example] = re.findall(r'^    dfg "digits" batch=1 \{\n(?:    .*\n)*?    \}\n', page, re.MULTILINE)
    text = "".join(line[4:] + "\n" for line in example.splitlines())
    assert show(parse(text, Anything())) == text


def test_the_example_of_lir_is_that_of_its_parser() -> None:
    text = r"^    lir boundary=.*?^    }\n    gir .*?^    }\n"
    [example] = re.findall(text, lir_text.__doc__ or "", re.DOTALL | re.MULTILINE)
    assert example in PAGE.read_text(encoding="utf-8")
