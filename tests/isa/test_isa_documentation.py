"""The generated pages are up to date, and what they say about time is what the clock uses."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isa_programs import one_instruction

from isa import enf_container
from isa.documentation import FORMULAS, isa_page, timing_page
from isa.enf import MAGIC, VERSION, Enf, _format
from isa.instructions import TABLE, Instruction
from isa.layout import LayoutKind, Window
from isa.npu import NpuConfig, target
from isa.operands import DramRange, DramWindow
from isa.timing.cost import cost, dram_run, elements_per_slice

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("overhead", "mac", "fetch", "vector", "transfer")


@pytest.mark.parametrize(
    ("page", "path", "command"),
    [
        (isa_page, "docs/isa.md", "python -m isa.documentation > docs/isa.md"),
        (timing_page, "docs/timing.md", "python -m isa.documentation timing > docs/timing.md"),
    ],
)
def test_the_page_is_up_to_date(page: Callable[[], str], path: str, command: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == page(), f"run {command}"


def test_every_instruction_has_a_formula() -> None:
    assert set(FORMULAS) == {spec.mnemonic for spec in TABLE}


def evaluate(insn: Instruction, npu: NpuConfig) -> dict[str, float]:
    """Every name that the formula of an instruction defines."""
    names: dict[str, float] = {f.name: getattr(npu, f.name) for f in fields(npu)} | _quantities(insn)
    names["dram_bytes_per_cycle"] = npu.dram_bytes_per_second / npu.clock_hz
    functions = {"min": min, "max": max, "ceil": lambda a, b: math.ceil(a / b)}
    for line in FORMULAS[insn.mnemonic]:
        name, expression = line.split(" = ", 1)
        names[name] = eval(expression, functions, names)
    return names


def _quantities(insn: Instruction) -> dict[str, float]:
    """What the page says comes from the instruction."""
    given_ = dict(zip((o.name for o in insn.spec.operands), insn.values, strict=True))
    found: dict[str, float] = {name: value for name, value in given_.items() if isinstance(value, int)}
    y, x = given_.get("y"), given_.get("x")
    if isinstance(y, Window):
        owners = [h // y.layout.rows(y.place.shape.h) for h in range(y.box.h0, y.box.h0 + y.box.h)]
        rows = max(owners.count(owner) for owner in owners)
        found |= {"images": y.box.n, "rows": rows, "width": y.shape.w, "elements": elements_per_slice(y)}
        found["group_channels"] = max(1, y.box.c // int(found.get("groups", 1)))
        if isinstance(x, Window):
            found |= {"hchcw": x.layout.kind is LayoutKind.HCHCW, "same_rows": x.layout.ho == y.layout.ho}
    for value in given_.values():
        if isinstance(value, DramRange):
            found |= {"total": value.bytes, "run": value.bytes}
        if isinstance(value, DramWindow):
            box = value.box.shape(value.shape.w)
            found |= {"total": box.elements, "run": dram_run(value.order, value.shape, box)}
    return found


@settings(max_examples=300, deadline=None)
@given(one_instruction(), st.sampled_from(["warboy", "warboy-2pe"]))
def test_the_formulas_are_those_of_the_code(insn: Instruction, name: str) -> None:
    spent = cost(insn, target(name))
    names = evaluate(insn, target(name))
    for part in PARTS:
        assert getattr(spent, part) == pytest.approx(names.get(part, 0.0)), part
    busy = max(names.get(part, 0.0) for part in PARTS[1:])
    assert spent.cycles == pytest.approx(names["overhead"] + busy)


def test_the_words_in_the_enf_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/enf.md").read_text(encoding="utf-8")
    form = _format()
    assert f"| 8..11 | u32 | version, {VERSION}. " in text and MAGIC.rstrip(b"\0").decode() in text
    assert f"| 12..15 | u32 | bytes of the header, {form.header_bytes} |" in text
    assert f"first multiple of {enf_container.SECTION_ALIGNMENT} behind" in text
    for number, section in enumerate(form.sections):
        assert f"| {number} | {section} | " in text
    for field in fields(Enf):
        assert f"`{field.name}`" in text or f"| {field.name} |" in text, field.name


def test_the_errors_of_the_enf_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/enf.md").read_text(encoding="utf-8")
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "isa").glob("enf*.py"))
    raised = set(re.findall(r'EnfError\(\s*"(\w+)"', source))
    assert raised and raised == set(re.findall(r"^\| `(\w+)` \| ", text.split("## Errors")[1], re.MULTILINE))


def test_the_readme_names_every_file() -> None:
    text = (ROOT / "isa/README.md").read_text(encoding="utf-8")
    for path in [*(ROOT / "isa").glob("*.py"), *(ROOT / "isa").glob("*.lark")]:
        assert path.name == "__init__.py" or f"`{path.name}`" in text, path.name
