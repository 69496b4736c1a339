"""Run cases in processes that may abort, hang or fill memory, and say what each of them came to.

A case is told by target, seed and number alone. It runs in a fork of this process, which holds no threads and no
sessions, in a directory of its own, with a limit on time and on memory beyond what it starts with.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, NoReturn


class Limits(NamedTuple):
    """When a case hangs. seconds: of the processor, for a busy machine is no hang; waiting: without any of the
    processor, for what waits without end; longest: in all, for what wakes up now and then."""

    seconds: float = 5.0
    waiting: float = 20.0
    longest: float = 300.0


LIMITS = Limits()
BYTES = 1 << 30
PREPARING = 300.0  # seconds for the seeds
DEFECTS = {
    "uncaught": "uncaught",
    "hang": f"hangs over {LIMITS.seconds:.0f} s",
    "memory": "over 1 GiB",
    "died": "died",
    "wrong": "wrong",
}
FLOORS = ("furc", "passes", "isa")


class Outcome(NamedTuple):
    """kind: ran, refused, or a key of DEFECTS. key: what defects are told apart by. text: for whoever mends it."""

    kind: str
    key: str = ""
    text: str = ""


@dataclass(slots=True)
class Report:
    """Of one target."""

    target: str
    seed: int
    cases: Counter[str] = field(default_factory=Counter)
    distinct: dict[str, int] = field(default_factory=dict)  # the number of its first case, by key
    seconds: float = 0.0

    def add(self, number: int, outcome: Outcome) -> bool:
        """Whether this is a defect not seen before."""
        self.cases[outcome.kind] += 1
        if outcome.kind not in DEFECTS or outcome.key in self.distinct:
            return False
        self.distinct[outcome.key] = number
        return True

    def __str__(self) -> str:
        total = sum(self.cases.values())
        parts = [f"{self.cases['refused']} refused", f"{self.cases['ran']} ran"]
        parts += [f"{self.cases[kind]} {word}" for kind, word in DEFECTS.items()]
        return f"{self.target}: seed {self.seed}, {total} cases in {self.seconds:.0f} s: {', '.join(parts)}"


def fuzz(
    target: Any, seed: int, seconds: float, jobs: int, found: Path | None, first: int = 0, most: int = 1 << 40,
    limits: Limits = LIMITS,
) -> Report:  # fmt: skip
    """Cases first, first + 1, ... until the time is over. found: where the first reproduction of each defect goes."""
    report, started = Report(target.name, seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        os.environ["XDG_CACHE_HOME"] = scratch
        seeds = _prepared(target, Path(scratch))
        running: dict[int, _Case] = {}
        number, end = first, first + most
        stop = time.monotonic() + seconds
        while running or (time.monotonic() < stop and number < end):
            while len(running) < jobs and time.monotonic() < stop and number < end:
                case = _Case(target, seeds, seed, number, Path(scratch) / str(number), limits)
                running[case.pipe] = case
                number += 1
            for case in _ended(running):
                outcome = case.outcome()
                if report.add(case.number, outcome) and found is not None:
                    case.keep(found, outcome)
                shutil.rmtree(case.folder, ignore_errors=True)
    report.seconds = time.monotonic() - started
    return report


def _prepared(target: Any, scratch: Path) -> Mapping[str, Any]:
    """Made in a process of its own, for they need sessions and those need threads."""
    folder = scratch / "seeds"
    child = _Child(
        folder, lambda: {k: {n: d.hex() for n, d in f.items()} for k, f in target.seeds().items()}, BYTES * 8
    )
    while not child.ready(PREPARING):
        raise RuntimeError(f"{target.name}: no seeds after {PREPARING} s")
    kind, value = child.result()
    if kind != "value":
        raise RuntimeError(f"{target.name}: no seeds: {kind} {value}")
    return {key: {name: bytes.fromhex(data) for name, data in files.items()} for key, files in value.items()}


class _Child:
    """A fork that sends back what `work` returns, or how it failed."""

    def __init__(self, folder: Path, work: Callable[[], Any], more_bytes: int = BYTES) -> None:
        self.folder = folder
        folder.mkdir()
        self.pipe, writer = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _be_child(folder, work, writer, more_bytes)
        os.close(writer)
        self.started = time.monotonic()
        self._data = b""

    def ready(self, seconds: float) -> bool:
        """True when it has ended, False when the time is over."""
        deadline = self.started + seconds
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.pipe], [], [], left)[0]:
                return False
            if self.read():
                return True

    def read(self) -> bool:
        """Take what has come; True at the end."""
        part = os.read(self.pipe, 1 << 20)
        self._data += part
        return not part

    def result(self) -> tuple[str, Any]:
        """Reap it."""
        os.close(self.pipe)
        _, status = os.waitpid(self.pid, 0)
        if self._data:
            kind, value = json.loads(self._data)
            return kind, value
        return "died", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"

    def worked(self) -> float:
        """Seconds of the processor so far: its own, those of its children and of those that have ended."""
        ticks = 0
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(words[2]) == self.pid:  # its group
                ticks += sum(map(int, words[11:15] if int(process) == self.pid else words[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def _be_child(folder: Path, work: Callable[[], Any], writer: int, more_bytes: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        log = os.open("stderr.txt", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        _limit(more_bytes)
        result: tuple[str, Any]
        try:
            result = "value", work()
        except MemoryError as error:
            result = "raised", ("memory", _place(error), traceback.format_exc())
        except Exception as error:
            result = "raised", (type(error).__name__, _place(error), _text(error))
        _send(writer, result)
    except MemoryError:
        _send(writer, ("raised", ("memory", "", "")))
    finally:
        os._exit(0)


def _send(writer: int, result: tuple[str, Any]) -> None:
    data = memoryview(json.dumps(result).encode())
    while data:
        data = data[os.write(writer, data) :]


def _limit(more_bytes: int) -> None:
    """Private memory beyond what the fork starts with."""
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[5]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_DATA, (held + more_bytes, held + more_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _place(error: BaseException) -> str:
    """The innermost function of ours that the exception came through."""
    own = [f for f in traceback.extract_tb(error.__traceback__) if _floor(f.filename)]
    return f"{_floor(own[-1].filename)}:{own[-1].name}" if own else ""


def _floor(filename: str) -> str:
    parts = Path(filename).parts
    at = max((i for i, part in enumerate(parts) if part in FLOORS), default=-1)
    return "/".join(parts[at:]) if at >= 0 and "tests" not in parts and "site-packages" not in parts else ""


def _text(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-20000:]


class _Case:
    """One case, running."""

    def __init__(
        self, target: Any, seeds: Mapping[str, Any], seed: int, number: int, folder: Path, limits: Limits
    ) -> None:  # fmt: skip
        self.target, self.number, self.folder, self._limits = target, number, folder, limits
        rng = Random(f"{target.name} {seed} {number}")

        def work() -> None:
            for name, data in target.case(seeds, rng).items():
                Path(name).write_bytes(data)
            os.mkdir("given")
            for path in Path().iterdir():
                if path.is_file() and path.name != "stderr.txt":
                    shutil.copy(path, "given")
            target.run()

        self._child = _Child(folder, work)
        self.pipe, self.started = self._child.pipe, self._child.started
        self._worked, self._moved = 0.0, self.started
        self.hung = False

    def read(self) -> bool:
        return self._child.read()

    def must_end(self) -> bool:
        """It has had its time: of the processor, or waiting for nothing."""
        now, limits = time.monotonic(), self._limits
        if now - self.started <= limits.seconds:
            return False
        worked = self._child.worked()
        if worked > self._worked:
            self._worked, self._moved = worked, now
        return worked > limits.seconds or now - self._moved > limits.waiting or now - self.started > limits.longest

    def expire(self) -> None:
        self.hung = True
        self._child.kill()

    def outcome(self) -> Outcome:
        kind, value = self._child.result()
        said = self._stderr()
        if self.hung:
            return Outcome("hang", f"hang {self.target.name}", said)
        if kind == "died":
            memory = "bad_alloc" in said or "MemoryError" in said
            return Outcome("memory" if memory else "died", f"{value} {said[:200]}", said)
        if kind == "value":
            return Outcome("ran")
        name, place, text = value
        if name == "Refused":
            refused_by_memory = "OutOfMemory" in text
            return Outcome("memory", f"memory {text[-300:]}", text) if refused_by_memory else Outcome("refused")
        if name == "memory":
            return Outcome("memory", f"memory {place}", text)
        if name == "Wrong":
            return Outcome("wrong", f"wrong {text.strip().splitlines()[-1][:60]}", text)
        return Outcome("uncaught", f"{name} {place}", text)

    def keep(self, found: Path, outcome: Outcome) -> None:
        """The files of the case and what came of it."""
        words = "".join(c if c.isalnum() else "-" for c in outcome.key)[:80].strip("-")
        target = found / f"{self.target.name}-{outcome.kind}-{words}"
        shutil.rmtree(target, ignore_errors=True)
        given = self.folder / "given"
        if given.is_dir():
            shutil.copytree(given, target)
        else:
            target.mkdir(parents=True)
        (target / "outcome.txt").write_text(f"{outcome.kind}: {outcome.key}\ncase {self.number}\n\n{outcome.text}")

    def _stderr(self) -> str:
        try:
            return (self.folder / "stderr.txt").read_text(errors="replace")[-4000:]
        except OSError:
            return ""


def _ended(running: dict[int, _Case]) -> Iterator[_Case]:
    """Those that have ended by now, or must."""
    readable, _, _ = select.select(list(running), [], [], 0.05)
    for pipe in list(running):
        case = running[pipe]
        if pipe in readable and case.read():
            yield running.pop(pipe)
        elif case.must_end():
            case.expire()
            yield running.pop(pipe)


def main() -> int:
    """The command line: make fuzz."""
    import argparse

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from targets import TARGETS

    parser = argparse.ArgumentParser(description="Fuzz furc; exit code 1 where anything is found.")
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--case", type=int, help="this one alone, by its number")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="where reproductions go")
    options = parser.parse_args()
    _import_everything()
    failed = False
    for name in options.target or TARGETS:
        alone = () if options.case is None else (options.case, 1)
        report = fuzz(TARGETS[name], options.seed, options.seconds, options.jobs, options.found, *alone)
        print(report, flush=True)
        for key, number in report.distinct.items():
            print(f"  case {number}: {key[:160]}", flush=True)
        failed = failed or bool(report.distinct)
    return int(failed)


def _import_everything() -> None:
    """Once, before the forks."""
    import furc
    import furc.cli.main

    for name in furc.__all__:
        getattr(furc, name)


if __name__ == "__main__":
    sys.exit(main())
