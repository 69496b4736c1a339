"""What documents say is run, parsed or looked up: code, command lines, lists of files, tables of functions."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from PIL import Image

import furc
from furc.cli.main import COMMANDS, cli
from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits
from isa import enf as enf_file

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:    )?\$? ?furc ([a-z].*)$", re.MULTILINE)
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)


def snippets() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        if page.name == "timing.md":  # prints the source of formulas, which run elsewhere
            continue
        for number, code in enumerate(PYTHON.findall(page.read_text(encoding="utf-8")), 1):
            yield f"{page.name}-{number}", code


def command_lines() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for line in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield page.name, line.partition("  #")[0].strip()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has: a float model.onnx, the same in INT8, a binary, some images."""
    made = tmp_path_factory.mktemp("reader")
    (made / "images").mkdir()
    for index, image in enumerate(digits.calibration_images()[:8]):
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(made / f"images/{index}.png")
    onnx.save(digits.model(), made / "model.onnx")
    samples = [image[None] for image in digits.calibration_images()[:8]]
    int8 = quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM"))
    onnx.save(int8, made / "model_int8.onnx")
    enf_file.save(furc.compile(int8), made / "model.enf")
    return made


@pytest.mark.parametrize("code", [code for _, code in snippets()], ids=[name for name, _ in snippets()])
def test_python_runs_as_written(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_command_lines_parse(page: str, line: str) -> None:
    name, *words = shlex.split(line)
    assert name in COMMANDS, f"{page}: furc {line}"
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    command.make_context(name, words)


def test_the_readme_has_code_and_commands() -> None:
    assert any(name.startswith("README") for name, _ in snippets())
    assert sum(page == "README.md" for page, _ in command_lines()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:furc|passes|isa|tests|benchmarks|docs)/[\w./-]+\.(?:py|md|toml|csv|lark))`", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists()]


def test_every_command_has_its_function_in_the_table() -> None:
    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `furc ([a-z-]+)` \| (.+) \|$", text, re.MULTILINE))
    assert list(rows) == list(COMMANDS)
    for place in re.findall(r"`([\w.]+)`", " ".join(rows.values())):
        module, _, name = place.rpartition(".")
        assert callable(getattr(import_module(module), name)), place


EXAMPLES = {
    "A command": "bench",
    "A kind of advice": "uint8_input",
    "A model of the zoo": "fcn",
    "A calibration method": "ENTROPY",
    "A detection head": "fastestdet",
    "An operator of the ONNX frontend": "Softplus",
    "An operator of the IR": "ReduceSum",
    "A pass": "order_turns",
    "An instruction": "AveragePool",
    "A target": "warboy-2pe",
}
ROOMS = {  # where files may mention an example; elsewhere it is used, not made
    "An operator of the IR": ("furc", "passes"),
    "A pass": ("passes",),
    "An instruction": ("isa",),
    "A target": ("isa",),
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_lists_of_files_are_complete(section: str) -> None:
    """Every file listed mentions the example, in its name or its text, and no other file of the library does."""
    sections = dict(SECTION.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
    example = EXAMPLES[section]
    assert f"Example: `{example}`." in sections[section]
    rooms = tuple(ROOMS.get(section, ("furc",)))
    lines = [line for line in sections[section].splitlines() if line.startswith("- ")]
    listed = {name for line in lines for name in re.findall(r"`([\w./-]+)`", line.partition(":")[0])}
    word = re.compile(rf"(?<![A-Za-z]){example}(?![a-z])")
    mentions = {
        str(path.relative_to(ROOT))
        for room in rooms
        for path in (p for suffix in ("py", "toml") for p in (ROOT / room).rglob(f"*.{suffix}"))
        if path.stem == example or word.search(path.read_text(encoding="utf-8"))
    }
    assert mentions == {name for name in listed if name.startswith(rooms)}
    for name in listed:
        assert (ROOT / name).stem == example or word.search((ROOT / name).read_text(encoding="utf-8")), name


def test_make_docs_makes_every_page_that_is_generated() -> None:
    rule = re.search(r"^docs:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert rule is not None
    generated = [p for p in PAGES if re.search(r"(?i)generated by [`\w]", p.read_text(encoding="utf-8"))]
    assert {page.name for page in generated} >= {"isa.md", "timing.md", "ir.md"}
    for page in generated:
        for command in re.findall(r"(?i)generated by `?(?:python )?([^`>]+?)(?: >|`| -->)", page.read_text("utf-8")):
            assert command in rule[1] and f"docs/{page.name}" in rule[1], f"{page.name}: {command}"
