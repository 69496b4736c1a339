"""The verifying listener against passes that lie."""

from __future__ import annotations

import numpy as np
import pytest
from compile_checks import copied
from graph_builder import Builder, random_inputs

from isa.errors import VerifyError
from isa.npu import target
from passes.dfg.set_batch import set_batch
from passes.ir.attributes import Clamp, Kernel
from passes.ir.graph import Graph
from passes.ir.op import Level
from passes.ir.text import show
from passes.manager import Pass, run_pass
from passes.ops.move import Slice
from passes.ops.pool import MaxPool
from passes.options import CompileOptions
from passes.pipeline import LIR, PASSES, STAGES, lower
from passes.verify import VerifyingListener


def example() -> Graph:
    b = Builder()
    x = b.image((1, 2, 4, 4))
    b.output(b.op(MaxPool, x.type.q, x=x, kernel=Kernel((2, 2), (2, 2))))
    b.output(x, dequantize=False)
    return b.done()


def listening(graph: Graph, batch: int = 1) -> tuple[VerifyingListener, CompileOptions]:
    options = CompileOptions(npu=target("warboy"), batch=batch)
    listener = VerifyingListener(random_inputs(graph), options)
    listener.take(graph)
    return listener, options


def clamped(graph: Graph, options: CompileOptions) -> Graph:
    """A pass that is wrong where the result is above 10."""
    for op in graph.ops:
        if isinstance(op, MaxPool):
            op.clamp = Clamp(hi=10)
    return graph


def test_a_wrong_pass_is_named_with_output_count_and_worst_difference() -> None:
    graph = example()
    listener, options = listening(graph)
    with pytest.raises(VerifyError) as caught:
        run_pass(Pass("clamp-everything", clamped), graph, options, listener)
    assert str(caught.value) == (
        "error[PassChangedResult]: clamp-everything changed output 'maxpool_real': 5 of 8 elements differ, by up to "
        "2.3125\n  hint: please report this: furc is wrong"
    )


def swapped(graph: Graph, options: CompileOptions) -> Graph:
    """set-batch, but the images change places on their way."""
    graph = set_batch(graph, options)
    pool = next(op for op in graph.ops if isinstance(op, MaxPool))
    n, *rest = pool.x.type.shape
    names = (Slice, pool.x.type.q)
    b = Builder()
    b.names.taken |= graph.names()
    flipped = b.op(*names, x=pool.x, start=(n - 1, 0, 0, 0), size=(n, *rest), step=(-1, 1, 1, 1))
    graph.ops.insert(graph.ops.index(pool), b.graph.ops[0])
    pool.x = flipped
    return graph


def test_images_that_change_places_are_seen() -> None:
    graph = example()
    listener, options = listening(graph, batch=3)
    with pytest.raises(VerifyError, match="set-batch changed output 'maxpool_real'"):
        run_pass(Pass("set-batch", swapped), graph, options, listener)


def test_a_changed_shape_is_said() -> None:
    def cut(graph: Graph, options: CompileOptions) -> Graph:
        graph.outputs = [graph.outputs[1], graph.outputs[1]]
        return graph

    graph = example()
    listener, options = listening(graph)
    with pytest.raises(VerifyError, match=r"changed output 'quantize': int8\[1, 2, 4, 4\] where float32\[1, 2, 2, 2\]"):
        run_pass(Pass("cut", cut), graph, options, listener)


def test_a_pass_that_is_not_asked_for_is_told_and_not_run() -> None:
    def fails(graph: Graph, options: CompileOptions) -> Graph:
        raise AssertionError

    graph = example()
    listener, options = listening(graph)
    assert run_pass(Pass("fails", fails, lambda options: options.hoist), graph, options, listener) is graph
    assert listener.checked == ["fails"]
    with pytest.raises(AssertionError):
        run_pass(Pass("fails", fails, lambda options: not options.hoist), graph, options, listener)


@pytest.mark.parametrize("batch", [1, 2])
def test_right_passes_go_through(batch: int) -> None:
    graph = example()
    listener, options = listening(graph, batch)
    lower(copied(graph), options, Level.GIR, listener)
    assert listener.checked == [each.name for stage in STAGES if stage.target != LIR for each in stage.passes]


def test_inputs_of_the_caller_are_left_alone() -> None:
    graph = example()
    inputs = random_inputs(graph)
    before = {name: array.copy() for name, array in inputs.items()}
    listener = VerifyingListener(inputs, CompileOptions(npu=target("warboy"), batch=2))
    listener.take(graph)
    assert all(np.array_equal(inputs[name], array) for name, array in before.items())


def test_a_pass_that_only_looks_leaves_every_graph_as_it_is() -> None:
    """It is not verified again."""
    looking = [each for each in PASSES.values() if not each.changes]
    assert [each.name for each in looking] == ["check-operators"]
    for each in looking:
        graph = example()
        before = show(graph)
        assert run_pass(each, graph, listening(example())[1]) is graph and show(graph) == before
