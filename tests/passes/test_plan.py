"""The search over plans: the fastest of what is compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest
from graph_builder import Builder

from isa.npu import target
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.manager import IR
from passes.ops.concat import Concat
from passes.ops.pool import MaxPool
from passes.options import BEST, CompileOptions
from passes.pipeline import lower
from passes.plan import compile_best, program_cycles

WARBOY = target("warboy")


def joined() -> Graph:
    """Two poolings of an image, side by side, and one of both."""
    b = Builder()
    x = b.image((1, 8, 32, 32))
    a, c = (b.op(MaxPool, x.type.q, x=x, kernel=Kernel((1, n), (1, 1), (0, 0, 0, n - 1))) for n in (2, 3))
    both = b.op(Concat, x.type.q, inputs=(a, c), axis=1)
    b.output(b.op(MaxPool, x.type.q, x=both, kernel=Kernel((1, 2), (1, 1), (0, 0, 0, 1))))
    return b.done()


def separable() -> Graph:
    """Depthwise convolutions that pad, each followed by one over channels."""
    b = Builder()
    x = b.image((1, 32, 64, 64))
    for _ in range(4):
        x = b.conv(b.conv(x, 32, 3, group=32, pads=(1, 1, 1, 1)), 32)
    b.output(x)
    return b.done()


def cycles(ir: IR, options: CompileOptions) -> float:
    assert isinstance(ir, Program)
    return program_cycles(ir, options)


def test_the_best_schedule_keeps_concatenations_on_chip_where_that_is_faster() -> None:
    options = CompileOptions(npu=WARBOY)
    vendor, best = (compile_best(joined(), replace(options, schedule=s)) for s in ("vendor", BEST))
    assert best.options.join_on_chip and not vendor.options.join_on_chip
    assert cycles(*best) < cycles(*vendor)


def test_the_best_schedule_hoists_where_that_is_faster() -> None:
    def results() -> Graph:
        """Of more poolings, one behind the other, than the queue of the tensor unit takes."""
        b = Builder()
        x = b.image((1, 8, 32, 32))
        made = [x]
        for _ in range(2 * WARBOY.operand_queue_depth):
            made.append(b.op(MaxPool, x.type.q, x=made[-1], kernel=Kernel((1, 2), (1, 1), (0, 0, 0, 1))))
        for value in made[1:]:
            b.output(value)
        return b.done()

    best = compile_best(results(), CompileOptions(npu=WARBOY, schedule=BEST))
    kept = replace(best.options, hoist=False)
    assert best.options.hoist and cycles(*best) < cycles(lower(results(), kept), kept)


@pytest.mark.parametrize("batch", [1, 4, 6])
def test_a_batch_takes_no_longer_than_its_images_or_halves_one_after_another(batch: int) -> None:
    options = CompileOptions(npu=target("warboy-2pe"), batch=batch)
    taken = compile_best(joined(), options)
    for size in {max(1, batch // 2), 1}:
        part = compile_best(joined(), replace(options, batch=size))
        assert cycles(*taken) <= batch // size * cycles(*part)


def test_one_group_of_a_batch_is_padded_while_another_is_computed() -> None:
    npu = replace(WARBOY, sram_bytes_per_slice=32 << 10)
    taken = compile_best(separable(), CompileOptions(npu=npu, batch=4))
    assert taken.options.together and taken.options.stagger
    one_by_one = replace(taken.options, stagger=None)
    assert cycles(*taken) < 0.95 * cycles(lower(separable(), one_by_one), one_by_one)


def test_smaller_groups_that_overlap_are_tried_where_they_are_close() -> None:
    b = Builder()
    x = b.image((1, 64, 24, 24))
    for _ in range(2):
        a, c = b.conv(x, 64, 1), b.conv(x, 64, 3, pads=(1, 1, 1, 1))
        x = b.conv(b.op(Concat, a.type.q, inputs=(a, c), axis=1), 64, 1)
    b.output(x)
    graph, options = b.done(), CompileOptions(npu=replace(WARBOY, sram_bytes_per_slice=16 << 10), batch=8)
    taken = compile_best(graph, options)
    assert (taken.options.together, bool(taken.options.stagger)) == (2, True)
    larger = replace(taken.options, together=4, stagger=None)  # one after another faster than groups of 2
    assert cycles(*taken) < 0.8 * cycles(lower(graph.copied(), larger), larger)
