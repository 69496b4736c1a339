"""Noise of tensors that lose channels to their grid, against what rounding them does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quantizer_models import all_surveyed, images, model, node, normal, run
from test_quantizer_split import hard_silu

from furc.onnx.graph import Array, Graph
from furc.quantizer.grids.affine import dequantize_array, grid, quantize_array
from furc.quantizer.noise.measured import measured
from furc.quantizer.observe.judge import Task
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.sensitivity.gains import Channels
from furc.quantizer.sensitivity.noise_model import activation_noise, decibel


def differenced() -> Graph:
    """A channel that hardly moves beside a wide one; what reads it takes differences, and makes much of them."""
    constants = {
        "w": np.array([[1, 0, 0], [0, 1e-3, 1e-3]], np.float32).reshape(2, 3, 1, 1),
        "d": np.array([1, 0, 200, -200], np.float32).reshape(2, 1, 1, 2),
    }
    nodes = [node("Conv", ["x", "w"], "u"), node("Conv", ["u", "d"], "y", group=2)]
    return optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))


def rounded_by_hand(graph: Graph, name: str, of: Channels, feeds: list[dict[str, Array]]) -> float:
    """The same with the graph in two parts."""
    nodes = list(graph.nodes)
    at = next(i for i, n in enumerate(nodes) if n.output == name) + 1
    first, second = graph.part(nodes[:at], graph.inputs, [name]), graph.part(nodes[at:], [name], graph.outputs)
    steps, power, error = grid(float(of.low.min()), float(of.high.max())), 0.0, 0.0
    for feed in feeds:
        u = run(first.model(), feed)[0]
        exact = run(second.model(), {name: u})[0]
        found = run(second.model(), {name: dequantize_array(quantize_array(u, steps), steps)})[0]
        power, error = power + float((exact**2).sum()), error + float(((exact - found) ** 2).sum())
    return error / power


def test_noise_of_a_coarse_grid_is_what_rounding_does() -> None:
    graph, feeds = differenced(), images(2)
    predicted = all_surveyed(graph, feeds)
    found = measured(graph, predicted, feeds, Task.NONE)
    assert found["u"].most == pytest.approx(rounded_by_hand(graph, "u", predicted["u"], feeds), rel=1e-3)
    before, after = (activation_noise(graph, tensors)["u"] for tensors in (predicted, found))
    assert decibel(before.noise()) > decibel(after.noise()) + 3 and after.noise() == found["u"].most
    assert after.by_channel().sum() == pytest.approx(after.noise())


def test_what_is_quiet_or_known_is_not_measured_again() -> None:
    graph, feeds = optimize_graph(hard_silu()), images(4)
    found = measured(graph, all_surveyed(graph, feeds), feeds)
    loud = [name for name, of in found.items() if np.isfinite(of.most)]
    assert "u" in loud and "y" not in loud
    known = {name: replace(of, most=0.5) for name, of in found.items()}
    assert measured(graph, known, feeds) == known


def test_a_measured_tensor_stays_so_in_another_order_and_not_in_parts() -> None:
    of = replace(all_surveyed(differenced(), images(2))["u"], most=0.5)
    assert of.taken(np.array([1, 0])).most == 0.5
    assert np.isinf(of.taken(np.array([1])).most)


@pytest.mark.parametrize("name", ["x", "y"])
def test_inputs_and_results_of_the_model_are_measured_too(name: str) -> None:
    constants = {"w": normal(1, 4, 3, 1, 1)}
    graph = optimize_graph(model([node("Conv", ["x", "w"], "y")], {"x": (1, 3, 12, 12)}, ["y"], constants))
    ends = {"x": (3, 1e3), "y": (4, 1e3)}[name]
    far = Channels(-np.full(ends[0], ends[1]), np.full(ends[0], ends[1]), np.ones(ends[0]), seen=None)  # type: ignore[arg-type]
    found = measured(graph, {name: far}, images(2), Task.NONE)[name]
    assert 0.1 < found.most < 3  # steps of 8, which nothing here reaches half of
