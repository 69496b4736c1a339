"""Configuration and names made to do harm: refused at once, told in a line, harmless on a terminal."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import Result
from rich.console import Console

from furc.plain_yaml import PlainYamlError, read_yaml
from furc.report.tables import Column, Table, plain
from furc.report.terminal import drawn

Furc = Callable[..., Result]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = "use_program_loading: " + "[" * 5000 + "]" * 5000


@pytest.mark.parametrize("text", [BOMB, DEEP, "a: [" * 3000, "x: " + "y" * 70000, "a: 2020-99-99", "a: " + "9" * 5000])
def test_configuration_is_refused_quickly_and_shortly(furc: Furc, models: Path, text: str) -> None:
    Path("c.yaml").write_text(text)
    begin = time.process_time()
    results = [furc("compile", models / "int8.onnx", "-C", "c.yaml", exits=1)]
    if len(text) < 50000:
        results.append(furc("compile", models / "int8.onnx", "-c", text.replace(": ", "=", 1), exits=1))
    assert time.process_time() - begin < 2
    for result in results:
        assert result.stderr.startswith("error[") and "\n  hint: " in result.stderr
        assert len(result.stderr) < 500, result.stderr


def test_aliases_are_named(furc: Furc, models: Path) -> None:
    Path("c.yaml").write_text(BOMB)
    assert "anchors and aliases" in furc("compile", models / "int8.onnx", "-C", "c.yaml", exits=1).stderr


def test_plain_values_are_read() -> None:
    assert read_yaml("a: true\nb: [1, 2.5, x]\n") == {"a": True, "b": [1, 2.5, "x"]}
    for text in ("!!python/object:os.system x", "a: *b", "\x00"):
        with pytest.raises(PlainYamlError):
            read_yaml(text)


def test_what_is_given_twice_is_refused(furc: Furc, models: Path) -> None:
    """The last one had counted: a grid of two lines "batch:" was that of the second."""
    assert read_yaml("a: {b: 1, c: [{b: 2}, {b: 3}]}\nb: a\nd: b\n")
    for text in ("a: 1\nb: {a: 1}\na: 2\n", "{a: {b: 1, b: 2}}", "[1, {a: [], a: {}}]", "a: 1\n'a': 1\n"):
        with pytest.raises(PlainYamlError, match=r"'[ab]' is given twice"):
            read_yaml(text)
    twice = ("-c", "use_program_loading=true", "-c", "use_program_loading=false")
    said = furc("compile", models / "int8.onnx", *twice, exits=1).stderr
    assert "error[BadConfigValue]: use_program_loading is given twice" in said


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 5000 + "]" * 5000, "a" + ".a" * 5000 + " = 1", "x = 1\n" * 20000, "base = '" + "w" * 9000 + "'",
     "num_slices = '" + "w" * 9000 + "'\nbase = 'warboy'"],
)  # fmt: skip
def test_machines_are_refused_quickly_and_shortly(furc: Furc, models: Path, text: str) -> None:
    Path("m.toml").write_text(text)
    begin = time.process_time()
    result = furc("compile", models / "int8.onnx", "--npu-config", "m.toml", exits=1)
    assert time.process_time() - begin < 2
    assert result.stderr.startswith("error[") and len(result.stderr) < 1000, result.stderr


NAME = "evil\x1b]0;title\x07\x1b[31m\r\b[bold]name[/bold]"


def test_control_characters_in_names_never_reach_the_terminal(furc: Furc, models: Path) -> None:
    model = onnx.load(models / "int8.onnx")
    model.graph.name = NAME
    onnx.save(model, "evil.onnx")
    furc("compile", "evil.onnx", "-o", "evil.enf")
    commands = (
        ("profile", "evil.enf"), ("run", "evil.enf"), ("bench", "evil.enf", "-n", 1), ("info", "evil.enf"),
        ("disasm", "evil.enf"), ("compile", "evil.onnx", "--print-after", "set-batch"), ("compare", "evil.onnx"),
        ("diff", "evil.enf", "evil.enf"), ("litmus", "evil.onnx", "--skip-quantization"),
        ("profile", "evil.enf", "--format", "json"),
    )  # fmt: skip
    for words in commands:
        result = furc(*words)
        shown = result.stdout + result.stderr
        assert not [c for c in shown if not c.isprintable() and c not in "\n\t"], words
    assert json.loads(furc("profile", "evil.enf", "--format", "json").stdout)["model"] == NAME


def test_cells_lose_the_middle_of_endless_names() -> None:
    table = Table(title="x" * 5000, columns=(Column("a"),), rows=(("y" * 5000,), ("short",)))
    assert all(len(line) < 300 for line in plain(table).splitlines())


def test_titles_are_escaped_and_are_no_markup() -> None:
    table = Table(title=NAME, columns=(Column("a"),), rows=((NAME,),))
    assert "\x1b" not in plain(table) and "[bold]name[/bold]" in plain(table)
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(drawn(table))
    assert "\x1b" not in capture.get() and capture.get().count("[bold]name[/bold]") == 2


@pytest.mark.parametrize(
    "words",
    [["opt", "FILE"], ["asm", "FILE", "--check"], ["disasm", "FILE"], ["compile", "x.dfg"],
     ["diff", "x.json", "x.json"],
     ["compile", "MODEL", "--npu-config", "FILE"], ["compile", "MODEL", "-C", "FILE"], ["run", "FILE"],
     ["compile", "FILE"], ["quantize", "FILE", "-o", "q.onnx", "--random", "1"], ["info", "FILE"], ["profile", "FILE"],
     ["quantize", "FLOAT", "-o", "q.onnx", "--calibration-data", "FILE"], ["run", "ENF", "--input", "images=FILE"]],
    ids=" ".join,
)  # fmt: skip
def test_a_file_that_never_ends_is_refused(furc: Furc, models: Path, words: list[str]) -> None:
    """Not read until memory is full."""
    for name in ("x.dfg", "x.json"):
        Path(name).symlink_to("/dev/zero")
    files = {
        "FILE": "/dev/zero",
        "MODEL": models / "int8.onnx",
        "FLOAT": models / "float.onnx",
        "ENF": models / "model.enf",
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = furc(*(files.get(word, word) for word in words), exits=1)
    assert result.stderr.startswith("error[") and "MemoryError" not in result.stderr
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


@pytest.mark.parametrize(
    "words",
    [["profile", "pipe"], ["disasm", "pipe.enf"], ["compile", "pipe"], ["check", "pipe"], ["diff", "pipe", "pipe"]],
)
def test_a_pipe_without_a_writer_is_not_waited_for(furc: Furc, words: list[str]) -> None:
    os.mkfifo(words[1])
    assert "not a regular file" in furc(*words, exits=1).stderr
