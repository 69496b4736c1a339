"""What the NPU cannot take runs on the host: each model compiles, runs, and gives what ONNX Runtime gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from qdq_models import Qdq, runtime

import furc
from furc.check import check_file
from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.onnx.oracle import Oracle
from furc.report import tables
from furc.runtime.session import Session
from isa.enf import Enf, HostOperator, NpuStep
from isa.errors import FurcError, LowerError, SourceError
from isa.npu import target
from passes.options import CompileOptions


def conv(m: Qdq, x: str, channels: int = 4, of: int = 4) -> str:
    """A convolution with Relu, quantized."""
    w = m.weights(channels, of, 3, 3)
    return m.quantized(m.node("Relu", m.node("Conv", x, w, pads=[1] * 4)), 0.05, -128)


def in_float(enf: Enf) -> list[HostOperator]:
    """What ONNX Runtime computes in float."""
    edge = ("Quantize", "Dequantize", "Recast", "Unlower")
    return [o for step in enf.host_steps for o in step.operators if o.name.removesuffix("Linear") not in edge]


def same_as_onnxruntime(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], segments: int | str = "all", within: float = 1e-5
) -> Enf:
    """Integers equal bit for bit, floats but for the order of additions. within: of floats, where the host computes
    convolutions in float and so now and then one integer further."""
    enf = furc.compile(model, target_npu="warboy", compiler_config={"max_npu_segments": segments})
    expected = Oracle(model).run(feeds)
    got = Session(enf).run(feeds)
    for output in model.graph.output:
        mine, theirs = got[output.name], expected[output.name]
        if mine.dtype == np.uint8:
            mine = mine.view(np.int8) ^ np.int8(-128)
        assert mine.shape == theirs.shape and mine.dtype == theirs.dtype, output.name
        bound = within if mine.dtype == np.float32 else float(within >= 0.01)
        assert np.allclose(mine, theirs, rtol=1e-5, atol=bound), output.name
    return enf


def island(m: Qdq) -> None:
    m.output(conv(m, m.quantized(m.node("Tanh", conv(m, m.float_input(1, 4, 8, 8))), 1 / 128, 0)))


def two_islands(m: Qdq) -> None:
    x = m.quantized(m.node("Tanh", conv(m, m.float_input(1, 4, 8, 8))), 1 / 128, 0)
    m.output(conv(m, m.quantized(m.node("Elu", conv(m, x)))))


def two_consumers(m: Qdq) -> None:
    t = m.quantized(m.node("Tanh", conv(m, m.float_input(1, 4, 8, 8))), 1 / 128, 0)
    m.output(m.quantized(m.node("Add", conv(m, t), conv(m, t))))


def output_and_intermediate(m: Qdq) -> None:
    t = m.output(m.node("Tanh", conv(m, m.float_input(1, 4, 8, 8))))
    m.output(conv(m, m.quantized(t)))


def input_of_both(m: Qdq) -> None:
    m.inputs["shared"] = ("float32", (1, 4, 8, 8))
    t = m.node("Tanh", "shared")
    m.output(m.node("Sub", conv(m, m.quantized("shared", 0.02, 3)), t))


def float_residual(m: Qdq) -> None:
    x = conv(m, m.float_input(1, 4, 8, 8))
    r = m.node("Conv", x, m.weights(4, 4, 1, 1))
    m.output(conv(m, m.quantized(m.node("Add", m.node("Sigmoid", r), r))))


def float_tail(m: Qdq) -> None:
    x = conv(m, m.float_input(1, 4, 8, 8))
    flat = m.node("Flatten", m.node("Conv", x, m.weights(2, 4, 3, 3)))
    m.output(m.node("Softmax", flat, axis=1))


def all_host(m: Qdq) -> None:
    m.output(m.node("Softmax", m.node("Flatten", m.node("Tanh", m.float_input(1, 4, 8, 8))), axis=1))


def through_both_and_around(m: Qdq) -> None:
    """A host node before and after the NPU, also joined directly: they must not become one call."""
    t = m.node("Tanh", m.float_input(1, 4, 8, 8))
    m.output(m.node("Sub", conv(m, m.quantized(t)), t))


def nothing_is_quantized_between(m: Qdq) -> None:
    """Integers that the NPU makes go straight into an operator of the host."""
    m.inputs["x"] = ("float32", (1, 4, 8, 8))
    stored = m.quantize("x", 0.02, 3)
    moved = m.node("Transpose", stored, perm=[0, 2, 3, 1])
    m.output(m.node("Cast", moved, to=TensorProto.FLOAT))
    m.output(conv(m, m.dequantize(stored, 0.02, 3)))


SHAPES: list[Callable[[Qdq], None]] = [
    island, two_islands, two_consumers, output_and_intermediate, input_of_both, float_residual, float_tail, all_host,
    through_both_and_around, nothing_is_quantized_between,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["int8", "uint8"])
@pytest.mark.parametrize("draw", SHAPES)
def test_a_model_with_a_part_on_the_host_gives_what_onnxruntime_gives(draw: Callable[[Qdq], None], kind: str) -> None:
    m = Qdq(kind)
    draw(m)
    operators = in_float(same_as_onnxruntime(m.model(), m.feeds()))
    assert operators and all(o.reason and o.remedy and o.nodes for o in operators)


@pytest.mark.parametrize("segments", [1, 2, "auto"])
@pytest.mark.parametrize("draw", SHAPES)
def test_where_it_costs_least(draw: Callable[[Qdq], None], segments: int | str) -> None:
    """The placement keeps the number of segments, and what the model computes."""
    m = Qdq("int8")
    draw(m)
    enf = same_as_onnxruntime(m.model(), m.feeds(), segments=segments, within=0.06)
    assert len(enf.npu_steps) <= (segments if isinstance(segments, int) else 9)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Relu", {}),
        ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4}),
        ("Transpose", {"perm": [0, 1, 3, 2]}),
    ],
)
def test_what_moves_results_of_the_host_before_they_are_quantized(op: str, attributes: dict[str, Any]) -> None:
    """The quantization behind it is that of what it reads, too: the host gives integers."""
    m = Qdq("int8")
    t = m.node("Tanh", conv(m, m.float_input(1, 16, 32, 32), 16, 16))
    m.output(conv(m, m.quantized(m.node(op, t, **attributes), 1 / 128, 0), 16, 16))
    enf = same_as_onnxruntime(m.model(), m.feeds(), segments="auto")
    assert [o.name for o in in_float(enf)] == ["Tanh"] and len(enf.npu_steps) == 2


def test_what_moves_into_a_quantization_that_the_npu_does_not_have() -> None:
    """The host has what is quantized to 16 bits, and the model compiles."""
    m = Qdq("int8", opset=21)
    pooled = m.node("MaxPool", m.float_input(1, 4, 8, 8), kernel_shape=[2, 2])
    sixteen = m.node("QuantizeLinear", m.node("Relu", pooled), m.const(0.001, np.float32), m.const(0, np.int16))
    m.output(m.node("DequantizeLinear", sixteen, m.const(0.001, np.float32), m.const(0, np.int16)))
    m.output(conv(m, m.quantized(m.node("MaxPool", pooled, kernel_shape=[2, 2]))))
    enf = furc.compile(m.model(), compiler_config={"max_npu_segments": "auto"})
    assert [o.name for o in in_float(enf)] == ["Relu"]


def test_a_tensor_that_is_quantized_twice_on_the_host_is_rounded_twice() -> None:
    """ONNX Runtime takes two such pairs for one where nobody sees what is between them."""
    m = Qdq("int8")
    twice = m.quantized(m.float_input(1, 4, 8, 8, scale=0.02, zero=0), 0.01, 3)
    m.outputs.clear()
    m.output(m.node("Neg", twice))
    model, feeds = m.model(), m.feeds()
    (held,) = Session(furc.compile(model)).run(feeds).values()
    (exact,) = runtime(model, feeds, optimized=False).values()
    np.testing.assert_array_equal(held, exact)


def test_a_large_body_stays_on_the_npu_before_its_tail() -> None:
    """One segment: everything behind the unsupported operator goes to the host with it, nothing before it."""
    m = Qdq("int8")
    x = m.integer_input(1, 16, 32, 32)
    for _ in range(4):
        x = conv(m, x, 16, 16)
    x = m.quantized(m.node("Tanh", m.node("GlobalAveragePool", x)), 1 / 128, 0)
    m.output(m.node("Conv", x, m.weights(4, 16, 1, 1)))
    m.outputs = {n: k for n, k in m.outputs.items() if not n.startswith("quantizelinear")}
    enf = same_as_onnxruntime(m.model(), m.feeds(), segments=1, within=0.05)
    names = [o.name for o in in_float(enf)]
    assert len(enf.npu_steps) == 1 and names.count("Conv") == 1 and "Tanh" in names


def test_neighbours_on_the_host_are_one_call() -> None:
    m = Qdq()
    float_tail(m)
    enf = same_as_onnxruntime(m.model(), m.feeds())
    assert [o.name for o in in_float(enf)] == ["Conv", "Flatten", "Softmax"]
    assert sum(any(o in step.operators for o in in_float(enf)) for step in enf.host_steps) == 1


def test_a_model_that_is_all_host_has_no_step_of_the_npu() -> None:
    m = Qdq()
    all_host(m)
    for name in [name for name in m.outputs if name.startswith("quantize")]:
        del m.outputs[name]
    assert not any(isinstance(step, NpuStep) for step in same_as_onnxruntime(m.model(), m.feeds()).steps)


def test_extents_that_only_a_run_tells() -> None:
    """NonMaxSuppression and what follows it: how many boxes are left is known when the model has run."""
    m = Qdq()
    x = conv(m, m.float_input(1, 4, 4, 4))
    boxes = m.node("Transpose", m.node("Reshape", x, m.integers(1, 4, 16)), perm=[0, 2, 1])
    scores = m.node("Reshape", m.node("ReduceMax", x, axes=[1], keepdims=1), m.integers(1, 1, 16))
    limit, overlap = m.const([8], np.int64), m.const([0.5], np.float32)
    kept = m.output(m.node("NonMaxSuppression", boxes, scores, limit, overlap, m.const([0.0], np.float32)), "float32")
    index = m.node("Gather", kept, m.const([2], np.int64), axis=1)
    m.output(m.node("Gather", boxes, m.node("Squeeze", index, m.integers(1)), axis=1))
    model = m.model()
    next(o for o in model.graph.output if o.name == kept).type.tensor_type.elem_type = TensorProto.INT64
    enf = same_as_onnxruntime(model, m.feeds())
    shapes = {t.name: t.shape for t in enf.outputs}
    assert shapes[kept] == (-1, 3)
    (work,) = (work for work in furc.profile(enf).host if work.name == "NonMaxSuppression")
    assert work.shape == (-1, 3) and work.ms > 0 and tables.shape(work.shape) == "?x3"
    with pytest.raises(LowerError, match="a part on the host mixes images of a batch"):
        furc.compile(model, batch_size=2, compiler_config={"max_npu_segments": "all"})


def test_a_tensor_without_elements_is_the_hosts() -> None:
    m = Qdq()
    x = m.float_input(1, 4, 8, 8)
    none = m.node("Slice", x, m.integers(2), m.integers(2), m.integers(1))
    m.output(conv(m, m.quantized(m.node("Concat", x, none, axis=1))))
    same_as_onnxruntime(m.model(), m.feeds())


def test_a_branch_with_what_it_reads_from_outside() -> None:
    m = Qdq()
    x = conv(m, m.float_input(1, 4, 8, 8))
    y = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    bodies = [helper.make_graph([helper.make_node(op, [x], ["inner"])], op, [], [y]) for op in ("Tanh", "Sigmoid")]
    wide = m.node("ReduceMax", x, keepdims=0)
    chosen = m.node(
        "If", m.node("Greater", wide, m.const(0.1, np.float32)), then_branch=bodies[0], else_branch=bodies[1]
    )
    m.output(conv(m, m.quantized(chosen)))
    same_as_onnxruntime(m.model(), m.feeds())


def test_a_batch_runs_the_host_once_an_image() -> None:
    m = Qdq()
    island(m)
    model = m.model()
    feeds = m.feeds()
    two = {name: np.concatenate([array, array[:, ::-1]]) for name, array in feeds.items()}
    got = Session(furc.compile(model, batch_size=2, compiler_config={"max_npu_segments": "all"})).run(two)
    for index in (0, 1):
        alone = Oracle(model).run({name: array[index : index + 1] for name, array in two.items()})
        for output in model.graph.output:
            mine = got[output.name][index : index + 1]
            mine = mine.view(np.int8) ^ np.int8(-128) if mine.dtype == np.uint8 else mine
            assert np.allclose(mine, alone[output.name], atol=1e-5)


def test_strict_lists_all_operators_of_the_host() -> None:
    m = Qdq()
    two_islands(m)
    model = m.model()
    with pytest.raises(LowerError) as caught:
        compile_graph(load_onnx(model, max_npu_segments="all"), CompileOptions(npu=target("warboy"), strict=True))
    assert caught.value.name == "HostOperators"
    assert caught.value.message.startswith("2 operators are left on the host; Tanh: 'Tanh' cannot be accelerated")
    assert len(caught.value.also) == 1 and "Elu" in caught.value.also[0]


def test_an_operator_that_nobody_knows_is_refused_with_its_node() -> None:
    m = Qdq()
    m.quantized(m.node("Unheard", m.float_input(1, 4, 8, 8), domain="com.example"))
    model = m.model()
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(LowerError) as caught:
        furc.compile(model)
    assert caught.value.message.startswith("'Unheard' runs neither on the NPU nor on ONNX Runtime: ")
    assert caught.value.at.nodes and caught.value.hint


def test_a_contributed_operator_with_results_that_nobody_names_is_refused_with_its_node() -> None:
    m = Qdq()
    x = m.float_input(1, 4, 8)
    m.node("SkipLayerNormalization", x, x, m.const(np.ones(8), np.float32), domain="com.microsoft")
    made = m.nodes[-1]
    made.output.extend(["", "", "sum"])
    m.quantized(m.node("Add", made.output[0], "sum"))
    with pytest.raises(LowerError) as caught:
        furc.compile(m.model())
    assert caught.value.message.endswith("a host step has no com.microsoft operator 'SkipLayerNormalization'")
    assert caught.value.at.nodes


def test_an_unnamed_node_is_called_like_its_result() -> None:
    m = Qdq()
    island(m)
    model = m.model()
    for node in model.graph.node:
        node.name = ""
    (operator,) = in_float(same_as_onnxruntime(model, m.feeds()))
    assert operator.nodes[0].startswith("Tanh that makes tanh_")


@pytest.mark.parametrize("axis", [0, 2, 3])
def test_what_has_no_low_level_form_is_the_hosts(axis: int) -> None:
    """Found when it is lowered, not when it is read: such as a join along an axis that the machine does not join."""
    m = Qdq("int8")
    x = conv(m, m.float_input(1, 4, 8, 8))
    parts = [conv(m, x) for _ in range(3)]
    m.output(conv(m, m.node("Concat", *parts, axis=axis)))
    same_as_onnxruntime(m.model(), m.feeds())


@pytest.mark.parametrize("op", ["AveragePool", "MaxPool", "LpPool"])
def test_a_pool_on_the_host_that_rounds_its_size_up(op: str) -> None:
    """A last window would begin behind the tensor: ONNX's shape inference counts it, ONNX Runtime makes none."""
    m = Qdq("int8", opset=18)
    x = m.float_input(1, 2, 4, 40)
    far: dict[str, Any] = {"strides": [2, 33], "pads": [1, 0, 2, 0], "ceil_mode": 1}
    m.quantized(m.node(op, x, kernel_shape=[4, 1], **far), 0.03, 2)
    model, feeds = m.model(), m.feeds()
    got, expected = furc.Session(furc.compile(model)).run(feeds), runtime(model, feeds, optimized=False)
    assert all(np.array_equal(got[name], array) for name, array in expected.items())


