"""The pass manager: runs passes over graphs and programs, verifies what they leave, and tells whoever listens.

What a user wants to see or check of a compilation is an instrument: printing after a pass, stopping after one,
executing every level, progress. Instruments are told of every step and never touch what is compiled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from passes.ir.graph import Graph
from passes.ir.levels import verify
from passes.ir.lir import Program
from passes.ir.lir_rules import verify_program
from passes.options import CompileOptions

IR = Graph | Program


class Pass(NamedTuple):
    """A pass and the name that users know it by.

    asked: whether options want it at all. changes: False for one that only looks, after which nothing is new to verify.
    """

    name: str
    run: Callable[[Any, CompileOptions], IR]
    asked: Callable[[CompileOptions], bool] = lambda _: True
    changes: bool = True

    @property
    def doc(self) -> str:
        """The first sentence of its module."""
        return (sys.modules[self.run.__module__].__doc__ or "").partition("\n")[0]


class Listener:
    """An instrument: what the pass manager reports; override what is of interest."""

    def planned(self, index: int, count: int) -> None:
        """The compilation by one of several plans begins."""

    def started(self, stage: str) -> None:
        """A stage such as "dfg to ldfg" begins."""

    def running(self, name: str) -> None:
        """A pass begins."""

    def passed(self, name: str, result: IR, seconds: float) -> None:
        """A pass is done and its result verified."""

    def finished(self, stage: str, seconds: float) -> None:
        """A stage is done."""


class Listeners(Listener):
    """Several instruments as one."""

    def __init__(self, *listeners: Listener) -> None:
        self.listeners = listeners

    def planned(self, index: int, count: int) -> None:
        for listener in self.listeners:
            listener.planned(index, count)

    def started(self, stage: str) -> None:
        for listener in self.listeners:
            listener.started(stage)

    def running(self, name: str) -> None:
        for listener in self.listeners:
            listener.running(name)

    def passed(self, name: str, result: IR, seconds: float) -> None:
        for listener in self.listeners:
            listener.passed(name, result, seconds)

    def finished(self, stage: str, seconds: float) -> None:
        for listener in self.listeners:
            listener.finished(stage, seconds)


QUIET = Listener()


@contextmanager
def timed(label: str, listener: Listener) -> Iterator[None]:
    """A step that users see, with its time."""
    begin = time.perf_counter()
    listener.started(label)
    yield
    listener.finished(label, time.perf_counter() - begin)


def run_stage(label: str, passes: Iterable[Pass], ir: IR, options: CompileOptions, listener: Listener) -> IR:
    """Passes one after another, as a step that users see."""
    with timed(label, listener):
        for each in passes:
            ir = run_pass(each, ir, options, listener)
    return ir


def run_pass(each: Pass, ir: IR, options: CompileOptions, listener: Listener = QUIET) -> IR:
    """One pass, verified. Raises what the pass raises, or VerifyError where it broke a rule."""
    begin = time.perf_counter()
    listener.running(each.name)
    result = ir
    if each.asked(options):
        result = each.run(ir, options)
        if each.changes:
            check(result, options)
    listener.passed(each.name, result, time.perf_counter() - begin)
    return result


def check(ir: IR, options: CompileOptions) -> None:
    """The contract of the level. Raises VerifyError."""
    if isinstance(ir, Graph):
        verify(ir)
    else:
        verify_program(ir, options.npu)
