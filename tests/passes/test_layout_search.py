"""The search for layouts against trying all of them, on graphs that are small enough for that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Mapping

from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from isa.errors import LowerError
from isa.layout import Layout
from isa.npu import target
from passes.analysis.costs import Imagined, tensor_cycles
from passes.dfg.fuse_tables import fuse_tables
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs, Value
from passes.ldfg.assign_layouts import Assignment
from passes.ldfg.insert_pads import insert_pads
from passes.ldfg.split_operators import split_operators
from passes.ldfg.to_lowlevel import to_lowlevel
from passes.options import CompileOptions

WITHIN = 1.03
MOST_TRIED = 20_000  # combinations of layouts


def searched(graph: Graph, npu: str) -> Assignment:
    options = CompileOptions(npu=target(npu), batch=graph.batch)
    try:
        for step in (fuse_tables, to_lowlevel, split_operators, insert_pads):
            graph = step(graph, options)
    except LowerError:
        assume(False)
    search = Assignment(graph, options)
    search.run()
    return search


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graphs(max_ops=5, extent=40, elements=60_000), st.sampled_from(["warboy", "warboy-2pe"]))
def test_layouts_are_within_three_percent_of_the_cheapest(graph: Graph, npu: str) -> None:
    search = searched(graph, npu)
    candidates = {value: search.candidates(value) for value in search.layout}
    combinations = math.prod(map(len, candidates.values()))
    assume(search.layout and combinations <= MOST_TRIED)
    ops = dict.fromkeys(op for touching in search.touching.values() for op in touching)

    def cycles(layouts: Mapping[Value, Layout]) -> float:
        return sum(search.costs.of(op, layouts) for op in ops)

    found = cycles(search.layout)
    cheapest = min(cycles(dict(zip(candidates, each, strict=True))) for each in itertools.product(*candidates.values()))
    assert found <= WITHIN * cheapest
    event(f"{len(candidates)} tensors")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graphs(max_ops=5, extent=40, elements=60_000), st.sampled_from(["warboy", "warboy-2pe"]))
def test_cycles_follow_from_what_an_op_says_it_is_timed_by(graph: Graph, npu: str) -> None:
    search = searched(graph, npu)
    seen: dict[tuple[Op, Hashable], float] = {}
    for value, touching in search.touching.items():
        for layout in search.candidates(value):
            site = Imagined(search.npu, search.costs.aliases, {**search.layout, value: layout})
            for op in touching:
                if op.runs is Runs.NPU and (told := op.timed_by(site)) is not None:
                    cycles = tensor_cycles(op, site)
                    assert seen.setdefault((op, told), cycles) == cycles
    event(f"{len(seen)} timed")