def test_a_mean_of_padding_that_no_attributes_state_is_refused() -> None:
    m = Qdq("int8")
    far: dict[str, Any] = {"strides": [2, 1, 3], "pads": [1, 0, 0, 2, 0, 0], "ceil_mode": 1, "count_include_pad": 1}
    m.quantized(m.node("AveragePool", m.float_input(1, 2, 4, 4, 8), kernel_shape=[4, 1, 1], **far))
    with pytest.raises(LowerError, match="has a window beyond it on one axis and none on another"):
        furc.compile(m.model())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kernel_shape": [5, 5]}, "kernel_shape is not compatible with W shape"),
        ({"group": 3}, "Input channels C is not equal to kernel channels * group"),
    ],
)
def test_a_node_that_onnxruntime_cannot_run_is_refused_with_its_name(wrong: dict[str, Any], said: str) -> None:
    m = Qdq("int8")
    x = conv(m, m.float_input(1, 4, 8, 8))
    bad = m.node("Conv", x, m.const(np.ones((4, 4, 3, 3)), np.float32), pads=[1] * 4, **wrong)
    m.output(m.node("Tanh", bad))
    with pytest.raises(LowerError) as caught:
        furc.compile(m.model())
    assert caught.value.message.startswith("host step 'conv': ONNX Runtime cannot run it: ")
    assert said in caught.value.message and caught.value.at.nodes == (bad,) and caught.value.hint


