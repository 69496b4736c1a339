"""The float passes leave the model's results as they were."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from quantizer_models import image, images, model, node, normal, residual, run, sqnr_db

from furc.onnx.graph import Array
from furc.quantizer import optimize_model, quantize_model
from isa.errors import QuantizeError, SourceError


def ops(made: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in made.graph.node]


def assert_same(before: onnx.ModelProto, after: onnx.ModelProto, feed: dict[str, Array]) -> None:
    for wanted, found in zip(run(before, feed), run(after, feed), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)
    onnx.checker.check_model(after)


def batchnorm(channels: int, stem: str = "n") -> dict[str, Array]:
    return {
        f"{stem}s": normal(11, channels), f"{stem}b": normal(12, channels), f"{stem}m": normal(13, channels),
        f"{stem}v": np.abs(normal(14, channels)) + 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_batchnorm_folds(op: str, group: int, bias: bool) -> None:
    shape = (4, 6 // group, 3, 3) if op == "ConvTranspose" else (6, 4 // group, 3, 3)
    constants = {"w": normal(1, *shape), **batchnorm(6)} | ({"b": normal(2, 6)} if bias else {})
    nodes = [
        node(op, ["x", "w", *(["b"] if bias else [])], "c", group=group, pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "ns", "nb", "nm", "nv"], "y"),
    ]
    before = model(nodes, {"x": (1, 4, 6, 6)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == [op]
    assert_same(before, after, image(0, (1, 4, 6, 6)))


def test_batchnorm_behind_nothing_becomes_a_depthwise_conv() -> None:
    nodes = [node("Relu", ["x"], "r"), node("BatchNormalization", ["r", "ns", "nb", "nm", "nv"], "y")]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], batchnorm(3))
    after = optimize_model(before)
    assert ops(after) == ["Relu", "Conv"]
    assert_same(before, after, image())


@pytest.mark.parametrize(
    ("shape", "made"),
    [((1, 3), ["Reshape", "Conv", "Flatten"]), ((1, 3, 4, 6, 6), ["Conv"]), ((64, 3), ["BatchNormalization"])],
)
def test_batchnorm_of_vectors_and_volumes_becomes_a_conv(shape: tuple[int, ...], made: list[str]) -> None:
    """Behind a global pool, as heads that embed have it; of many tokens it stays."""
    before = model([node("BatchNormalization", ["x", "ns", "nb", "nm", "nv"], "y")], {"x": shape}, ["y"], batchnorm(3))
    after = optimize_model(before)
    assert ops(after) == made
    assert_same(before, after, image(0, shape))


@pytest.mark.parametrize(
    ("first", "second", "made"),
    [
        (node("Sub", ["x", "mean"], "a"), node("Div", ["a", "std"], "y"), ["Conv"]),
        (node("Mul", ["std", "x"], "a"), node("Add", ["a", "one"], "y"), ["Conv"]),
        (node("Add", ["x", "one"], "a"), node("Mul", ["a", "two"], "y"), ["Add", "Mul"]),
        (node("Sub", ["x", "mean"], "a"), node("Mul", ["a", "wide"], "y"), ["Sub", "Mul"]),
        (node("Sub", ["x", "mean"], "a"), node("Relu", ["a"], "y"), ["Sub", "Relu"]),
    ],
)
def test_normalization_in_the_model_is_one_conv(first: onnx.NodeProto, second: onnx.NodeProto, made: list[str]) -> None:
    constants = {
        "mean": normal(1, 3, 1, 1), "std": np.abs(normal(2, 1, 3, 1, 1)) + 0.5, "wide": normal(3, 12),
        "one": np.array([1], np.float32), "two": np.array(2, np.float32),
    }  # fmt: skip
    before = model([first, second], {"x": (1, 3, 12, 12)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == made
    assert_same(before, after, image())


def test_a_matmul_of_a_matrix_is_a_gemm_and_takes_what_follows() -> None:
    constants = {"w": normal(1, 4, 5), "b": normal(2, 5), **batchnorm(5)}
    nodes = [
        node("MatMul", ["x", "w"], "m"), node("Add", ["m", "b"], "a"),
        node("BatchNormalization", ["a", "ns", "nb", "nm", "nv"], "y"),
    ]  # fmt: skip
    before = model(nodes, {"x": (2, 4)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == ["Gemm"]
    assert_same(before, after, image(0, (2, 4)))


@pytest.mark.parametrize("mode", ["linear", "cubic"])
def test_a_resize_of_single_rows_and_columns_repeats_them(mode: str) -> None:
    constants = {"sizes": np.array([1, 3, 8, 12])}
    nodes = [node("GlobalAveragePool", ["x"], "g"), node("Resize", ["g", "", "", "sizes"], "y", mode=mode)]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    after = optimize_model(before)
    modes = [a.s for n in after.graph.node for a in n.attribute if a.name == "mode"]
    assert modes == [b"nearest"]
    assert_same(before, after, image())
    wide = model([node("Resize", ["x", "", "", "sizes"], "y", mode=mode)], {"x": (1, 3, 1, 4)}, ["y"], constants)
    assert any(a.s == mode.encode() for a in optimize_model(wide).graph.node[0].attribute)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(("shape", "axes", "pools"), [
    ((1, 3, 12, 12), [2, 3], True), ((1, 3, 12, 12), [-1], True), ((1, 3, 12, 12), [1], True),
    ((2, 3, 5), [2], True), ((2, 3, 2, 4, 4), [2, 3, 4], True), ((1, 3, 12, 12), [1, 3], False),
    ((2, 3, 4, 4), [0], False), ((1, 1025, 4, 4), [1], False),
])  # fmt: skip
def test_a_maximum_over_axes_is_a_max_pool(shape: tuple[int, ...], axes: list[int], pools: bool, keepdims: int) -> None:
    nodes = [node("ReduceMax", ["x"], "r", axes=axes, keepdims=keepdims), node("Relu", ["r"], "y")]
    before = model(nodes, {"x": shape}, ["y"], {})
    after = optimize_model(before)
    assert ("MaxPool" in ops(after), "ReduceMax" in ops(after)) == (pools, not pools)
    assert_same(before, after, image(0, shape))


def test_a_maximum_of_an_open_batch_is_a_max_pool() -> None:
    nodes = [node("GlobalMaxPool", ["x"], "g"), node("ReduceMax", ["x"], "r", axes=[1], keepdims=1)]
    before = model([*nodes, node("Mul", ["g", "r"], "y")], {"x": ("batch", 3, 12, 12)}, ["y"], {})
    after = optimize_model(before)
    assert ops(after) == ["MaxPool", "Reshape", "MaxPool", "Reshape", "Mul"]
    assert_same(before, after, image(0, (2, 3, 12, 12)))


@pytest.mark.parametrize(
    ("slope", "made"),
    [
        ([0.0, 0.5, 1.0], ["Conv", "Max"]),
        ([0.5, -0.5, 2.0], ["Relu", "Clip", "Conv", "Add"]),
        ([0.5, 0.5, 0.5], ["LeakyRelu"]),
    ],
)
@pytest.mark.parametrize("shape", [(1, 3, 12), (2, 3, 12, 12), (1, 3, 2, 4, 4)])
def test_a_prelu_is_spelled_out(slope: list[float], made: list[str], shape: tuple[int, ...]) -> None:
    constants = {"slope": np.array(slope, np.float32).reshape(3, *[1] * (len(shape) - 2))}
    before = model([node("PRelu", ["x", "slope"], "y")], {"x": shape}, ["y"], constants)
    after = optimize_model(before)
    assert [op for op in ops(after) if op not in ("Squeeze", "Unsqueeze")] == made
    assert_same(before, after, image(0, shape))


def test_a_prelu_with_slopes_along_rows_stays() -> None:
    constants = {"slope": normal(1, 3, 1)}
    before = model([node("PRelu", ["x", "slope"], "y")], {"x": (1, 3, 3, 3)}, ["y"], constants)
    assert ops(optimize_model(before)) == ["PRelu"]


def test_gemm_takes_batchnorm_alpha_and_beta() -> None:
    constants = {"w": normal(1, 5, 4), "b": normal(2, 5), **batchnorm(5)}
    nodes = [
        node("Gemm", ["x", "w", "b"], "g", transB=1, alpha=0.5, beta=2.0),
        node("BatchNormalization", ["g", "ns", "nb", "nm", "nv"], "y"),
    ]
    before = model(nodes, {"x": (1, 4)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == ["Gemm"]
    assert_same(before, after, image(0, (1, 4)))


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1)])
@pytest.mark.parametrize("first", [True, False])
def test_arithmetic_by_channel_constants_folds(op: str, shape: tuple[int, ...], first: bool) -> None:
    constants = {"w": normal(1, 6, 3, 3, 3), "k": np.abs(normal(2, *shape)) + 0.5}
    nodes = [node("Conv", ["x", "w"], "c"), node(op, ["c", "k"] if first else ["k", "c"], "y")]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == (["Conv"] if first or op != "Div" else ["Conv", "Div"])
    assert_same(before, after, image())


def test_a_conv_with_two_readers_and_a_constant_along_width_stay() -> None:
    constants = {"w": normal(1, 6, 3, 3, 3), "k": normal(2, 10), "s": np.array(2, np.float32)}
    nodes = [node("Conv", ["x", "w"], "c"), node("Mul", ["c", "k"], "y"), node("Mul", ["c", "s"], "z")]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y", "z"], constants)
    after = optimize_model(before)
    assert ops(after) == ["Conv", "Mul", "Mul"]
    assert_same(before, after, image())


def test_shape_arithmetic_folds_into_a_pad_which_folds_into_the_conv() -> None:
    constants = {
        "w": normal(1, 4, 3, 3, 3), "one": np.array([0, 0, 1, 1], np.int64), "more": np.array([0, 0, 1, 2], np.int64),
    }  # fmt: skip
    nodes = [
        node("Concat", ["one", "more"], "pads", axis=0),
        node("Cast", ["pads"], "cast", to=TensorProto.INT64),
        node("Pad", ["x", "cast"], "p"),
        node("Conv", ["p", "w"], "y", pads=[1, 0, 0, 0]),
    ]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == ["Conv"]
    assert list(helper.get_attribute_value(after.graph.node[0].attribute[0])) == [2, 1, 1, 2]
    assert_same(before, after, image())


def test_chains_of_shapes_fold_to_a_fixed_point() -> None:
    """The second Reshape's shape is known only once the first has been folded into the shapes."""
    nodes = [
        node("Shape", ["x"], "s0"), node("Gather", ["s0", "zero"], "n"), node("Concat", ["n", "rest"], "to0", axis=0),
        node("Reshape", ["x", "to0"], "r0"), node("Shape", ["r0"], "s1"), node("Gather", ["s1", "zero"], "m"),
        node("Concat", ["m", "rest2"], "to1", axis=0), node("Reshape", ["r0", "to1"], "r1"),
        node("Shape", ["r1"], "s2"), node("Cast", ["s2"], "f2", to=1), node("Slice", ["f2", "zero", "one"], "h2"),
        node("Mul", ["r1", "h2"], "y"),
    ]  # fmt: skip
    constants = {
        "zero": np.array([0]), "one": np.array([1]), "rest": np.array([3, 144]), "rest2": np.array([3, 12, 12]),
    }  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    folded = optimize_model(made)
    assert "Shape" not in ops(folded) and "Gather" not in ops(folded)
    assert_same(made, folded, image())


