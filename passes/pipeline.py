"""The story of a compile: every pass in order, read top to bottom.

A pass is a function graph -> graph with a name; the pass manager runs it, verifies the result, and tells whoever
listens what is going on. Steps carry the vendor's own names.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from isa.enf import Enf
from isa.errors import LowerError
from isa.timing.clock import simulate
from passes.dfg.check_operators import check_operators
from passes.dfg.fuse_tables import fuse_tables
from passes.dfg.set_batch import set_batch
from passes.emit.assign_tags import assign_tags
from passes.emit.emit_instructions import emit_instructions
from passes.emit.link_program import link_program
from passes.emit.segment_program import segment_program
from passes.ir.graph import Graph, Level, verify
from passes.ir.lir import Program
from passes.lower.assign_layouts import assign_layouts
from passes.lower.to_lowlevel import to_lowlevel
from passes.options import CompileOptions
from passes.schedule.insert_commands import insert_commands
from passes.schedule.place_tensors import place_tensors
from passes.split.split_operators import split_operators

GraphPass = Callable[[Graph, CompileOptions], Graph]


class Stage(NamedTuple):
    """One of the vendor's steps: from a level to the next, by passes over graphs."""

    source: Level
    target: Level
    passes: tuple[tuple[str, GraphPass], ...]


STAGES: tuple[Stage, ...] = (
    Stage(
        Level.DFG,
        Level.DFG,
        (
            ("set-batch", set_batch),  # first: everything behind it depends on sizes
            ("fuse-tables", fuse_tables),  # before the check: a fused SiLU is one table
            ("check-operators", check_operators),
        ),
    ),
    Stage(
        Level.DFG,
        Level.LDFG,
        (
            ("to-lowlevel", to_lowlevel),
            ("split-operators", split_operators),  # before layouts: so that some layout fits
            ("assign-layouts", assign_layouts),
        ),
    ),
    Stage(Level.LDFG, Level.CDFG, (("insert-commands", insert_commands),)),  # needs layouts: they decide the packing
    Stage(Level.CDFG, Level.GIR, (("place-tensors", place_tensors),)),  # last: every movement must be known
)
GRAPH_PASSES: dict[str, GraphPass] = {name: run for stage in STAGES for name, run in stage.passes}


@dataclass(slots=True)
class Listener:
    """What the pass manager reports; override what is of interest."""

    def started(self, stage: str) -> None:
        """A stage such as "dfg to ldfg" begins."""

    def running(self, name: str) -> None:
        """A pass begins."""

    def passed(self, name: str, graph: Graph, seconds: float) -> None:
        """A pass is done and its result verified."""

    def finished(self, stage: str, seconds: float) -> None:
        """A stage is done."""


def lower(graph: Graph, options: CompileOptions, target: Level, listener: Listener) -> Graph:
    """Run stages from the graph's level up to a target level. The graph is consumed."""
    if graph.level is Level.DFG:
        options = fastest_plan(graph, options)
    for stage in STAGES:
        if _rank(graph.level) > _rank(stage.source) or _rank(stage.target) > _rank(target):
            continue
        label = f"{stage.source} to {stage.target}" if stage.source != stage.target else "onnx to dfg"
        begin = time.perf_counter()
        listener.started(label)
        for name, run in stage.passes:
            graph = run_pass(name, run, graph, options, listener)
        listener.finished(label, time.perf_counter() - begin)
    return graph


def fastest_plan(graph: Graph, options: CompileOptions) -> CompileOptions:
    """The options with the plan whose program takes the fewest cycles; the first one where none works.

    Two PEs may use the slices of one, a batch may run image by image: neither is then ever slower than its half.
    """
    choices = plans(options)
    if len(choices) == 1:
        return options
    return min(choices, key=lambda choice: _plan_cycles(graph, choice))


def plans(options: CompileOptions) -> list[CompileOptions]:
    """The ways to compile a model that are worth comparing."""
    npu = options.npu
    slices = [None] if npu.num_pes == 1 else [None, npu.num_slices // npu.num_pes]
    unrolled = [False] if options.batch == 1 else [False, True]
    return [replace(options, slices=s, unroll_batch=u) for u in unrolled for s in slices]


def _plan_cycles(graph: Graph, options: CompileOptions) -> float:
    """Cycles of the program under a plan; infinite where the plan does not work."""
    arrays = {id(array): array for array in graph.constants.values()}
    trial = copy.deepcopy(graph, dict(arrays))  # the arrays are shared: no pass writes into one
    try:
        for stage in STAGES:
            for _, run in stage.passes:
                trial = run(trial, options)
        program = assemble(trial, options, Listener())
    except LowerError:
        return float("inf")
    return simulate([step.instruction for step in program.steps], options.npu).cycles


def run_pass(name: str, run: GraphPass, graph: Graph, options: CompileOptions, listener: Listener) -> Graph:
    """One pass, verified. Raises what the pass raises, or VerifyError where it broke a rule."""
    begin = time.perf_counter()
    listener.running(name)
    result = run(graph, options)
    verify(result)
    listener.passed(name, result, time.perf_counter() - begin)
    return result


def assemble(graph: Graph, options: CompileOptions, listener: Listener) -> Program:
    """gir to lir: instructions, segments, tags."""
    begin = time.perf_counter()
    listener.started("gir to lir")
    program = emit_instructions(graph, options)
    program = segment_program(program, options)  # before tags: loading the next segment takes part in them
    program = assign_tags(program, options)
    listener.finished("gir to lir", time.perf_counter() - begin)
    return program


def link(program: Program, options: CompileOptions, furc_version: str, listener: Listener) -> Enf:
    """lir to enf."""
    begin = time.perf_counter()
    listener.started("lir to enf")
    enf = link_program(program, options, furc_version)
    listener.finished("lir to enf", time.perf_counter() - begin)
    return enf


def _rank(level: Level) -> int:
    return list(Level).index(level)