def test_what_follows_a_place_that_only_a_run_tells_is_tried_as_well() -> None:
    """The Gather reads computed indices, which decide whether it runs; the Reshape behind it never does."""
    m = Qdq("int8")
    x = m.node("Tanh", m.node("Reshape", conv(m, m.float_input(1, 4, 8, 8)), m.integers(1, 256)))
    _, indices = m.several("TopK", 2, x, m.integers(5))
    taken = m.node("Gather", x, m.node("Reshape", indices, m.integers(5)), axis=1)
    first = m.node("Slice", taken, m.integers(0), m.integers(4), m.integers(1))
    bad = m.node("Reshape", m.node("Elu", first), m.integers(3, -1))
    m.output(m.node("Elu", bad))
    with pytest.raises(FurcError) as caught:
        furc.compile(m.model())
    assert caught.value.at.nodes


def places(m: Qdq, divisor: Callable[[str, str], str], op: str) -> str:
    """The places of the largest elements, divided. divisor: of the values and the places."""
    x = m.node("Reshape", conv(m, m.float_input(1, 4, 8, 8)), m.integers(1, 256))
    values, indices = m.several("TopK", 2, x, m.integers(5))
    row = m.node(op, indices, divisor(values, indices))
    m.output(m.node("Cast", row, to=TensorProto.FLOAT))
    return row


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_integers_are_divided_by_what_is_never_zero(op: str) -> None:
    m = Qdq("int8")
    places(m, lambda *_: m.integers(8), op)
    same_as_onnxruntime(m.model(), m.feeds())


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("kind", ["zero", "minus one", "computed"])
def test_integers_divided_by_what_may_be_zero_are_refused(op: str, kind: str) -> None:
    """The processor ends the process, which ONNX Runtime does not prevent."""
    m = Qdq("int8")
    row = places(m, lambda _, at: at if kind == "computed" else m.integers(0 if kind == "zero" else -1), op)
    with pytest.raises(LowerError) as caught:
        furc.compile(m.model())
    assert caught.value.message.endswith(f"node '{row}': {op} of integers by what may be zero, or -1")


