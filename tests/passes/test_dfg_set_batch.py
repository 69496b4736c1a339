"""Batches: every way to make one, wider axes and copies of the graph, gives every image what it gets alone."""

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
from passes.ops.move import Transpose
from passes.options import CompileOptions
from passes.verify import VerifyingListener


def batched(graph: Graph, batch: int, together: int, stagger: int | None = None) -> Graph:
    """The graph in a batch; verified, and executed on images that differ."""
    options = CompileOptions(npu=target("warboy"), batch=batch, together=together, stagger=stagger)
    listener = VerifyingListener(random_inputs(graph), options)
    listener.take(graph)
    made = run_pass(Pass("set-batch", set_batch), copied(graph), options, listener)
    assert isinstance(made, Graph)
    return made


@settings(max_examples=100, deadline=None, derandomize=True)
@given(graphs(batch=1, max_ops=8), st.integers(1, 4), st.integers(1, 4), st.sampled_from([None, 1, 2]))
def test_each_image_gets_what_it_gets_alone(graph: Graph, groups: int, together: int, stagger: int | None) -> None:
    names = [value.name for value in (*graph.inputs, *graph.outputs)]
    batch = groups * together
    try:
        made = batched(graph, batch, together, stagger)
    except LowerError as error:
        assert groups > 1 and "its first axis is no batch" in error.message
        return
    assert made.batch == batch
    assert [value.name for value in (*made.inputs, *made.outputs)] == names
    event(f"groups: {groups > 1}, together: {together > 1}")


@pytest.mark.parametrize("together", [1, 2])
def test_an_output_without_batch_is_refused_or_stays(together: int) -> None:
    b = Builder()
    x = b.image((1, 4, 2, 2))
    joined = b.op(Concat, x.type.q, inputs=(x, x), axis=0)
    b.output(joined)
    with pytest.raises(LowerError) as caught:
        batched(b.done(), 2, together)
    assert caught.value.name == "BatchNotPossible"


def test_groups_whose_images_are_not_in_front_are_refused() -> None:
    b = Builder()
    x = b.image((1, 4, 2, 2))
    b.output(b.op(Transpose, x.type.q, x=x, perm=(1, 0, 2, 3)))
    with pytest.raises(LowerError, match="its first axis is no batch"):
        batched(b.done(), 4, 2)
