"""The generated pages are up to date."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from isa.documentation import PAGES
from isa.enf.documentation import ERRORS, SECTIONS
from isa.enf.file import file_format

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("name", "page"), PAGES.items())
def test_the_page_is_up_to_date(name: str, page: Callable[[], str]) -> None:
    assert (ROOT / f"docs/{name}.md").read_text(encoding="utf-8") == page(), "run make docs"


def test_the_sections_and_errors_of_the_enf_page_are_those_of_the_code() -> None:
    assert tuple(SECTIONS) == file_format().sections
    files = [*(ROOT / "isa/enf").glob("*.py"), ROOT / "isa/program.py"]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    assert set(re.findall(r'EnfError\(\s*"(\w+)"', source)) == set(ERRORS)


def test_the_readme_names_every_file() -> None:
    text = (ROOT / "isa/README.md").read_text(encoding="utf-8")
    for path in [*(ROOT / "isa").glob("*.py"), *(ROOT / "isa").glob("*.lark")]:
        assert path.name == "__init__.py" or f"`{path.name}`" in text, path.name
