"""Every operator family: what furc imports computes what ONNX Runtime computes."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from qdq_models import Qdq, agree, mnemonics, on_host, runtime

from furc.frontend import load_onnx
from furc.quantizer import optimize_model
from isa.errors import RunError
from isa.npu import target
from passes.execute import execute
from passes.ops.conv import Conv2d

KINDS = pytest.mark.parametrize("kind", ["uint8", "int8"])


@KINDS
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"pads": [0, 1, 2, 1], "strides": [2, 1]},
        {"dilations": [2, 3], "pads": [2, 3, 2, 3]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
        {"auto_pad": "VALID"},
    ],
)
@pytest.mark.parametrize("axis", [0, None])
def test_conv(kind: str, attributes: dict[str, Any], axis: int | None) -> None:
    m = Qdq(kind)
    x, w = m.float_input(2, 6, 13, 14), m.weights(8, 6, 3, 3, axis=axis)
    m.output(m.quantized(m.node("Conv", x, w, m.bias(w, 8), **attributes)))
    assert mnemonics(agree(m)).count("conv2d") == 1


@KINDS
@pytest.mark.parametrize("group", [2, 8])
def test_grouped_and_depthwise_conv(kind: str, group: int) -> None:
    m = Qdq(kind)
    x, w = m.float_input(1, 8, 9, 9), m.weights(16, 8 // group, 3, 3)
    m.quantized(m.node("Conv", x, w, m.bias(w, 16), group=group, pads=[1] * 4))
    agree(m)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize(("op", "mnemonic"), [("MaxPool", "maxpool"), ("AveragePool", "avgpool")])
@pytest.mark.parametrize("kernel", [[40, 48], [40, 1]])
def test_a_stride_that_is_never_taken_may_be_long(op: str, mnemonic: str, ceil: int, kernel: list[int]) -> None:
    """As exporters write pools over whole rows, or over everything."""
    m = Qdq("int8")
    x = m.float_input(1, 4, 40, 48)
    m.output(m.quantized(m.node(op, x, kernel_shape=kernel, strides=kernel, ceil_mode=ceil)))
    assert mnemonic in mnemonics(agree(m))


def test_a_long_stride_that_is_taken_is_the_hosts() -> None:
    m = Qdq("int8")
    x = m.float_input(1, 4, 80, 48)
    m.output(m.quantized(m.node("MaxPool", x, kernel_shape=[40, 1], strides=[40, 1])))
    assert on_host(load_onnx(m.model())) == ["MaxPool with stride 40, the machine takes at most 32"]


@KINDS
def test_conv_in_one_dimension(kind: str) -> None:
    m = Qdq(kind)
    x, w = m.float_input(1, 4, 20), m.weights(6, 4, 5)
    m.quantized(m.node("Conv", x, w, m.bias(w, 6), strides=[2], pads=[2, 1]))
    assert mnemonics(agree(m)) == ["quantize", "reshape", "conv2d", "reshape"] + ["recast"] * 2 * (kind == "uint8")


def test_conv_without_bias() -> None:
    m = Qdq()
    m.quantized(m.node("Conv", m.float_input(1, 4, 6, 6), m.weights(4, 4, 1, 1)))
    agree(m)


def test_float_bias_is_rounded_to_the_scale_of_the_sums() -> None:
    m = Qdq()
    x, w = m.float_input(1, 4, 6, 6), m.weights(4, 4, 3, 3)
    m.quantized(m.node("Conv", x, w, m.const(m.rng.normal(0, 1, 4), np.float32)))
    agree(m, within=1)


def test_bias_of_another_scale_is_rescaled() -> None:
    m = Qdq()
    x, w = m.float_input(1, 4, 6, 6), m.weights(4, 4, 3, 3)
    bias = m.node("DequantizeLinear", m.const([5, -9, 77, 1000], np.int32), m.const(0.003, np.float32))
    m.quantized(m.node("Conv", x, w, bias))
    agree(m, optimized=False, within=1)


def test_weights_quantized_in_the_graph() -> None:
    m = Qdq("int8")
    x, real = m.float_input(1, 4, 6, 6), m.const(m.rng.normal(0, 0.3, (5, 4, 3, 3)), np.float32)
    scale, zero = m.const(m.rng.uniform(0.005, 0.01, 5), np.float32), m.const(np.zeros(5), np.int8)
    stored = m.node("QuantizeLinear", real, scale, zero, axis=0)
    m.quantized(m.node("Conv", x, m.node("DequantizeLinear", stored, scale, zero, axis=0)))
    agree(m)


def test_symmetric_uint8_weights_become_int8() -> None:
    m = Qdq()
    x, stored = m.float_input(1, 4, 6, 6), m.const(m.rng.integers(1, 256, (4, 4, 3, 3)), np.uint8)
    w = m.node("DequantizeLinear", stored, m.const(0.01, np.float32), m.const(128, np.uint8))
    m.quantized(m.node("Conv", x, w))
    agree(m)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm"])
@pytest.mark.parametrize("zero", [0, 97, 255])
def test_weights_with_a_zero_point(op: str, zero: int) -> None:
    m = Qdq("uint8")
    shape = (4, 4) if op == "Gemm" else (4, 4, 3, 3)
    x = m.float_input(*((3, 4) if op == "Gemm" else (1, 4, 6, 6)))
    stored = m.const(m.rng.integers(0, 256, shape), np.uint8)
    w = m.node("DequantizeLinear", stored, m.const(0.01, np.float32), m.const(zero, np.uint8))
    m.quantized(m.node(op, x, w))
    graph = agree(m, optimized=False, within=1)
    assert not on_host(graph)


def test_negative_alpha_turns_the_zero_point_of_the_weights() -> None:
    m = Qdq("int8")
    stored = m.const(m.rng.integers(-127, 128, (4, 4)), np.int8)
    w = m.node("DequantizeLinear", stored, m.const(0.01, np.float32), m.const(-9, np.int8))
    m.quantized(m.node("Gemm", m.float_input(3, 4), w, alpha=-0.5))
    agree(m, optimized=False, within=1)


@KINDS
def test_relu_and_clip_become_bounds_of_the_convolution(kind: str) -> None:
    m = Qdq(kind)
    x = m.float_input(1, 4, 8, 8)
    w = m.weights(4, 4, 3, 3)
    x = m.quantized(m.node("Relu", m.node("Conv", x, w, m.bias(w, 4))), 0.05, -128)
    w = m.weights(4, 4, 3, 3)
    clipped = m.node("Clip", m.node("Conv", x, w), m.const(0, np.float32), m.const(6, np.float32))
    m.quantized(clipped, 6 / 255, -128)
    graph = agree(m)
    assert "table" not in mnemonics(graph)
    assert next(op for op in graph.ops if op.mnemonic == "conv2d").loc.nodes == ("conv_15", "relu_16")


def test_bounds_inside_the_quantized_range_are_exact() -> None:
    """The float path of ONNX Runtime rounds its sums, so a tie may fall the other way."""
    m = Qdq()
    w = m.weights(4, 4, 3, 3)
    clip = m.node(
        "Clip", m.node("Conv", m.float_input(1, 4, 8, 8), w), m.const(-1.03, np.float32), m.const(2.2, np.float32)
    )
    m.quantized(clip, 0.05, 4)
    conv = next(op for op in agree(m, within=1).ops if op.mnemonic == "conv2d")
    assert isinstance(conv, Conv2d)
    assert (conv.clamp.lo, conv.clamp.hi) == (4 - 21, 4 + 44)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [2, 3], "pads": [1, 0, 1, 2], "output_padding": [1, 1]},
        {"strides": [2, 2], "output_shape": [11, 12]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"dilations": [2, 1]},
    ],
)
@pytest.mark.parametrize("axis", [1, None])
def test_conv_transpose(attributes: dict[str, Any], axis: int | None) -> None:
    """ONNX Runtime computes it in float, so ties may fall the other way."""
    m = Qdq()
    x, w = m.float_input(1, 5, 5, 6), m.weights(5, 4, 3, 3, axis=axis)
    m.quantized(m.node("ConvTranspose", x, w, m.bias(w, 4), **attributes))
    agree(m, within=1)


def test_grouped_conv_transpose() -> None:
    m = Qdq()
    x, w = m.float_input(1, 6, 5, 6), m.weights(6, 2, 3, 3, axis=None)
    m.quantized(m.node("ConvTranspose", x, w, group=3, strides=[2, 2]))
    agree(m, within=1)


@KINDS
@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(kind: str, transposed: int) -> None:
    m = Qdq(kind)
    x, w = m.float_input(3, 20), m.weights(*([7, 20] if transposed else [20, 7]), axis=1 - transposed)
    m.quantized(m.node("Gemm", x, w, m.bias(w, 7), transB=transposed))
    agree(m)


@KINDS
@pytest.mark.parametrize("shape", [(3, 20), (2, 3, 20), (1, 2, 3, 20)])
def test_matmul_with_a_constant(kind: str, shape: tuple[int, ...]) -> None:
    m = Qdq(kind)
    m.quantized(m.node("MatMul", m.float_input(*shape), m.weights(20, 6, axis=1)))
    agree(m)


def test_transposed_weights_keep_their_scales() -> None:
    m = Qdq()
    w = m.node("Transpose", m.weights(6, 20, axis=0), perm=[1, 0])
    m.quantized(m.node("MatMul", m.float_input(3, 20), w))
    agree(m, within=1)


@KINDS
@pytest.mark.parametrize("op", ["Add", "Mul"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1), (5,)])
def test_binary_equals_the_float_operators(kind: str, op: str, shape: tuple[int, ...]) -> None:
    m = Qdq(kind)
    m.quantized(m.node(op, m.float_input(2, 3, 4, 5), m.float_input(*shape, scale=0.013, zero=-30)), 0.04, 9)
    agree(m, optimized=False)


@pytest.mark.parametrize("op", ["Add", "Mul"])
def test_binary_with_a_quantized_constant(op: str) -> None:
    m = Qdq()
    stored = m.const(m.rng.integers(0, 256, (1, 3, 1, 1)), np.uint8)
    c = m.node("DequantizeLinear", stored, m.const(0.02, np.float32), m.const(100, np.uint8))
    m.quantized(m.node("Relu", m.node(op, c, m.float_input(1, 3, 4, 5))), 0.03, -128)
    assert mnemonics(agree(m, within=1))[1] == op.lower()


@KINDS
@pytest.mark.parametrize("op", ["Sigmoid", "Exp", "Softplus", "Relu"])
@pytest.mark.parametrize("optimized", [False, True])
def test_functions_become_tables(kind: str, op: str, optimized: bool) -> None:
    m = Qdq(kind)
    m.quantized(m.node(op, m.float_input(1, 3, 16, 16, scale=0.05)), 0.011, -20)
    assert "table" in mnemonics(agree(m, optimized=optimized))


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [False, True])
def test_a_float_scalar_makes_a_table(op: str, first: bool) -> None:
    m = Qdq()
    x, c = m.float_input(1, 3, 16, 16, zero=0), m.const(1.7, np.float32)
    x = m.node("Add", x, m.const([[3.3]], np.float32))  # away from division by zero
    m.quantized(m.node(op, *((c, x) if first else (x, c))), 0.03, 2)
    assert mnemonics(agree(m, optimized=False))[1] == "table"


@KINDS
@pytest.mark.parametrize("first", [False, True])
def test_a_sigmoid_that_is_not_rounded_before_its_mul_makes_one_table(kind: str, first: bool) -> None:
    m = Qdq(kind)
    x = m.float_input(1, 3, 16, 16, scale=0.05)
    gate = m.node("Sigmoid", x)
    m.quantized(m.node("Mul", *((gate, x) if first else (x, gate))), 0.03, -100)
    assert mnemonics(agree(m, optimized=False))[1] == "table"


def test_division_by_zero_gives_what_onnx_runtime_gives() -> None:
    m = Qdq("int8")
    x = m.float_input(1, 3, 16, 16, zero=0)
    m.quantized(m.node("Div", m.const(1.7, np.float32), x), 0.03, 2)
    agree(m, optimized=False)


def test_hard_swish_in_pieces() -> None:
    m = Qdq()
    x = m.float_input(1, 3, 16, 16, scale=0.06)
    gate = m.node("Clip", m.node("Add", x, m.const(3, np.float32)), m.const(0, np.float32), m.const(6, np.float32))
    gate = m.quantized(m.node("Div", gate, m.const(6, np.float32)), 1 / 255, -128)
    m.quantized(m.node("Mul", x, gate), 0.03, -100)
    assert mnemonics(agree(m, optimized=False))[:3] == ["quantize", "table", "mul"]


@KINDS
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 3], "ceil_mode": 1, "strides": [2, 2]},
        {"kernel_shape": [3, 3], "dilations": [2, 2]},
        {"kernel_shape": [5, 5], "auto_pad": "SAME_UPPER"},
    ],
)
def test_max_pool(kind: str, attributes: dict[str, Any]) -> None:
    m = Qdq(kind)
    m.output(m.quantized(m.node("MaxPool", m.float_input(2, 3, 12, 11), **attributes), 0.02, 3))
    assert mnemonics(agree(m))[:2] == ["quantize", "maxpool"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [2, 3], "ceil_mode": 1, "strides": [2, 2]},
    ],
)
def test_average_pool(attributes: dict[str, Any]) -> None:
    m = Qdq()
    m.quantized(m.node("AveragePool", m.float_input(2, 3, 12, 11), **attributes), 0.015, -3)
    agree(m, within=1)


@KINDS
@pytest.mark.parametrize("shape", [(2, 3, 12, 11), (2, 3, 30)])
def test_global_average_pool(kind: str, shape: tuple[int, ...]) -> None:
    m = Qdq(kind)
    m.quantized(m.node("GlobalAveragePool", m.float_input(*shape)), 0.005, -3)
    agree(m, within=1)


@pytest.mark.parametrize("axes", [[2, 3], [-1], [-2, -1]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [13, 18])
def test_reduce_mean_over_the_image(axes: list[int], keepdims: int, opset: int) -> None:
    m = Qdq(opset=opset)
    x = m.float_input(2, 3, 12, 11)
    if opset < 18:
        mean = m.node("ReduceMean", x, axes=axes, keepdims=keepdims)
    else:
        mean = m.node("ReduceMean", x, m.integers(*axes), keepdims=keepdims)
    m.quantized(mean, 0.005, -3)
    agree(m, within=1)


@pytest.mark.parametrize("op", ["Add", "Mul", "Max", "Min", "Sum", "Mean"])
def test_tensors_of_seven_axes(op: str) -> None:
    """More than the machine has loops: they run as one long axis."""
    m = Qdq()
    shape = (1, 2, 3, 2, 3, 2, 3)
    m.output(m.quantized(m.node(op, m.float_input(*shape), m.float_input(*shape))))
    assert not on_host(agree(m))


@pytest.mark.parametrize("op", ["Slice", "Split", "Transpose", "Expand"])
def test_moves_of_seven_axes(op: str) -> None:
    m = Qdq()
    x = m.float_input(1, 2, 1, 2, 3, 2, 3)
    inputs = {"Slice": [m.integers(1), m.integers(3), m.integers(4)], "Expand": [m.integers(1, 2, 4, 2, 3, 2, 3)]}
    attributes: dict[str, dict[str, Any]] = {"Split": {"axis": 3}, "Transpose": {"perm": [0, 6, 2, 3, 4, 5, 1]}}
    for made in m.several(op, 2 if op == "Split" else 1, x, *inputs.get(op, []), **attributes.get(op, {})):
        m.output(m.quantized(made))
    assert not on_host(agree(m))


@KINDS
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (2, 3, 40), (1, 3, 5, 4, 6)])
def test_global_max_pool(kind: str, shape: tuple[int, ...]) -> None:
    m = Qdq(kind)
    m.output(m.quantized(m.node("GlobalMaxPool", m.float_input(*shape)), 0.02, 3))
    graph = agree(m)
    assert mnemonics(graph).count("maxpool") == 1 and not on_host(graph)


@KINDS
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [[1], [2], [3], [-1], [1, 2], [2, 3], [1, 2, 3]])
def test_reduce_max_over_neighbouring_axes(kind: str, axes: list[int], keepdims: int) -> None:
    m = Qdq(kind)
    m.output(m.quantized(m.node("ReduceMax", m.float_input(2, 3, 5, 7), axes=axes, keepdims=keepdims), 0.05, -7))
    graph = agree(m)
    assert mnemonics(graph).count("maxpool") == 1 and not on_host(graph)


@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 3), (1, 6, 3, 4, 5)])
def test_reduce_max_of_other_than_images(shape: tuple[int, ...]) -> None:
    m = Qdq()
    m.output(m.quantized(m.node("ReduceMax", m.float_input(*shape), m.integers(1)), 0.05, -7))
    m.opset = 18
    graph = agree(m)
    assert mnemonics(graph).count("maxpool") == 1 and not on_host(graph)


@pytest.mark.parametrize("axes", [[2, 3], [-1], [2], [-2, -1]])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("opset", [11, 13])
def test_reduce_sum_over_the_image(axes: list[int], keepdims: int, opset: int) -> None:
    m = Qdq(opset=opset)
    x = m.float_input(2, 3, 12, 11)
    if opset < 13:
        total = m.node("ReduceSum", x, axes=axes, keepdims=keepdims)
    else:
        total = m.node("ReduceSum", x, m.integers(*axes), keepdims=keepdims)
    m.quantized(total, 0.4, -3)
    assert "reduce_sum" in mnemonics(agree(m, within=1))


def test_clip_with_one_bound_on_an_activation() -> None:
    m = Qdq()
    x = m.node("Clip", m.float_input(1, 3, 16, 16), "", m.const(1.1, np.float32))
    m.quantized(m.node("Clip", x, m.const(-0.7, np.float32)), 0.02, 3)
    assert mnemonics(agree(m, optimized=False))[:2] == ["quantize", "table"]


def test_relu_without_its_own_quantization_keeps_its_operands() -> None:
    m = Qdq()
    x = m.node("MaxPool", m.node("Relu", m.float_input(1, 3, 16, 16)), kernel_shape=[2, 2])
    m.quantized(x, 0.011, -128)
    m.quantized(m.node("Sigmoid", x), 1 / 255, -128)
    m.output(x)
    graph = agree(m, optimized=False)
    assert mnemonics(graph)[:5] == ["quantize", "table", "maxpool", "table", "table"]


def test_the_reference_executor_names_a_missing_input() -> None:
    m = Qdq()
    m.output(m.float_input(1, 3))
    graph = load_onnx(m.model())
    with pytest.raises(RunError, match=r"error\[MissingInput\]: input 'x_1': no array was given; got 'y'"):
        execute(graph, {"y": np.zeros((1, 3), np.float32)}, target("warboy"))
    with pytest.raises(RunError, match=r"error\[WrongInput\]: input 'x_1': expected float32\[1, 3\], got float64\[3\]"):
        execute(graph, {"x_1": np.zeros(3)}, target("warboy"))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad_is_as_onnx_runtime_has_it_or_left_to_it(op: str, mode: str) -> None:
    """With a stride beyond the kernel ONNX Runtime crops, in most cases; in pools it forgets dilations."""
    refused = []
    for extent, kernel, stride, dilation in product((7, 8), (1, 2, 3), (1, 2, 3, 4), (1, 2)):
        if dilation > 1 and (kernel == 1 or op != "MaxPool"):  # ONNX Runtime refuses those itself
            continue
        m = Qdq()
        x = m.float_input(1, 3, extent, extent)
        inputs = [x, m.weights(4, 3, kernel, kernel)] if op == "Conv" else [x]
        window: dict[str, Any] = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "auto_pad": mode}
        window |= {"dilations": [dilation] * 2} if dilation > 1 else {}
        m.output(m.quantized(m.node(op, *inputs, **window), 0.02, 3))
        reasons = on_host(load_onnx(m.model(), max_npu_segments="all"))
        if reasons:
            assert all("auto_pad" in reason for reason in reasons)
            refused.append((extent, kernel, stride, dilation))
        else:
            agree(m, within=op == "AveragePool")
    assert (8, 1, 4, 1) in refused and (7, 3, 2, 1) not in refused and (8, 2, 2, 1) not in refused
    assert all(dilation > 1 or stride >= kernel + 2 for _, kernel, stride, dilation in refused)


def test_the_quantizer_leaves_auto_pad_alone_where_it_would_crop() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1], strides=[4, 4], auto_pad="SAME_UPPER")
    graph = helper.make_graph([node], "g", [x], [y], [w])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    feed = {"x": np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8)}
    before, after = (runtime(m, feed, optimized=False)["y"] for m in (model, optimize_model(model)))
    assert before.reshape(-1).tolist() == after.reshape(-1).tolist() == [9, 13, 41, 45]


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 2, 2, 1], [2, 0, 1, 2]])
def test_average_of_padding_with_the_size_rounded_up(stride: int, pads: list[int]) -> None:
    """Padding counts, what a window reaches beyond it does not; a window that begins in it is not made."""
    m = Qdq("int8")
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": pads}
    m.quantized(m.node("AveragePool", m.float_input(1, 4, 8, 9), **window, ceil_mode=1, count_include_pad=1))
    assert on_host(agree(m, optimized=False, within=1)) == []
