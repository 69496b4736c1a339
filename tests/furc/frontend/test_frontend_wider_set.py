"""operator_set sdk0.10: functions of one tensor as tables, differences of two; by default they are the host's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdq_models import Qdq, on_host, runtime

from furc.frontend import load_onnx
from isa.npu import target
from passes.analysis.host_share import calls, host_operators
from passes.execute import execute


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("Elu", {}), ("Erf", {}), ("Gelu", {}), ("HardSigmoid", {"alpha": 0.3}), ("HardSwish", {}),
        ("LeakyRelu", {"alpha": 0.1}), ("Log", {}), ("Sqrt", {}), ("Tanh", {}), ("Pow", {}), ("Sub", {}),
    ],
)  # fmt: skip
def test_the_wider_set_has_it_and_the_default_leaves_it_to_the_host(op: str, attributes: dict[str, Any]) -> None:
    m = Qdq(opset=20)
    more = {"Pow": lambda: m.const(2.0, np.float32), "Sub": lambda: m.float_input(1, 3, 1, 5, scale=0.03)}
    x = m.float_input(1, 3, 4, 5, scale=0.01, zero=-128 if op in ("Log", "Sqrt") else 3)
    m.quantized(m.node(op, x, *([more[op]()] if op in more else []), **attributes), 0.02, 1)
    model, feeds = m.model(), m.feeds()
    left = load_onnx(model, max_npu_segments="all")
    assert on_host(left) == [f"'{op}' cannot be accelerated yet"]
    assert "compile with -c operator_set=sdk0.10, or " in repr([host_operators(call, left) for call in calls(left)])
    graph = load_onnx(model, operator_set="sdk0.10")
    held, expected = execute(graph, feeds, target("warboy")), runtime(model, feeds, optimized=False)
    got = {value.name: held[value] for value in graph.outputs}
    assert all(np.abs(got[n].astype(int) - expected[n].astype(int)).max() <= 1 for n in expected)


def test_a_power_that_varies_is_the_hosts() -> None:
    m = Qdq(opset=20)
    m.quantized(m.node("Pow", m.float_input(1, 4), m.float_input(1, 4)))
    graph = load_onnx(m.model(), operator_set="sdk0.10", max_npu_segments="all")
    assert on_host(graph) == ["Pow by an exponent that varies does not run on the NPU"]


@pytest.mark.parametrize("transformation", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (4, 5), (7, 6), (8, 8), (16, 12), (1, 31)])
def test_linear_resize_by_whole_factors_is_a_contraction(transformation: str, factors: tuple[int, int]) -> None:
    m = Qdq("int8")
    scales = m.const([1, 1, *factors], np.float32)
    how = {"mode": "linear", "coordinate_transformation_mode": transformation}
    m.quantized(m.node("Resize", m.float_input(2, 5, 4, 7), "", scales, domain="", **how), 0.021, 2)
    model, feeds = m.model(), m.feeds()
    assert len(on_host(load_onnx(model))) == 1
    graph = load_onnx(model, operator_set="sdk0.10")
    assert on_host(graph) == []
    held, expected = execute(graph, feeds, target("warboy")), runtime(model, feeds, optimized=False)
    for value in graph.outputs:
        difference = np.abs(held[value].astype(int) - expected[value.name].astype(int))
        assert difference.max() <= 1 and np.mean(difference > 0) < 0.02  # ties


@pytest.mark.parametrize(
    ("factors", "transformation", "why"),
    [
        ((2, 2), "align_corners", "weights of align_corners are not the same everywhere"),
        ((33, 2), "half_pixel", "by 33 x 2, the machine takes steps of at most 32"),
        ((1.5, 2), "half_pixel", "not by whole factors over rows and columns"),
        ((2.2, 2), "half_pixel", "not by whole factors over rows and columns"),  # 4 rows become 8
    ],
)
def test_other_linear_resizes_are_the_hosts(factors: tuple[float, float], transformation: str, why: str) -> None:
    """Weights that are not the same everywhere: under both sets for that reason."""
    m = Qdq("int8")
    scales = m.const([1, 1, *factors], np.float32)
    how = {"mode": "linear", "coordinate_transformation_mode": transformation}
    m.quantized(m.node("Resize", m.float_input(1, 5, 4, 6), "", scales, domain="", **how))
    for operators in ("seed28", "sdk0.10"):
        (reason,) = on_host(load_onnx(m.model(), operator_set=operators))
        assert reason.startswith("Resize is not accelerated: mode linear") and reason.endswith(f": {why}")


def test_a_linear_resize_of_what_is_not_quantized_is_the_hosts() -> None:
    """The quantization behind it is not that of what it reads: extremes would be clipped before they are averaged."""
    m = Qdq("int8")
    m.inputs["x"] = ("float32", (1, 5, 4, 7))
    m.quantized(m.node("Resize", "x", "", m.const([1, 1, 2, 2], np.float32), mode="linear"), 0.01, 2)
    model, feeds = m.model(), m.feeds()
    graph = load_onnx(model, operator_set="sdk0.10")
    (reason,) = on_host(graph)
    assert reason == "Resize needs int8, but the float tensor 'x' goes into it without being quantized"
    held, expected = execute(graph, feeds, target("warboy")), runtime(model, feeds, optimized=False)
    assert all(np.array_equal(held[value], expected[value.name]) for value in graph.outputs)


def test_weights_beyond_int8_take_as_many_channels_as_there_are_groups() -> None:
    m = Qdq("int8")
    scales = m.const([1, 1, 8, 8], np.float32)
    m.quantized(m.node("Resize", m.float_input(1, 129, 2, 2), "", scales, domain="", mode="linear"))
    (reason,) = on_host(load_onnx(m.model(), operator_set="sdk0.10"))
    assert reason.endswith(
        ": by 8 x 8 takes weights up to 225, which are sums in int8 for at most 128 channels, not 129"
    )


@pytest.mark.parametrize("transformation", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"])
@pytest.mark.parametrize("operators", ["seed28", "sdk0.10"])
def test_a_linear_resize_of_one_element_repeats_it(transformation: str, operators: str) -> None:
    """As DeepLab's pooled branch does, over 256 channels; under both sets, bit for bit."""
    m = Qdq("int8")
    sizes = m.integers(1, 256, 9, 5)
    how = {"mode": "linear", "coordinate_transformation_mode": transformation}
    m.quantized(m.node("Resize", m.float_input(1, 256, 1, 1), "", "", sizes, domain="", **how), 0.021, 2)
    model, feeds = m.model(), m.feeds()
    graph = load_onnx(model, operator_set=operators)
    assert on_host(graph) == []
    held, expected = execute(graph, feeds, target("warboy")), runtime(model, feeds, optimized=False)
    assert all(np.array_equal(held[value], expected[value.name]) for value in graph.outputs)


@pytest.mark.parametrize("operators", ["seed28", "sdk0.10"])
def test_a_linear_resize_by_a_broken_scale_beside_one_element_is_the_hosts(operators: str) -> None:
    """Its extents say that rows are repeated and columns stay; 4 columns by 1.1 are 4 others."""
    m = Qdq("int8")
    scales = m.const([1, 1, 2, 1.1], np.float32)
    m.quantized(m.node("Resize", m.float_input(1, 2, 1, 4), "", scales, domain="", mode="linear"), 0.021, 2)
    (reason,) = on_host(load_onnx(m.model(), operator_set=operators))
    assert reason.endswith(": not by whole factors over rows and columns")