def divided(by: list[int], less: list[int]) -> onnx.ModelProto:
    """x reshaped by a shape that is 48 divided by the difference of constants."""
    constants = {name: np.array(v, np.int64) for name, v in {"by": by, "less": less, "of": [48, 48]}.items()}
    nodes = [
        node("Sub", ["by", "less"], "d"), node("Div", ["of", "d"], "q"), node("Reshape", ["x", "q"], "s"),
        node("Relu", ["s"], "y"),
    ]  # fmt: skip
    return model(nodes, {"x": (1, 3, 4, 4)}, ["y"], constants)


def test_integers_are_divided_when_the_divisor_is_known() -> None:
    before = divided([14, 7], [2, 3])
    after = optimize_model(before)
    assert ops(after) == ["Reshape", "Relu"]
    assert_same(before, after, image(0, (1, 3, 4, 4)))


@pytest.mark.parametrize("less", [[14, 3], [15, 3]])
def test_a_division_that_ends_the_process_is_refused(less: list[int]) -> None:
    """By zero, and by -1, which no processor can do with the least integer."""
    with pytest.raises(QuantizeError) as caught:
        optimize_model(divided([14, 7], less))
    assert caught.value.at.nodes == ("q_node",)
    assert caught.value.message == "Div of integers by what may be zero, or -1: that ends the process"