@pytest.mark.parametrize("by", [0, -1])
def test_constants_divided_by_zero_are_refused(by: int) -> None:
    m = Qdq("int8")
    shape = m.node("Div", m.integers(4, 64), m.integers(1, by))
    m.output(conv(m, m.node("Reshape", m.float_input(1, 4, 8, 8), shape)))
    with pytest.raises(SourceError) as caught:
        furc.compile(m.model())
    assert (
        caught.value.message == "Div: a division of integers by what may be zero, or -1"
        and caught.value.at.nodes == (shape,)
    )


@pytest.mark.parametrize("command", ["compile", "check"])
def test_a_node_that_aborts_onnx_is_an_error(command: str) -> None:
    """A Split into one part that has three results, of what the host makes."""
    m = Qdq("int8", opset=18)
    x = m.quantized(m.node("Conv", m.float_input(1, 4, 8, 8), m.weights(4, 4, 1, 1)))
    for part in m.several("Split", 3, m.node("Tanh", x), num_outputs=1, axis=1):
        m.output(m.node("Elu", part))
    with pytest.raises(SourceError) as caught:
        furc.compile(m.model()) if command == "compile" else check_file(m.model())
    assert caught.value.at.nodes and caught.value.name == "InvalidGraph"


def test_a_zero_point_that_is_no_number_is_told_when_compiling() -> None:
    """It is computed, so that the host has the node; only a run had said so."""
    m = Qdq("int8")
    x = m.quantize(m.float_input(1, 4, 8, 8), 0.05, 0)
    m.output(m.node("Tanh", m.node("DequantizeLinear", x, m.const(0.05, np.float32), x)))
    with pytest.raises(SourceError, match=r"its scale is \[\], its zero point \[1, 4, 8, 8\]"):
        furc.compile(m.model())


