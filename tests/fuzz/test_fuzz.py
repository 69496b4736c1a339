"""Some seconds of every fuzzer, with a seed that no run had before; `make fuzz` takes ten minutes for each.

A failure says its seed and the number of its case, which repeat it; FUZZ_SEED and FUZZ_SECONDS choose others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TARGETS = ("enf", "onnx", "float", "calibrated", "tflite", "ir", "asm", "toml", "yaml", "labels", "data", "graphs")
KNOWN = {line for line in (HERE / "known.txt").read_text().splitlines() if line and not line.startswith("#")}


def fuzz(target: str, seed: int, *options: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(HERE / "harness.py"), target, "--seed", str(seed), *options]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def without_file(line: str) -> str:
    """What known.txt has of a line such as `  case 7: ValueError passes/ir/text.py:parse`: files are renamed."""
    return re.sub(r" \S+\.py:", " ", line.split(": ", 1)[1])


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_new_is_found(target: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("FUZZ_SEED", 0)) or time.time_ns() % 1_000_000_000
    result = fuzz(
        target, seed, "--seconds", os.environ.get("FUZZ_SECONDS", "4"), "--found", str(tmp_path), "--jobs", "1"
    )
    again = f"again: python tests/fuzz/harness.py {target} --seed {seed} --case N"
    assert result.stdout.startswith(f"{target}: seed {seed}, "), "\n".join([again, result.stdout, result.stderr])
    figures, *found = result.stdout.splitlines()
    new = [line for line in found if without_file(line) not in KNOWN]
    assert not new, "\n".join([figures, *new, again])


def test_a_case_follows_from_its_seed_and_number(tmp_path: Path) -> None:
    sys.path.append(str(HERE))
    from random import Random

    from mutations import mutated_bytes, mutated_text

    for _ in range(50):
        assert mutated_bytes(bytes(100), Random("a")) == mutated_bytes(bytes(100), Random("a"))
        assert mutated_text("x = 1\n" * 9, Random("b")) == mutated_text("x = 1\n" * 9, Random("b"))


SCRIPT = """
import os, sys, time
sys.path[:0] = sys.argv[1:2]
from harness import Limits, fuzz
from pathlib import Path
from targets import Refused, Target, Wrong

def run():
    match int(Path("n").read_text()) % 7:
        case 0: raise Refused("no")
        case 1: os.abort()
        case 2: time.sleep(60)
        case 3: bytearray(8 << 30)
        case 4: raise Wrong("other numbers")
        case 5: 1 / 0
        case 6: compute_in_a_child()

def compute_in_a_child():
    child = os.fork()
    while not child:
        pass
    os.waitpid(child, 0)

def case(seeds, rng):
    return {"n": seeds["number"]["n"]}

total = []
for number in range(7):
    seed = {"number": {"n": str(number).encode()}}
    target, limits = Target("t", lambda: seed, case, run), Limits(seconds=1, waiting=5)
    report = fuzz(target, 1, 60, 1, Path(sys.argv[2]), most=1, limits=limits)
    total += [kind for kind, count in report.cases.items() if count]
print(*total)
"""


def test_aborts_hangs_and_bombs_are_seen_and_survived(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(HERE), str(tmp_path / "found")]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["refused", "died", "hang", "memory", "wrong", "uncaught", "hang"], result.stderr
    kept = sorted(path.name.split("-")[1] for path in (tmp_path / "found").iterdir())
    assert kept == ["died", "hang", "memory", "uncaught", "wrong"]
    assert all((path / "n").is_file() and (path / "outcome.txt").is_file() for path in (tmp_path / "found").iterdir())