def test_a_pad_with_another_value_or_reader_stays() -> None:
    constants = {
        "w": normal(1, 4, 3, 3, 3),
        "p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "v": np.array(1, np.float32),
    }
    nodes = [
        node("Pad", ["x", "p", "v"], "ones"), node("Conv", ["ones", "w"], "y"),
        node("Pad", ["x", "p"], "zeros"), node("Conv", ["zeros", "w"], "z"), node("Relu", ["zeros"], "r"),
    ]  # fmt: skip
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y", "z", "r"], constants)
    after = optimize_model(before)
    assert ops(after).count("Pad") == 2
    assert_same(before, after, image())


@pytest.mark.parametrize("auto_pad", ["VALID", "NOTSET"])
def test_a_pad_folds_into_a_conv_whatever_says_that_it_has_none(auto_pad: str) -> None:
    constants = {"w": normal(1, 4, 3, 3, 3), "p": np.array([0, 0, 1, 2, 0, 0, 0, 1], np.int64)}
    nodes = [node("Pad", ["x", "p"], "u"), node("Conv", ["u", "w"], "y", auto_pad=auto_pad)]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    after = optimize_model(before)
    assert ops(after) == ["Conv"]
    assert_same(before, after, image())


@pytest.mark.parametrize(("axes", "pads"), [([2], [1, 2]), ([-1, 2], [1, 0, 2, 1]), ([1], [1, 1])])
@pytest.mark.parametrize("fill", [0, 1])
def test_a_pad_of_some_axes_says_what_it_adds_along_each(axes: list[int], pads: list[int], fill: int) -> None:
    constants = {"w": normal(1, 4, 3 + (axes == [1]) * 2, 3, 3), "p": np.array(pads), "a": np.array(axes),
                 "v": np.array(fill, np.float32)}  # fmt: skip
    nodes = [
        node("Relu", ["x"], "r"), node("Pad", ["r", "p", "v" if fill else "", "a"], "u"),
        node("MaxPool", ["u"], "m", kernel_shape=[2, 2]), node("Conv", ["m", "w"], "y"),
    ]  # fmt: skip
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants, opset=18)
    after = optimize_model(before)
    (pad,) = [of for of in after.graph.node if of.op_type == "Pad"]
    assert len(pad.input) == 2 + fill
    assert_same(before, after, image())
    exact, (found, *_) = run(before, image())[0], run(quantize_model(before, images(4)), image())
    assert sqnr_db(exact, found) > 25