def quantized_as(m: Qdq, x: str, kind: int) -> str:
    """QuantizeLinear by `output_dtype`, without zero point, and back."""
    scale = m.const(0.3, np.float32)
    return m.node("DequantizeLinear", m.node("QuantizeLinear", x, scale, output_dtype=kind), scale)


@pytest.mark.parametrize("kind", [TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.UINT4])
def test_other_elements_than_int8_stated_by_the_node_alone_are_the_hosts(kind: int) -> None:
    """int16 without a zero point had been taken for uint8: by a scale of 0.02, up to 25 of 128 steps off. A step that
    begins with one of 4 bits did not run when it was tried."""
    m = Qdq(opset=21)
    x = m.fresh("x")
    m.inputs[x] = ("float32", (1, 4, 6, 6))
    m.output(m.quantized(m.node("Sigmoid", quantized_as(m, x, kind)), 1 / 256, -128))
    enf = same_as_onnxruntime(m.model(), m.feeds())
    assert "Sigmoid" in [operator.name for operator in in_float(enf)]


@pytest.mark.parametrize("kind", [TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT8E4M3FN])
@pytest.mark.parametrize("between", ["", "Identity"])
def test_a_relu_that_onnxruntime_leaves_out_is_refused(kind: int, between: str) -> None:
    """It is where its result is quantized to other types than int8 and int16: negative numbers came out."""
    m = Qdq(opset=21)
    y = m.node("Relu", m.float_input(1, 4, 6, 6))
    m.output(quantized_as(m, m.node(between, y) if between else y, kind))
    with pytest.raises(LowerError) as caught:
        furc.compile(m.model())
    assert caught.value.message.startswith("ONNX Runtime leaves out a Relu whose result is quantized to ")
    assert caught.value.hint is not None and "Clip" in caught.value.hint
