"""Any small graph, compiled for real and for what-if machines, keeps its numbers through every level and pass."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from compile_checks import check_compile, copied
from graph_builder import Builder, random_inputs
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from random_graphs import graphs

import isa.timing.clock
from furc.runtime.session import Session
from isa.errors import LowerError
from isa.execute.forwarding import ForwardingMachine
from isa.instructions import Instruction, Jump, Unit
from isa.interpreter import Interpreter
from isa.npu import NpuConfig, target
from isa.timing.cost import Cost
from isa.timing.races import races
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph
from passes.ir.lir import Program
from passes.ir.op import Level
from passes.lir.assign_tags import find_waits, tag_shares
from passes.ops.concat import LowLevelConcat
from passes.ops.conv import ConvTranspose2d
from passes.ops.elementwise import Add
from passes.ops.move import Reshape
from passes.ops.pool import MaxPool
from passes.options import CompileOptions
from passes.pipeline import lower

WARBOY = target("warboy")
# Slices so few and so small that operators are split along N, H and C and tensors are spilled.
SMALL = [
    replace(WARBOY, num_slices=slices, sram_bytes_per_slice=size)
    for slices, size in ((4, 4096), (4, 8192), (8, 2048), (16, 1024), (64, 512))
]
quick = settings(
    max_examples=45,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
)
thorough = settings(quick, max_examples=150)


def compiles_or_is_too_large(graph: Graph, options: CompileOptions) -> None:
    """Everything holds; the only excuse is a machine without room."""
    try:
        check_compile(graph, options)
    except LowerError as error:
        if error.name != "OutOfSram":
            raise
        event("out of SRAM")


@quick
@given(graphs(), st.sampled_from([WARBOY, target("warboy-2pe")]))
def test_any_graph_on_both_targets(graph: Graph, npu: NpuConfig) -> None:
    check_compile(graph, CompileOptions(npu=npu, batch=graph.batch))


@quick
@given(graphs(extent=40, elements=40_000), st.sampled_from(SMALL))
def test_any_graph_on_machines_that_are_too_small_for_it(graph: Graph, npu: NpuConfig) -> None:
    compiles_or_is_too_large(graph, CompileOptions(npu=npu, batch=graph.batch))


@quick
@given(graphs(), st.sampled_from([512, 2048]))
def test_any_graph_with_small_weight_registers(graph: Graph, weight_bytes: int) -> None:
    npu = replace(WARBOY, num_slices=2, weight_register_bytes=weight_bytes, vector_register_bytes=64)
    try:
        check_compile(graph, CompileOptions(npu=npu, batch=graph.batch))
    except LowerError as error:
        assert error.name in ("OutOfSram", "KernelTooLarge")


@settings(quick, max_examples=30)
@given(graphs(batch=1), st.integers(2, 4))
def test_any_graph_in_batches(graph: Graph, batch: int) -> None:
    try:
        check_compile(graph, CompileOptions(npu=WARBOY, batch=batch))
    except LowerError as error:
        assert "large batch" in error.message  # of a Softmax or a norm


@settings(quick, max_examples=20)
@given(graphs(batch=1), st.sampled_from([(4, 2), (2, 1), (6, 3)]), st.sampled_from([None, 1]))
def test_any_graph_in_groups_of_images(graph: Graph, sizes: tuple[int, int], stagger: int | None) -> None:
    batch, together = sizes
    try:
        check_compile(graph, CompileOptions(npu=WARBOY, batch=batch, together=together, stagger=stagger))
    except LowerError as error:
        assert error.name == "BatchNotPossible" or "large batch" in error.message


@settings(quick, max_examples=30)
@given(graphs(), st.sampled_from([1024, 2048]))
def test_any_graph_whose_program_is_loaded_while_it_runs(graph: Graph, memory: int) -> None:
    npu = replace(WARBOY, instruction_memory_bytes=memory)
    enf = check_compile(graph, CompileOptions(npu=npu, batch=graph.batch, use_program_loading=True))
    event(f"{sum(len(step.segments) for step in enf.npu_steps)} segments")


@pytest.mark.slow
@thorough
@given(graphs(max_ops=12, extent=40, elements=40_000), st.sampled_from([WARBOY, *SMALL]), st.integers(1, 2))
def test_many_larger_graphs(graph: Graph, npu: NpuConfig, batch: int) -> None:
    npu = replace(npu, instruction_memory_bytes=2048)
    batch = batch if graph.batch == 1 else graph.batch
    compiles_or_is_too_large(graph, CompileOptions(npu=npu, batch=batch, use_program_loading=True))


@quick
@given(
    graphs(max_ops=8), st.integers(0, 2**32), st.sampled_from([WARBOY, replace(WARBOY, completion_tags=4)]),
    st.booleans(),
)  # fmt: skip
def test_waits_are_enough_whatever_instructions_cost(graph: Graph, seed: int, npu: NpuConfig, loading: bool) -> None:
    options = CompileOptions(npu=npu, batch=graph.batch, use_program_loading=loading)
    made = lower(copied(graph), options)
    assert isinstance(made, Program)
    program = [step.instruction for step in made.runs[0].steps] if made.runs else []
    dice = random.Random(seed)

    def any_cost(insn: Instruction, npu: NpuConfig) -> Cost:
        cycles = dice.choice([0.0, 1.0, 10.0, 1e3, 1e6])
        return Cost(cycles, transfer=cycles)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(isa.timing.clock, "cost", any_cost)
        assert not races(isa.timing.clock.simulate(program, npu), npu)


@pytest.mark.parametrize("tags", [4, 5, 8, 16])
def test_weight_loads_that_run_ahead_leave_tags_for_others(tags: int) -> None:
    """They held all of few, and the tensor unit had none to give up."""
    b = Builder()
    x = b.image((1, 8, 16, 16))
    for _ in range(40):
        x = b.conv(x, 8, 3, pads=(1, 1, 1, 1))
    b.output(x)
    npu = replace(WARBOY, completion_tags=tags)
    check_compile(b.done(), CompileOptions(npu=npu))
    shares = tag_shares(tags)
    assert sum(shares.values()) == tags and min(shares.values()) >= 1


def test_nothing_waits_for_what_a_jump_has_waited_for() -> None:
    """The command processor goes on when all but loads are complete; a `loadp` once waited for the jump before last."""
    b = Builder()
    x = b.image((1, 8, 16, 16))
    for _ in range(6):
        x = b.conv(x, 8, 3, pads=(1, 1, 1, 1))
    b.output(x)
    made = lower(b.done(), CompileOptions(npu=WARBOY, use_program_loading=True))
    assert isinstance(made, Program)
    [program] = made.instructions()
    jumps = [index for index, insn in enumerate(program) if isinstance(insn, Jump)]
    assert len(jumps) > 2
    for index, others in enumerate(find_waits(program, WARBOY)):
        passed = max((jump for jump in jumps if jump < index), default=-1)
        assert all(other > passed for other in others if program[other].unit is not Unit.DMA_IN), index


def bottleneck(batch: int = 1) -> Graph:
    """Convolutions on 8 KiB images, weights of 6.4 KB in the middle."""
    b = Builder()
    x = b.image((batch, 8, 32, 32))
    y = b.conv(x, 8, 3, pads=(1, 1, 1, 1), quant=x.type.q)
    z = b.conv(y, 16, 3, pads=(1, 1, 1, 1), stride=(2, 2))
    z = b.conv(z, 16, 5, pads=(2, 2, 2, 2))
    z = b.op(ConvTranspose2d, y.type.q, x=z, w=b.weights((16, 8, 2, 2), None), kernel=Kernel((2, 2), (2, 2)))
    b.output(b.op(Add, y.type.q, a=y, b=z))
    return b.done()


def many_at_once() -> Graph:
    """Eight tensors that all live until the last ones are added up."""
    b = Builder()
    x = b.image((1, 4, 16, 16))
    made = [b.conv(x, 4, 3, pads=(1, 1, 1, 1)) for _ in range(8)]
    total = made[0]
    for value in made[1:]:
        total = b.op(Add, value.type.q, a=total, b=value)
    b.output(total)
    return b.done()


def test_tensors_that_are_needed_late_are_spilled_and_come_back() -> None:
    npu = replace(WARBOY, num_slices=8, sram_bytes_per_slice=1024)
    gir = lower(copied(many_at_once()), CompileOptions(npu=npu), Level.GIR)
    assert isinstance(gir, Graph)
    names = [op.result.name for op in gir.ops]
    assert [n for n in names if n.endswith(".spilled")] and [n for n in names if n.endswith(".reloaded")]
    check_compile(many_at_once(), CompileOptions(npu=npu))


@settings(quick, max_examples=30)
@given(
    graphs(extent=20), st.sampled_from(list(product((False, True), repeat=4))[1:]), st.sampled_from([WARBOY, *SMALL])
)
def test_any_graph_with_the_liberties_of_the_best_schedule(
    graph: Graph, liberties: tuple[bool, bool, bool, bool], npu: NpuConfig
) -> None:
    free, join, hoist, fuse = liberties
    options = CompileOptions(npu=npu, batch=graph.batch, free_columns=free, join_on_chip=join, hoist=hoist, fuse=fuse)
    compiles_or_is_too_large(graph, options)


@pytest.mark.parametrize("batch", [1, 4])
def test_compiled_programs_hand_their_tensors_on_as_arrays(batch: int) -> None:
    enf = check_compile(bottleneck(), CompileOptions(npu=WARBOY, batch=batch))
    assert isinstance(Interpreter(enf, WARBOY).machine, ForwardingMachine)


def test_convolutions_beside_each_other_look_up_in_tables_of_their_own() -> None:
    """They run as one model, and share a bank of tables that is loaded in between."""
    b = Builder()
    x = b.image((1, 4, 9, 9))
    beside = [b.conv(x, 8, 3, lookup=True) for _ in range(4)]
    left, right = (b.op(Add, x.type.q, a=p, b=q) for p, q in (beside[:2], beside[2:]))
    b.output(b.op(Add, x.type.q, a=left, b=right))
    check_compile(b.done(), CompileOptions(npu=WARBOY))


@pytest.mark.parametrize(("axis", "batch"), [(0, 2), (1, 1), (2, 1)])
def test_what_does_not_fit_is_split_along_images_channels_and_rows(axis: int, batch: int) -> None:
    cut = set()
    for size in (2560, 3072, 4096, 8192):
        options = CompileOptions(npu=replace(WARBOY, num_slices=4, sram_bytes_per_slice=size), batch=batch)
        graph = lower(copied(bottleneck(batch)), options, Level.LDFG)
        assert isinstance(graph, Graph)
        cut |= {op.axis for op in graph.ops if isinstance(op, LowLevelConcat)}
    assert axis in cut
    check_compile(bottleneck(batch), options)


def test_a_graph_that_needs_no_npu_compiles() -> None:
    b = Builder()
    b.output(b.image((1, 3, 5, 7)))
    check_compile(b.done(), CompileOptions(npu=WARBOY))


def test_int8_outputs_keep_their_names_and_shapes() -> None:
    b = Builder()
    x = b.image((1, 3, 5, 7))
    y = b.conv(x, 4)
    flat = b.op(Reshape, y.type.q, x=y, to=(4, 35))
    for value in (x, y, flat):
        b.output(value, dequantize=False)
    graph = b.done()
    enf = check_compile(graph, CompileOptions(npu=WARBOY))
    assert [(t.name, t.shape) for t in enf.outputs] == [(v.name, v.type.shape) for v in graph.outputs]


def test_a_batched_run_equals_one_run_an_image() -> None:
    b = Builder(5)
    x = b.image((1, 4, 9, 9))
    b.output(b.conv(b.op(MaxPool, x.type.q, x=x, kernel=Kernel((2, 2))), 6, 3))
    graph = b.done()
    images = [random_inputs(graph, seed) for seed in range(3)]
    one = Session(check_compile(graph, CompileOptions(npu=WARBOY)))
    all_ = Session(check_compile(graph, CompileOptions(npu=WARBOY, batch=3)))
    name = one.outputs[0].name
    stacked = {key: np.concatenate([image[key] for image in images]) for key in images[0]}
    assert np.array_equal(all_.run(stacked)[name], np.concatenate([one.run(image)[name] for image in images]))
