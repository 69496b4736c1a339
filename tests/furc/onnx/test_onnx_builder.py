"""Each operator that the builder writes, run by ONNX Runtime and compared with NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from furc.onnx.builder import Feature, GraphBuilder
from furc.zoo.weights import he_normal

Values = NDArray[np.float32]
SHAPE = (1, 4, 6, 6)
IMAGE = 4 * np.random.default_rng(1).standard_normal(SHAPE, np.float32)

OPERATORS: dict[str, tuple[Callable[[GraphBuilder, Feature], Feature], Callable[[Values], Values]]] = {
    "relu": (lambda g, x: g.relu(x, "p"), lambda x: np.maximum(x, 0)),
    "relu6": (lambda g, x: g.relu6(x, "p"), lambda x: np.clip(x, 0, 6)),
    "silu": (lambda g, x: g.silu(x, "p"), lambda x: x / (1 + np.exp(-x))),
    "add": (lambda g, x: g.add(x, x, "p"), lambda x: 2 * x),
    "concat": (lambda g, x: g.concat([x, x], "p"), lambda x: np.concatenate([x, x], axis=1)),
    "slice": (lambda g, x: g.slice_channels(x, "p", 1, 3), lambda x: x[:, 1:3]),
    "upsample": (lambda g, x: g.upsample(x, "p", 2), lambda x: x.repeat(2, axis=2).repeat(2, axis=3)),
    "max_pool": (lambda g, x: g.max_pool(x, "p", 2, 2, pad=0), lambda x: x.reshape(1, 4, 3, 2, 3, 2).max((3, 5))),
    "average": (lambda g, x: g.global_average_pool(x, "p"), lambda x: x.mean((2, 3), keepdims=True)),
    "flatten": (lambda g, x: g.flatten(x, "p"), lambda x: x.reshape(1, -1)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_computes_what_its_name_says(name: str) -> None:
    draw, expected = OPERATORS[name]
    graph = GraphBuilder(name)
    output = draw(graph, graph.input("x", SHAPE))
    result = _run(graph, output)
    assert result.shape == output.shape
    np.testing.assert_allclose(result, expected(IMAGE), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups", "side"),
    [(3, 1, 1, 1, 6), (3, 2, 1, 1, 3), (1, 1, 1, 1, 6), (3, 1, 2, 1, 6), (3, 1, 1, 4, 6), (5, 2, 1, 2, 3)],
)
def test_convolution_has_the_drawn_shape_and_counts_its_macs(
    kernel: int, stride: int, dilation: int, groups: int, side: int
) -> None:
    graph = GraphBuilder("conv")
    output = graph.conv(graph.input("x", SHAPE), "p", 8, kernel, stride, dilation=dilation, groups=groups)
    assert output.shape == (1, 8, side, side)
    assert _run(graph, output).shape == output.shape
    assert graph.macs == 8 * side * side * (4 // groups) * kernel * kernel
    assert graph.params == 8 * (4 // groups) * kernel * kernel + 8


def test_gemm_multiplies_by_the_transposed_weight() -> None:
    graph = GraphBuilder("gemm")
    output = graph.gemm(graph.flatten(graph.input("x", SHAPE), "flat"), "p", 10)
    weight, bias = he_normal(0)("p.weight", (10, 144)), he_normal(0)("p.bias", (10,))
    np.testing.assert_allclose(_run(graph, output), IMAGE.reshape(1, -1) @ weight.T + bias, rtol=1e-4, atol=1e-4)
    assert (graph.macs, graph.params) == (1440, 1450)


def test_he_normal_scales_with_fan_in_and_depends_on_name_and_seed() -> None:
    weight = he_normal(0)("a.weight", (64, 32, 3, 3))
    assert weight.dtype == np.float32
    assert weight.std() == pytest.approx(np.sqrt(2 / (32 * 3 * 3)), rel=0.02)
    assert he_normal(0)("a.bias", (4096,)).std() == pytest.approx(0.05, rel=0.05)
    assert np.array_equal(weight, he_normal(0)("a.weight", (64, 32, 3, 3)))
    assert not np.array_equal(weight, he_normal(0)("b.weight", (64, 32, 3, 3)))
    assert not np.array_equal(weight, he_normal(1)("a.weight", (64, 32, 3, 3)))


def test_two_layers_with_one_path_are_our_mistake() -> None:
    graph = GraphBuilder("twice")
    x = graph.conv(graph.input("x", SHAPE), "p", 4, 1)
    with pytest.raises(AssertionError, match=r"^two layers at p"):
        graph.conv(x, "p", 4, 1)


def _run(graph: GraphBuilder, output: Feature) -> Values:
    model = graph.model([output], he_normal(0))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": IMAGE})
    return np.asarray(result)
