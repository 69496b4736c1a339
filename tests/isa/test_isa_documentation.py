"""The generated pages are up to date."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from isa.documentation import PAGES
from isa.enf.documentation import ERRORS, SECTIONS
from isa.enf.file import file_format
from isa.layout import LayoutKind
from isa.npu import target
from isa.timing.formulas import ConvWork, conv_cycles

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


def test_what_wider_arrays_cost_is_what_the_page_of_performance_says() -> None:
    page = (
        (ROOT / "docs/performance.md").read_text("utf-8").split("## Larger machines that are slower")[1].split("\n\n")
    )
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in next(part for part in page if part.startswith("| input channels")).splitlines()
    )
    for channels, *told in rows:
        work = ConvWork(
            kind=LayoutKind.HCHWC, images=1, rows=8, width=40, channels=16, k=int(channels), kernel=(1, 1), stride_w=1,
            dilation_w=1, up=1, channels_per_group=16, last=True, first=True, lookup=False, opens=False, macs=0,
        )  # fmt: skip
        costs = [conv_cycles(work, replace(target("warboy"), mac_width=int(width))) for width in head[1:]]
        assert told == [f"{cost.mac:.0f} + {cost.fetch:.0f}" for cost in costs]
