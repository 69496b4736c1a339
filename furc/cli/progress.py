"""The vendor's six steps of a compile on stderr, with their times, and a spinner where a terminal shows one."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from furc.cli.display import on_terminal, say
from isa.errors import counted
from passes.ir.graph import Graph
from passes.manager import IR, Listener
from passes.pipeline import STAGES

if TYPE_CHECKING:
    from rich.status import Status

STEPS = ("onnx to dfg", "dfg to ldfg", "ldfg to cdfg", "cdfg to gir", "gir to lir", "lir to enf")
TITLES = {"fuse-tiles": "Splitting graph", "split-operators": "Splitting graph", "to-lowlevel": "Lowering graph"}
OTHERWISE = "Optimizing graph"  # every other pass of a step with sub-steps


class StepReporter(Listener, AbstractContextManager["StepReporter"]):
    """Prints a step when it is done, and its passes with `verbose`. first: what the first step is called.

    Where several plans are compiled, each step is printed once, with the time that it took in all of them.
    """

    def __init__(self, first: str = STEPS[0], *, verbose: bool = False) -> None:
        self.first, self.verbose = first, verbose
        self._start = self._begin = time.perf_counter()
        self._read = False
        self._current = ""
        self._shown: set[str] = set()
        self._status: Status | None = None
        self._spent: dict[str, float] = {}  # of earlier plans, by step
        self._quiet = ""  # which plan it is, where it is not the last one

    def planned(self, index: int, count: int) -> None:
        self._quiet = f"plan {index + 1} of {count}: " if index + 1 < count else ""

    def reading(self) -> None:
        """The model is being read: the first step has begun. Its line comes with the passes, when the file is good."""
        self._begin, self._read = time.perf_counter(), True
        self._spin(f"[1/{len(STEPS)}] Compiling from {self.first}")

    def started(self, stage: str) -> None:
        if not self._read:
            self._begin = time.perf_counter()
        self._current, self._read, self._shown = stage, False, set()
        if self._quiet:
            self._spin(f"{self._quiet}{self._title(stage)}")
            return
        self._line(f"[{STEPS.index(stage) + 1}/{len(STEPS)}] Compiling from {self._title(stage)}")

    def running(self, name: str) -> None:
        titles = _titles(self._current)
        title = TITLES.get(name, OTHERWISE)
        if title in titles and title not in self._shown and not self._quiet:
            self._shown.add(title)
            self._line(f"  [{titles.index(title) + 1}/{len(titles)}] {title}")

    def passed(self, name: str, result: IR, seconds: float) -> None:
        if self.verbose and not self._quiet:
            self._line(f"    {name}: {seconds:.3f}s, {_size(result)}")

    def finished(self, stage: str, seconds: float) -> None:
        self._stop()
        spent = time.perf_counter() - self._begin + self._spent.get(stage, 0.0)
        if self._quiet:
            self._spent[stage] = spent
        else:
            say(f"Done in {spent:.3f}s", err=True)

    def ended(self) -> None:
        """The whole compile is done."""
        self._stop()
        say(f"Finished in {time.perf_counter() - self._start:.1f}s", err=True)

    def __exit__(self, *_: object) -> None:
        """The spinner goes, whatever happened."""
        self._stop()

    def _title(self, stage: str) -> str:
        return self.first if stage == STEPS[0] else stage

    def _line(self, text: str) -> None:
        self._stop()
        say(text, err=True)
        self._spin("")

    def _spin(self, text: str) -> None:
        self._stop()
        if on_terminal(err=True):
            from rich.console import Console  # here: most runs have no terminal, and rich takes a tenth of a second
            from rich.status import Status
            from rich.text import Text

            self._status = Status(Text(text), console=Console(stderr=True))
            self._status.start()

    def _stop(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class Bar(AbstractContextManager["Bar"]):
    """Progress of counted work, for `Progress` callbacks: a bar on a terminal, else a line for each kind of work."""

    def __init__(self) -> None:
        self._tasks: dict[str, int] = {}
        self._rich: _Rich | None = None
        self._seen: set[str] = set()

    def __enter__(self) -> Bar:
        if on_terminal(err=True):
            self._rich = _Rich()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        if self._rich is not None:
            self._rich.update(what, done, total)
        elif what not in self._seen:
            self._seen.add(what)
            say(f"{what}: {counted(total, 'step')}" if total is not None else what, err=True)


class _Rich:
    """rich's progress display, started."""

    def __init__(self) -> None:
        from rich.console import Console  # here: see above
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.tasks: dict[str, object] = {}
        self.progress.start()

    def update(self, what: str, done: int, total: int | None) -> None:
        from rich.progress import TaskID  # here: see above

        if what not in self.tasks:
            self._end_uncounted()  # work is done one after another
            self.tasks[what] = self.progress.add_task(what, total=total)
        task = self.tasks[what]
        assert isinstance(task, int)
        self.progress.update(TaskID(task), completed=done, total=total)

    def stop(self) -> None:
        self._end_uncounted()
        self.progress.stop()

    def _end_uncounted(self) -> None:
        """Of work that is not counted nobody says that it is done: its clock would run on, and its bar never fill."""
        for task in self.progress.tasks:
            if task.total is None:
                self.progress.update(task.id, completed=1, total=1)


def _titles(stage: str) -> list[str]:
    """The sub-steps of a step that has several, in the order its passes run."""
    found: list[str] = []
    for step in STAGES:
        if step.label == stage and any(each.name in TITLES for each in step.passes):
            found += [TITLES.get(each.name, OTHERWISE) for each in step.passes]
    return list(dict.fromkeys(found))


def _size(ir: IR) -> str:
    if isinstance(ir, Graph):
        return f"{counted(len(ir.ops), 'op')}, {counted(len(ir.constants), 'constant')}"
    return counted(sum(len(run.steps) for run in ir.runs), "instruction")