def conv(x: str, made: str, weight: str, *bias: str, **attributes: object) -> onnx.NodeProto:
    return node("Conv", [x, weight, *bias], made, **attributes)


BRANCHES: dict[str, tuple[list[onnx.NodeProto], dict[str, tuple[int, ...]], int]] = {
    "RepVGG": ([
        conv("x", "a", "w3", "b", pads=[1, 1, 1, 1]), conv("x", "c", "w1"), node("Add", ["a", "c"], "d"),
        node("BatchNormalization", ["x", "ns", "nb", "nm", "nv"], "e"), node("Add", ["d", "e"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 1),
    "the smaller first, strided": ([
        conv("x", "c", "w1", "b", strides=[2, 2]), conv("x", "a", "w3", "b", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Add", ["c", "a"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 1),
    "rows and columns into a kernel": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("x", "c", "row", pads=[0, 1, 0, 1]),
        conv("x", "e", "column", pads=[1, 0, 1, 0]), node("Add", ["a", "c"], "d"), node("Add", ["e", "d"], "y"),
    ], {"w3": (4, 4, 3, 3), "row": (4, 4, 1, 3), "column": (4, 4, 3, 1)}, 1),
    "groups within groups": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1], group=2), conv("x", "c", "depthwise", group=4),
        node("Add", ["a", "c"], "y"),
    ], {"w3": (4, 2, 3, 3), "depthwise": (4, 1, 1, 1)}, 1),
    "dilated": ([
        conv("x", "a", "w3", pads=[2, 2, 2, 2], dilations=[2, 2]), conv("x", "c", "w1"), node("Add", ["a", "c"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 1),
    "pads on one side": ([
        conv("x", "a", "w2", pads=[1, 1, 0, 0]), conv("x", "c", "w1"), node("Add", ["a", "c"], "y"),
    ], {"w2": (4, 4, 2, 2), "w1": (4, 4, 1, 1)}, 1),
    "a number between": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("x", "c", "w1"), node("Add", ["a", "c"], "d"),
        node("Add", ["d", "k"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1), "k": (4, 1, 1)}, 1),
    "not in each other": ([
        conv("x", "a", "row", pads=[0, 1, 0, 1]), conv("x", "c", "column", pads=[1, 0, 1, 0]),
        node("Add", ["a", "c"], "y"),
    ], {"row": (4, 4, 1, 3), "column": (4, 4, 3, 1)}, 2),
    "dense beside depthwise": ([
        conv("x", "a", "depthwise", pads=[1, 1, 1, 1], group=4), conv("x", "c", "w1"), node("Add", ["a", "c"], "y"),
    ], {"depthwise": (4, 1, 3, 3), "w1": (4, 4, 1, 1)}, 2),
    "of other tensors": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("a", "c", "w1"), conv("x", "e", "w1"),
        node("Add", ["c", "e"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 3),
    "read elsewhere": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("x", "c", "w1"), node("Add", ["a", "c"], "d"),
        node("Mul", ["c", "d"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 2),
    "one channel added to all": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("x", "c", "one"), node("Add", ["a", "c"], "y"),
    ], {"w3": (4, 4, 3, 3), "one": (1, 4, 1, 1)}, 2),
    "one channel that all are added to": ([
        conv("x", "a", "one", pads=[1, 1, 1, 1]), conv("x", "c", "w1"), node("Add", ["a", "c"], "y"),
    ], {"one": (1, 4, 3, 3), "w1": (4, 4, 1, 1)}, 2),
    "the same twice": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), node("Add", ["a", "a"], "y"),
    ], {"w3": (4, 4, 3, 3)}, 1),
    "places between those of a dilated kernel": ([
        conv("x", "a", "w3", pads=[1, 1, 3, 3], dilations=[2, 2]), conv("x", "c", "w1"), node("Add", ["a", "c"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 2),
    "spread over one row": ([
        conv("x", "a", "w3", pads=[1, 1, 1, 1]), conv("x", "c", "w1", strides=[12, 1]), node("Add", ["a", "c"], "y"),
    ], {"w3": (4, 4, 3, 3), "w1": (4, 4, 1, 1)}, 2),
}  # fmt: skip


@pytest.mark.parametrize("case", BRANCHES)
def test_branches_that_are_added_up_are_one_convolution(case: str) -> None:
    nodes, shapes, left = BRANCHES[case]
    constants = {name: normal(i, *shape) for i, (name, shape) in enumerate({**shapes, "b": (4,)}.items())}
    before = model(nodes, {"x": (1, 4, 12, 12)}, ["y"], {**constants, **batchnorm(4)})
    after = optimize_model(before)
    assert ops(after).count("Conv") == left
    assert_same(before, after, image(0, (1, 4, 12, 12)))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_auto_pad_is_spelled_out(mode: str) -> None:
    nodes = [node("Conv", ["x", "w"], "y", auto_pad=mode, strides=[2, 3], kernel_shape=[3, 4])]
    before = model(nodes, {"x": (1, 3, 11, 12)}, ["y"], {"w": normal(1, 4, 3, 3, 4)})
    after = optimize_model(before)
    assert "auto_pad" not in {a.name for a in after.graph.node[0].attribute}
    assert_same(before, after, image(0, (1, 3, 11, 12)))


def test_conv1d_becomes_conv2d() -> None:
    nodes = [node("Conv", ["x", "w", "b"], "c", strides=[2], pads=[1, 2], dilations=[2]), node("Relu", ["c"], "y")]
    before = model(nodes, {"x": (1, 3, 20)}, ["y"], {"w": normal(1, 4, 3, 3), "b": normal(2, 4)})
    after = optimize_model(before)
    assert ops(after) == ["Unsqueeze", "Conv", "Squeeze", "Relu"]
    assert_same(before, after, image(0, (1, 3, 20)))


def test_identity_and_dropout_go_and_outputs_keep_their_names() -> None:
    nodes = [
        node("Identity", ["x"], "a"), node("Relu", ["a"], "b"), node("Dropout", ["b"], "c"),
        node("Neg", ["c"], "d"), node("Identity", ["d"], "y"), node("Identity", ["x"], "z"),
    ]  # fmt: skip
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y", "z"], {})
    after = optimize_model(before)
    assert ops(after) == ["Relu", "Neg", "Identity"]
    assert [o.name for o in after.graph.output] == ["y", "z"]
    assert_same(before, after, image())


def test_an_input_that_is_an_output_too_keeps_its_shape() -> None:
    conv = node("Conv", ["x", "w"], "y")
    after = optimize_model(model([conv], {"x": (1, 3, 12, 12)}, ["y", "x"], {"w": normal(1, 4, 3, 3, 3)}))
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in (*after.graph.input, *after.graph.output)]
    assert shapes == [[1, 3, 12, 12], [1, 4, 10, 10], [1, 3, 12, 12]]


def test_unbounded_clip_becomes_relu_and_bounded_clip_stays() -> None:
    constants = {"low": np.array(0, np.float32), "huge": np.array(3.4e38, np.float32), "six": np.array(6, np.float32)}
    nodes = [node("Clip", ["x", "low", "huge"], "a"), node("Clip", ["a", "low", "six"], "y")]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    assert ops(optimize_model(before)) == ["Relu", "Clip"]


SMALL = {"tiny": np.array(1e-12, np.float32), "two": np.array(2, np.float32), "one": np.array([1])}
LENGTHS = {
    "torch": [
        node("ReduceL2", ["x"], "l", axes=[1], keepdims=1), node("Clip", ["l", "tiny"], "m"),
        node("Expand", ["m", "shape"], "e"), node("Div", ["x", "e"], "y"),
    ],
    "written out": [
        node("Pow", ["x", "two"], "s"), node("ReduceSum", ["s", "one"], "t"), node("Sqrt", ["t"], "l"),
        node("Add", ["l", "tiny"], "m"), node("Div", ["x", "m"], "y"),
    ],
    "tensorflow": [
        node("Mul", ["x", "x"], "s"), node("ReduceSum", ["s", "one"], "t"), node("Max", ["t", "tiny"], "m"),
        node("Sqrt", ["m"], "l"), node("Reciprocal", ["l"], "r"), node("Mul", ["r", "x"], "y"),
    ],
    "caffe": [
        node("ReduceSumSquare", ["x"], "t", axes=[-3]), node("Sqrt", ["t"], "l"), node("Div", ["x", "l"], "y"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("form", LENGTHS)
def test_a_division_by_the_length_is_recognized(form: str) -> None:
    before = model(LENGTHS[form], {"x": (1, 3, 12, 12)}, ["y"], {**SMALL, "shape": np.array([1, 3, 12, 12])})
    after = optimize_model(before)
    assert ops(after) == ["LpNormalization"]
    assert_same(before, after, image())


@pytest.mark.parametrize("form", LENGTHS)
def test_a_division_by_the_length_is_recognized_in_an_open_batch(form: str) -> None:
    shape = node("Shape", ["x"], "shape")
    nodes = [shape, *LENGTHS[form]] if form == "torch" else LENGTHS[form]
    before = model(nodes, {"x": ("N", 3, 12, 12)}, ["y"], SMALL)
    after = optimize_model(before)
    assert ops(after) == ["LpNormalization"]
    assert_same(before, after, image(0, (2, 3, 12, 12)))


@pytest.mark.parametrize("repeats", ["Expand", "Add"])
def test_a_division_that_repeats_an_open_batch_stays(repeats: str) -> None:
    grown = np.array([2, 1, 1, 1]) if repeats == "Expand" else np.full((2, 1, 1, 1), 1e-12, np.float32)
    nodes = [node("ReduceL2", ["x"], "l", axes=[1], keepdims=1), node(repeats, ["l", "by"], "m"),
             node("Div", ["x", "m"], "y")]  # fmt: skip
    before = model(nodes, {"x": ("N", 3, 12, 12)}, ["y"], {"by": grown})
    after = optimize_model(before)
    assert "LpNormalization" not in ops(after)
    assert_same(before, after, image())


@pytest.mark.parametrize("change", ["bound", "axes", "batch", "other", "squeezed"])
def test_other_divisions_stay(change: str) -> None:
    axes = {"axes": [2, 3], "batch": [0]}.get(change, [1])
    nodes = [
        node("Relu", ["x"], "o"),
        node("ReduceL2", ["o" if change == "other" else "x"], "l", axes=axes, keepdims=int(change != "squeezed")),
        node("Clip", ["l", "low"], "m"), node("Div", ["x", "m"], "y"),
    ]  # fmt: skip
    low = np.array(0.5 if change == "bound" else 1e-12, np.float32)
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], {"low": low})
    assert "LpNormalization" not in ops(optimize_model(before))


def test_a_length_that_something_else_reads_stays_beside() -> None:
    before = model([*LENGTHS["caffe"], node("Relu", ["l"], "z")], {"x": (1, 3, 12, 12)}, ["y", "z"], SMALL)
    after = optimize_model(before)
    assert sorted(ops(after)) == ["LpNormalization", "ReduceSumSquare", "Relu", "Sqrt"]
    assert_same(before, after, image())


def test_an_open_batch_is_fixed_by_input_shapes() -> None:
    before = model([node("Relu", ["x"], "y")], {"x": ("n", 3, 12, 12)}, ["y"], {})
    after = optimize_model(before, {"x": [2, 3, 12, 12]})
    for info in (after.graph.input[0], after.graph.output[0]):
        assert [d.dim_value for d in info.type.tensor_type.shape.dim] == [2, 3, 12, 12]
    with pytest.raises(QuantizeError, match="input_shapes names 'q', the model has the inputs x"):
        optimize_model(before, {"q": [1]})


def test_an_old_opset_is_brought_up() -> None:
    nodes = [node("Clip", ["x"], "c", min=0.0, max=6.0), node("Squeeze", ["c"], "y", axes=[0])]
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], {}, opset=9)
    after = optimize_model(before)
    assert after.opset_import[0].version == 13
    assert_same(before, after, image())


