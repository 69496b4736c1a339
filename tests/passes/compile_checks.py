"""Compile a dfg graph and check everything that must hold on the way: used by the property tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from graph_builder import random_inputs

from furc.runtime.session import Session
from isa.enf import Enf
from isa.instructions import Instruction
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, Space
from isa.program import fetch
from isa.timing.clock import simulate
from isa.timing.races import races
from passes.analysis.occupancy import occupancy
from passes.execute import outputs
from passes.ir.graph import Graph
from passes.ir.levels import verify
from passes.ir.lir import Program
from passes.ir.lir_text import parse_program_text, show_program
from passes.ir.op import Array
from passes.ir.text import parse, show
from passes.manager import IR, Listener, Listeners
from passes.options import CompileOptions
from passes.pipeline import link, lower
from passes.verify import VerifyingListener


def copied(graph: Graph) -> Graph:
    """An equal graph that passes may consume."""
    return parse(show(graph), {v.name: a for v, a in graph.constants.items()}, graph.source)


class RoundTrips(Listener):
    """Checks that the text of every graph parses back to an equal one; keeps a copy of the batched graph.

    What a pass leaves as it was has been parsed already."""

    def __init__(self) -> None:
        self.batched: Graph | None = None
        self._text = ""

    def passed(self, name: str, graph: IR, seconds: float) -> None:
        if not isinstance(graph, Graph):
            return
        before, self._text = self._text, show(graph)
        if self._text == before and name != "set-batch":
            return
        again = copied(graph)
        verify(again)
        assert show(again) == self._text, name
        if name == "set-batch":
            self.batched = again


def check_compile(graph: Graph, options: CompileOptions) -> Enf:
    """Compile with every check. Raises what the compiler raises, AssertionError where something does not hold.

    The graph stays as it is. Every pass must keep what a random image gives, every interpreter what the batched
    graph gives for random images.
    """
    trips = RoundTrips()
    listener = VerifyingListener(random_inputs(graph), options)
    listener.take(graph)
    program = lower(copied(graph), options, listener=Listeners(listener, trips))
    assert isinstance(program, Program)
    check_occupancy(program.graph, options.npu)
    check_program_text(program)
    enf = link(program, options, "test")
    check_addresses([step.instruction for step in program.steps()], enf, options.npu)
    assert trips.batched is not None
    images = random_inputs(trips.batched, seed=1)
    check_runs(enf, images, outputs(trips.batched, images, options.npu), options.npu)
    again = lower(copied(graph), options)
    assert isinstance(again, Program)
    assert link(again, options, "test") == enf, "two compiles differ"
    return enf


def check_runs(enf: Enf, inputs: Mapping[str, Array], wanted: Sequence[Array], npu: NpuConfig) -> None:
    """Both interpreters give what is wanted; the clock finds no race."""
    for accelerate in (False, True):
        session = Session(enf, npu=npu, accelerate=accelerate)
        for _ in range(2):  # a second run starts from what the first one left
            got = session.run(inputs)
            for tensor, array in zip(enf.outputs, wanted, strict=True):
                assert np.array_equal(got[tensor.name], array), f"{tensor.name}, accelerate={accelerate}"
    for program in fetch(enf, npu):
        assert not races(simulate(program, npu), npu)


def check_program_text(program: Program) -> None:
    text = show_program(program)
    again = parse_program_text(text, {v.name: a for v, a in program.graph.constants.items()})
    assert show_program(again) == text
    assert again.operators == program.operators
    assert [(r.steps, r.segments) for r in again.runs] == [(r.steps, r.segments) for r in program.runs]


def check_occupancy(graph: Graph, npu: NpuConfig) -> None:
    """Buffers inside SRAM, and none on top of another that is alive at the same time."""
    rectangles = occupancy(graph, npu)
    for one in rectangles:
        assert 0 <= one.low < one.high <= npu.sram_bytes_per_slice, one
    for a, b in combinations(rectangles, 2):
        together = a.first <= b.last and b.first <= a.last
        assert not (together and a.low < b.high and b.low < a.high), (a, b)


def check_addresses(program: Sequence[Instruction], enf: Enf, npu: NpuConfig) -> None:
    """Every range inside its memory; every segment inside its half."""
    limits = {
        Space.SRAM: npu.sram_bytes_per_slice,
        Space.DRAM: enf.dram_bytes,
        Space.PROGRAM: npu.instruction_memory_bytes,
    }
    for insn in program:
        for touched in (*insn.reads(npu.sram_access_bytes), *insn.writes(npu.sram_access_bytes)):
            assert 0 <= touched.start <= touched.stop, (insn, touched)
            if touched.space in limits:
                assert touched.stop <= limits[touched.space], (insn, touched)
        for value in insn.values:
            if isinstance(value, DramWindow | DramRange):
                assert value.address % npu.dram_alignment_bytes == 0, insn
    for step in enf.npu_steps:
        for segment in step.segments:
            assert segment.offset + segment.bytes <= npu.instruction_memory_bytes
            assert len(step.segments) == 1 or segment.bytes <= npu.instruction_memory_bytes // 2
