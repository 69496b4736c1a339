"""The search over plans: ways to compile a model of which the fastest program is kept.

Two PEs may use the slices of one where a model is that small. A schedule that is to be the best may take liberties that
the vendor's does not; what is fastest without hoisting and bands is compiled once more with each. A batch may run in
groups of images: smaller groups stay on chip but load the weights more often. How large is estimated from the program
of one group. The groups run one after another, or each starts while the one before it still runs, so that one is
padded, loaded or stored while another is computed, from which smaller groups gain more: two sizes are tried so where
they are close. These plans and the whole batch at once are compiled, and the winner is what is used.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from operator import attrgetter
from typing import NamedTuple

from isa.errors import LowerError
from isa.timing.clock import following_runs
from passes.dfg.unroll_batch import stretches
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level
from passes.manager import IR, QUIET, Listener, Listeners
from passes.ops.commands import Load, Store
from passes.options import BEST, VENDOR, CompileOptions
from passes.pipeline import LIR, level_of, lower

# Of the graph that a group of a batch is ahead of the next one. Less, and the large tensors of both meet in SRAM; more,
# and more of the program has one group alone.
STAGGER = 1 / 4

# Times the cycles of the best size of groups, one after another, that the second best may take and is tried overlapping
# too: smaller groups gain more by that, and fit where two large ones at once do not.
CLOSE = 1.1

# Half the slices gain up to 1% where overheads are much of it (the digits, 0.01 ms; yolov5n on small images, 0.15 ms);
# on 24 networks that take longer they never won: 17% to 95% slower.
SMALL_MS = 0.5


class Planned(NamedTuple):
    """What a plan gave: graph or program, and the options it was compiled with."""

    ir: IR
    options: CompileOptions


class _Found(NamedTuple):
    """The program of a plan, its cycles, and its graph before commands, where that is wanted."""

    cycles: float
    program: Program
    options: CompileOptions
    ldfg: Graph | None


_cycles = attrgetter("cycles")


def compile_best(
    ir: IR, options: CompileOptions, *, target: str = LIR, progress: Listener = QUIET, instruments: Listener = QUIET
) -> Planned:
    """Lower by the plan whose program takes the fewest cycles.

    progress hears of every plan, once. instruments look into graphs, so they hear of the winner alone:
    with them, or down to another level than lir, it is lowered once more. Raises what the first plan raises where
    none works."""
    if level_of(ir) != "dfg" or (options.npu.num_pes == 1 and options.batch == 1 and options.schedule == VENDOR):
        taken = options.with_liberties()
        return Planned(lower(ir, taken, target, Listeners(progress, instruments)), taken)
    assert isinstance(ir, Graph)
    best = _fastest(ir, options, progress)
    if target == LIR and instruments is QUIET:
        return best
    return Planned(lower(ir, best.options, target, instruments), best.options)


def _fastest(graph: Graph, options: CompileOptions, progress: Listener) -> Planned:
    found: list[_Found] = []
    errors: list[LowerError] = []
    choices = plans(graph, options)
    for index, choice in enumerate(choices):
        progress.planned(index, len(choices))
        if choice.slices is not None and found and choice.npu.milliseconds(found[0].cycles) > SMALL_MS:
            continue
        try:
            found.append(_compiled(graph, choice, progress, keep=options.schedule == BEST))
        except LowerError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    best = min(found, key=_cycles)
    if options.schedule == BEST:
        best = _with_more(graph, best)
    return Planned(best.program, best.options)


def _with_more(graph: Graph, best: _Found) -> _Found:
    """The same plan hoisted, and in bands, each where that is faster."""
    assert best.ldfg is not None
    best = _faster(best.ldfg, best, replace(best.options, hoist=True))  # which changes nothing before
    if _between_in_dram(best.program.graph):
        best = _faster(graph, best, replace(best.options, fuse=True))
    return best


def _faster(graph: Graph, best: _Found, options: CompileOptions) -> _Found:
    try:
        other = _compiled(graph, options)
    except LowerError:  # bands may be too large for SRAM where tiles are not
        return best
    return min(best, other, key=_cycles)


def _between_in_dram(graph: Graph) -> bool:
    """True where something that the NPU makes for itself goes through DRAM."""
    stored = {value for op in graph.ops if isinstance(op, Store) for value in op.results}
    return any(op.x in stored for op in graph.ops if isinstance(op, Load))


def _compiled(graph: Graph, options: CompileOptions, progress: Listener = QUIET, *, keep: bool = False) -> _Found:
    """Of a graph at dfg or ldfg. keep: also its ldfg. Raises LowerError."""
    ldfg = lower(graph.copied(), options, Level.LDFG, progress)
    assert isinstance(ldfg, Graph)
    kept = ldfg.copied() if keep else None
    program = lower(ldfg, options, LIR, progress)
    assert isinstance(program, Program)
    return _Found(program_cycles(program, options), program, options, kept)


def plans(graph: Graph, options: CompileOptions) -> list[CompileOptions]:
    """The ways to compile a model that are worth comparing."""
    free = (False, True) if options.schedule == BEST else (False,)
    found = [replace(options, free_columns=c, join_on_chip=j) for c, j in product(free, free)]
    if options.batch > 1:
        stagger = max(1, round(STAGGER * len(stretches(graph.ops))))
        groups = [_best_groups(graph, each) for each in found]
        found += [sizes[0] for sizes in groups if sizes]
        found += [replace(size, stagger=stagger) for sizes in groups for size in sizes]
    of_one = options.npu.num_slices // options.npu.num_pes  # none where a what-if machine has fewer slices than PEs
    if options.npu.num_pes > 1 and of_one:
        found.append(replace(options, slices=of_one))
    return found


def _best_groups(graph: Graph, options: CompileOptions) -> list[CompileOptions]:
    """The plan in groups of images whose program takes the fewest cycles as often as there are groups, and the next
    where it is close; none where no group fits."""
    found = []
    for together in _group_sizes(options.batch):
        alone = replace(options, batch=together)
        try:
            cycles = _compiled(graph, alone).cycles
        except LowerError:  # where no group fits, the whole batch says why
            continue
        found.append((options.batch // together * cycles, replace(options, together=together)))
    found.sort(key=lambda each: each[0])
    return [plan for cycles, plan in found[:2] if cycles <= CLOSE * found[0][0]]


def _group_sizes(batch: int) -> list[int]:
    """Divisors of a batch, each at most half of the one before, down to single images."""
    sizes, most = [], batch // 2
    while most >= 1:
        sizes.append(next(size for size in range(most, 0, -1) if batch % size == 0))
        most = sizes[-1] // 2
    return sizes


def program_cycles(program: Program, options: CompileOptions) -> float:
    """Cycles of all runs of a program, one after another, with the weights that stay in place from run to run."""
    return sum(timeline.cycles for timeline in following_runs(program.instructions(), options.npu))