@pytest.mark.parametrize("opset", [21, 22])
@pytest.mark.parametrize("batch", [2, "N"])
def test_group_normalization_that_has_no_way_down_is_spelled_out(opset: int, batch: int | str) -> None:
    nodes = [
        node("GroupNormalization", ["x", "s", "b"], "g", num_groups=4, epsilon=1e-3), node("Relu", ["g"], "y"),
    ]  # fmt: skip
    before = model(nodes, {"x": (batch, 8, 5, 6)}, ["y"], {"s": normal(1, 8), "b": normal(2, 8)}, opset=opset)
    after = optimize_model(before)
    assert after.opset_import[0].version == 20 and "InstanceNormalization" in ops(after)
    assert_same(before, after, {"x": normal(3, 2, 8, 5, 6)})


@pytest.mark.parametrize("axes", [1, 2])
def test_rms_normalization_that_has_no_way_down_is_spelled_out(axes: int) -> None:
    nodes = [node("RMSNormalization", ["x", "s"], "r", axis=-axes), node("Relu", ["r"], "y")]
    before = model(nodes, {"x": (2, 8, 5, 6)}, ["y"], {"s": normal(1, *(5, 6)[-axes:])}, opset=23)
    after = optimize_model(before)
    assert after.opset_import[0].version == 20
    assert_same(before, after, {"x": normal(3, 2, 8, 5, 6)})


