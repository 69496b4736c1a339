"""What documents say is run, parsed or looked up: code, command lines, lists of files, tables of functions."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from PIL import Image

import furc
from furc.advise.advice import KINDS
from furc.cli.main import COMMANDS, cli
from furc.evaluate.heads.catalog import HEADS
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_model
from furc.sweep.grid_file import KEYS, read_grid
from furc.zoo import digits
from isa import enf as enf_file
from isa.npu import parse_config, target

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


def test_options_that_a_page_names_are_there() -> None:
    """Those of `furc COMMAND ...` of that command, of `python -m MODULE ...` in its source, others of any command."""
    commands = {name: cli.get_command(click.Context(cli), name) or cli for name in COMMANDS}
    of = {name: {o for p in c.params for o in (*p.opts, *p.secondary_opts)} for name, c in commands.items()}
    everywhere = {"--help", "--version", *set().union(*of.values())}
    for page in (*PAGES, ROOT / "CHANGELOG.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for said in (*re.findall(r"`([^`]+)`", text), *re.findall(r"^    (python -m .*)$", text, re.MULTILINE)):
            options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", said))
            module, command = re.match(r"python -m\s+([\w.]+)", said), re.match(r"furc ([a-z-]+)", said)
            if module is not None:
                source = source_of(module[1])
                assert source and not {o for o in options if f'"{o}"' not in source}, f"{page.name}: {said}"
            elif command is not None and command[1] in of:
                assert options <= {"--help", *of[command[1]]}, f"{page.name}: {said}"
            elif not re.search(r"python |pytest|valgrind", said) and said not in OPTIONS_OF_BENCHMARKS:
                assert options <= everywhere, f"{page.name}: {said}"


OPTIONS_OF_BENCHMARKS = ("--on onnxruntime",)  # docs/accuracy.md, below the command


def source_of(module: str) -> str:
    """Of a module, or of all files of a package."""
    path = ROOT / module.replace(".", "/")
    files = path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return "".join(file.read_text("utf-8") for file in files)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8")):
        name, _, heading = link.partition("#")
        if not name.startswith("http"):
            target = page.parent / name if name else page
            assert target.exists(), link
            titles = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE) if heading else []
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert not heading or heading in anchors, link


def names_in(section: str, column: int = 1) -> list[str]:
    """What the tables of a section of docs/commands.md name in a column."""
    [text] = [s for name, s in SECTION.findall((ROOT / "docs/commands.md").read_text("utf-8")) if name == section]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([\w-]+)`", row[column])]


def test_the_tables_of_a_profile_name_every_key(folder: Path) -> None:
    profile = json.loads(json.dumps(furc.profile(furc.load(folder / "model.enf")).to_json()))
    keys, named = list(profile), names_in("profile")
    assert set(named[: named.index("name")]) == set(keys)
    of_operators = set().union(*profile["operators"])
    said = set(named[named.index("name") :]) | {"tensor"}  # which stands in the text of a row
    assert said == of_operators


def test_tables_of_commands_name_every_kind_of_advice_and_every_head() -> None:
    assert set(names_in("advise")) == {kind.KIND for kind in KINDS}
    assert [name for name in names_in("eval") if not name.startswith("-")] == list(HEADS)
    rows = (ROOT / "docs/commands.md").read_text("utf-8").partition("**Files.**")[0]
    assert set(re.findall(r"`furc ([a-z-]+)", rows)) == set(COMMANDS) - {"--help"}


def test_the_sweep_that_is_written_down_is_read(tmp_path: Path) -> None:
    text = (ROOT / "docs/commands.md").read_text("utf-8")
    [grid] = re.findall(r"^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "sweep.yaml").write_text(grid)
    written = read_grid(tmp_path / "sweep.yaml")
    assert [model.name for model in written.models] == ["a.onnx", "b.onnx"] and written.grid.batches == (1, 4)
    others = re.findall(r"`(\w+)`", text.partition("```yaml")[2].partition("too; an option")[0].partition("```\n")[2])
    assert {*re.findall(r"^(\w+):", grid, re.MULTILINE), *others} == set(KEYS)


def test_the_machine_that_is_written_down_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs/commands.md").read_text("utf-8")
    [text] = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    found, base = parse_config(text, "what-if.toml"), target("warboy")
    changed = {"name": found.name, "num_slices": 32, "dram_bytes_per_second": 132_000_000_000, "mac_width": 64}
    assert found == replace(base, **changed) and found.name != base.name  # type: ignore[arg-type]


def test_the_page_of_the_quantizer_names_its_errors() -> None:
    said = (ROOT / "docs/quantizer.md").read_text("utf-8").partition("QuantizeError: ")[2].partition(". RunError")[0]
    assert sorted(re.findall(r"\w+", said)) == sorted(made_with_name("QuantizeError"))


def test_the_page_of_the_quantizer_names_its_warnings_and_methods() -> None:
    text = (ROOT / "docs/quantizer.md").read_text("utf-8")
    table, _, signs = text.partition("| warning | when |")[2].partition("looks for signs\ninstead:")
    rows = re.findall(r"^\| ([A-Z]\w+) \|", table, re.MULTILINE)
    named = re.findall(r"\b[A-Z]\w+(?= \()", signs.partition("##")[0])
    assert {*rows, *named} == made_with_name("LintWarning")
    methods = re.findall(r"^\| (\w+) \|", text.partition("## Methods")[2].partition("\n\nauto tries")[0], re.MULTILINE)
    assert methods == [*dict.fromkeys(str(m).rpartition("_")[0] for m in CalibrationMethod), "weighted", "auto"]


def made_with_name(kind: str) -> set[str]:
    """The names that errors or warnings of a kind are made with."""
    return {
        str(node.args[0].value)
        for path in (ROOT / "furc").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind
        and node.args and isinstance(node.args[0], ast.Constant)
    }  # fmt: skip


def test_the_readme_has_code_and_commands() -> None:
    assert any(name.startswith("README") for name, _ in snippets())
    assert sum(page == "README.md" for page, _ in command_lines()) >= 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    named = re.findall(
        r"`((?:furc|passes|isa|tests|benchmarks|docs)/[\w./-]+\.(?:py|md|toml|csv|lark))`", page.read_text()
    )
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("floor", ["isa", "passes", "furc"])
def test_the_page_of_a_floor_names_every_file_and_folder_in_it(floor: str) -> None:
    page = (ROOT / floor / "README.md").read_text(encoding="utf-8")
    inside = [path for path in (ROOT / floor).iterdir() if path.suffix in ("", ".py") and path.name[0] not in "_."]
    assert not [path.name for path in inside if (path.name if path.suffix else f"{path.name}/") not in page]


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
