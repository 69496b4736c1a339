"""Batches: both ways to make one, a wider axis and a copy an image, give every image what it gets alone."""

from __future__ import annotations

import pytest
from compile_checks import copied
from graph_builder import Builder, random_inputs
from hypothesis import event, given, settings
from hypothesis import strategies as st
from random_graphs import graphs

from isa.errors import LowerError
from isa.npu import target
from passes.dfg.set_batch import set_batch
from passes.ir.graph import Graph
from passes.manager import Pass, run_pass
from passes.ops.concat import Concat
from passes.options import CompileOptions
from passes.verify import VerifyingListener


def batched(graph: Graph, batch: int, unroll: bool) -> Graph:
    """The graph in a batch; verified, and executed on images that differ."""
    options = CompileOptions(npu=target("warboy"), batch=batch, unroll_batch=unroll)
    listener = VerifyingListener(random_inputs(graph), options)
    listener.take(graph)
    made = run_pass(Pass("set-batch", set_batch), copied(graph), options, listener)
    assert isinstance(made, Graph)
    return made


@settings(max_examples=100, deadline=None, derandomize=True)
@given(graphs(batch=1, max_ops=8), st.integers(2, 8), st.booleans())
def test_each_image_gets_what_it_gets_alone(graph: Graph, batch: int, unroll: bool) -> None:
    names = [value.name for value in (*graph.inputs, *graph.outputs)]
    made = batched(graph, batch, unroll)
    assert made.batch == batch
    assert [value.name for value in (*made.inputs, *made.outputs)] == names
    event(f"{unroll=}")


@pytest.mark.parametrize("unroll", [False, True])
def test_an_output_without_batch_is_refused_or_stays(unroll: bool) -> None:
    b = Builder()
    x = b.image((1, 4, 2, 2))
    joined = b.op(Concat, x.type.q, inputs=(x, x), axis=0)
    b.output(joined)
    with pytest.raises(LowerError) as caught:
        batched(b.done(), 2, unroll)
    assert caught.value.name == "BatchNotPossible"
