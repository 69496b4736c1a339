"""Commands are imported when they are used, and the list of them says what they say."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result

from furc.cli.main import COMMANDS, cli

Furc = Callable[..., Result]
ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("numpy", "onnx", "onnxruntime", "rich", "plotly", "PIL", "yaml", "lark")


def modules_after(code: str) -> set[str]:
    """What is imported once some code has run."""
    words = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split())


def test_nothing_heavy_is_imported_for_the_list_of_commands() -> None:
    for code in (
        "import furc.cli.main",
        "from furc.cli.main import cli\ntry: cli(['--help'])\nexcept SystemExit: pass",
    ):
        found = modules_after(code)
        assert not found.intersection(HEAVY)
        assert not [name for name in found if name.startswith("furc.cli.commands.")]


def test_a_command_imports_no_other() -> None:
    found = modules_after("from furc.cli.main import cli\ntry: cli(['cache', '--help'])\nexcept SystemExit: pass")
    assert [name for name in found if name.startswith("furc.cli.commands.")] == ["furc.cli.commands.cache"]


def test_cycles_are_looked_for_seldom_and_not_when_all_is_given_back() -> None:
    code = (
        "import gc, sys\nfrom furc.cli.main import main\nfrom furc.garbage import YOUNG_OBJECTS\n"
        "sys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: pass\n"
        "print(gc.isenabled(), gc.get_threshold()[0] == YOUNG_OBJECTS, gc.get_freeze_count() > 1000)"
    )
    words = [sys.executable, "-c", code]
    printed = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert printed.splitlines()[-1] == "True True True"


def test_threads_of_blas_do_not_wait_busily_unless_a_user_says_so() -> None:
    code = "import os, sys\nfrom furc.cli.main import main\nsys.argv[1:] = ['--help']\n"
    code += "try: main()\nexcept SystemExit: pass\nprint(os.environ['OPENBLAS_THREAD_TIMEOUT'])"
    for said, kept in ({}, "4"), ({"OPENBLAS_THREAD_TIMEOUT": "20"}, "20"):
        env = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")} | said
        words = [sys.executable, "-c", code]
        printed = subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT, env=env).stdout
        assert printed.splitlines()[-1] == kept


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name: str) -> None:
    command = cli.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None and (command.name, command.short_help) == (name, COMMANDS[name].short_help)


def test_every_module_of_a_command_is_listed() -> None:
    modules = {f"furc.cli.commands.{p.stem}" for p in (ROOT / "furc/cli/commands").glob("*.py") if p.stem[0] != "_"}
    assert modules == {entry.module for entry in COMMANDS.values()}


def test_an_unknown_command(furc: Furc) -> None:
    assert "No such command 'compil'. Did you mean 'compile'?" in furc("compil", exits=2).stderr
    assert "Did you mean" not in furc("xyzzy", exits=2).stderr


def test_completion_of_a_command_imports_none() -> None:
    found = ShellComplete(cli, {}, "furc", "_FURC_COMPLETE").get_completions([], "comp")
    assert [item.value for item in found] == ["compile", "compare"]


def test_imports_inside_functions_give_a_reason() -> None:
    """On their line, or on the line of another import just before."""
    silent = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / "furc").rglob("*.py"))
        for line in local_imports(path.read_text(encoding="utf-8"))
    ]
    assert not silent, "\n".join(silent)


def local_imports(source: str) -> Iterator[int]:
    lines = source.splitlines()
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef):
            found = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            told = {n.lineno for n in found if "#" in lines[n.lineno - 1] or "#" in lines[n.lineno - 2]}
            yield from (n.lineno for n in found if not told.intersection((n.lineno, n.lineno - 1, n.lineno - 2)))


def test_ctrl_c_waits_until_modules_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnx's C++ ends the process where it comes in the middle."""
    imported: list[str] = []

    def slowly(name: str) -> ModuleType:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        imported.append(name)
        return import_module(name)

    monkeypatch.setattr("furc.cli.command.import_module", slowly)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        result = CliRunner().invoke(cli, ["passes"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert imported and result.exit_code == 1 and "Aborted!" in result.output
