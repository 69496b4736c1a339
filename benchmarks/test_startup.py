"""How long one waits for help: `pytest benchmarks/test_startup.py`. The yardstick is importing click, the library."""

from __future__ import annotations

import subprocess
import sys
import time

ROUNDS = 7
HELP_PER_CLICK = 4.0
COMMAND_HELP_PER_CLICK = 25.0  # a command imports what it works with


def _seconds(*words: str) -> float:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return min(times)


def test_help() -> None:
    assert _seconds("-m", "furc", "--help") <= HELP_PER_CLICK * _seconds("-c", "import click")


def test_help_of_a_command() -> None:
    assert _seconds("-m", "furc", "compile", "--help") <= COMMAND_HELP_PER_CLICK * _seconds("-c", "import click")