def test_a_norm_that_stays_says_how_to_export_it() -> None:
    nodes = [node("RMSNormalization", ["x", "s"], "y", axis=3)]
    with pytest.raises(QuantizeError, match="export the model with opset_version=13") as caught:
        optimize_model(model(nodes, {"x": (2, 8, 5, 6)}, ["y"], {"s": normal(1, 6)}, opset=23))
    assert caught.value.name == "OpsetConversion"


@pytest.mark.parametrize(
    ("op", "opset", "mode", "scale"),
    [
        ("Upsample", 9, "linear", 2),
        ("Upsample", 9, "nearest", 2),
        ("Resize", 10, "linear", 2),
        ("Resize", 10, "nearest", 0.25),
        ("Resize", 10, "nearest", 0.7),
        ("Resize", 10, "nearest", 1.7),
    ],
)
def test_an_old_resize_reads_from_the_corner_on(op: str, opset: int, mode: str, scale: float) -> None:
    """What later opsets state, by another default."""
    scales = {"scales": np.array([1, 1, scale, scale], np.float32)}
    before = model([node(op, ["x", "scales"], "y", mode=mode)], {"x": (1, 3, 12, 12)}, ["y"], scales, opset=opset)
    assert_same(before, optimize_model(before), image())


@pytest.mark.parametrize("factors", [(0.75, 0.5), (0.25, 0.75), (1.5, 2)])
def test_computed_scales_of_an_old_resize_are_known_before_it_is_rounded(factors: tuple[float, float]) -> None:
    """As PyTorch writes them: the extents wanted by those there are, both from Shape. They had been rounded down."""
    nodes = [
        node("Shape", ["x"], "extents"), node("Cast", ["extents"], "there", to=TensorProto.FLOAT),
        node("Mul", ["there", "factors"], "exact"), node("Floor", ["exact"], "wanted"),
        node("Div", ["wanted", "there"], "scales"), node("Resize", ["x", "scales"], "y", mode="nearest"),
    ]  # fmt: skip
    constants = {"factors": np.array([1, 1, *factors], np.float32)}
    before = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants, opset=10)
    assert_same(before, optimize_model(before), image())


@pytest.mark.parametrize("mode", ["reflect", "edge", "constant"])
def test_an_old_pad_may_state_a_value_that_it_does_not_use(mode: str) -> None:
    pads = [0, 0, 1, 2, 0, 0, 3, 1]
    before = model(
        [node("Pad", ["x"], "y", mode=mode, pads=pads, value=0.5)], {"x": (1, 3, 12, 12)}, ["y"], {}, opset=9
    )
    assert_same(before, optimize_model(before), image())


def test_optimizing_twice_changes_nothing() -> None:
    once = optimize_model(residual())
    assert optimize_model(once) == once
    assert_same(residual(), once, image())


def test_random_nodes_are_not_folded() -> None:
    shape = helper.make_node("RandomNormal", [], ["noise"], shape=[1, 3, 12, 12])
    made = model([shape, node("Add", ["x", "noise"], "y")], {"x": (1, 3, 12, 12)}, ["y"], {})
    assert ops(optimize_model(made)) == ["RandomNormal", "Add"]


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(SourceError, match="not an ONNX model"):
        optimize_model(b"\xff\xff\xff not a model")
