"""Ranges moved to where the layers behind them are least wrong, and weighted ranges."""

from __future__ import annotations

import numpy as np
import pytest
from quantizer_models import all_surveyed, images, model, node, normal
from test_quantizer_split import hard_silu, silu

from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.quantizer.affine import grid
from furc.quantizer.bias_correction import correct_biases, coverage, mean_response
from furc.quantizer.local_tuning import tune_ranges
from furc.quantizer.one_pass import OnePass, Seen
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.pointwise import behind
from furc.quantizer.scheme import choose_grids
from furc.quantizer.simulate import Simulation
from furc.quantizer.weighted_calibration import seen_tensors, weighted_ranges
from furc.quantizer.weighted_ranges import weighted_range


def test_tuning_lowers_the_error_where_a_range_was_chosen_badly() -> None:
    graph, feeds = optimize_graph(hard_silu(4.0)), images(12)
    tensors = all_surveyed(graph, feeds)
    good = weighted_ranges(graph, tensors)
    low, high = good["d"]
    bad = {**good, "d": (low * 1.3, high * 1.3)}

    def error(ranges: dict[str, tuple[float, float]]) -> float:
        corrected, scheme = graph.copied(), choose_grids(graph, ranges)
        correct_biases(corrected, scheme, tensors)
        simulation, exact = Simulation(corrected, scheme), RunModel(graph.model())
        return float(np.mean([np.square(simulation(f, scheme.grids)["y"] - exact(f)["y"]).mean() for f in feeds[4:]]))

    tuned = tune_ranges(graph, bad, tensors, feeds[:4])
    assert tuned["d"] != bad["d"] and error(tuned) < error(bad)


def test_what_a_silu_throws_away_costs_no_steps() -> None:
    constants = {"w": normal(1, 4, 3, 1, 1), "v": normal(2, 4, 4, 1, 1)}
    nodes = [node("Conv", ["x", "w"], "u"), *silu("u", "a"), node("Conv", ["a", "v"], "y")]
    graph = optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))
    function = behind(graph, "u")
    assert function is not None and function.result == "a" and behind(graph, "a") is None
    assert function(np.array([0.0, 2.0])).round(4).tolist() == [0.0, 1.7616]
    low, high = function.live_range(-100.0, 5.0, 0.01)
    assert -8 < low < -6 and high > 4.9
    values = np.concatenate([np.linspace(-100, -10, 50), np.linspace(-3, 5, 50)])[None].astype(np.float32)
    seen = weighted_range(values, np.ones(1), -100.0, 5.0, function)
    assert seen[0] > -20 and weighted_range(values, np.ones(1), -100.0, 5.0)[0] < -80


def test_a_channel_without_gain_does_not_decide_the_range() -> None:
    values = np.array([[1.0] * 20, [50.0] * 20], np.float32)
    assert weighted_range(values, np.array([1.0, 1e-9]), 0.0, 50.0)[1] < 3
    assert weighted_range(values, np.ones(2), 0.0, 50.0)[1] > 49
    assert grid(0.0, 3.0).scale < 0.012


def seen_of(graph: Graph, names: list[str], feeds: list[dict[str, Array]]) -> dict[str, Seen]:
    looking = OnePass(graph, names, samples=len(feeds))
    for feed in feeds:
        looking.look(feed)
    return looking.found()


def test_what_is_seen_of_a_silu_follows_from_its_input_at_the_same_places() -> None:
    graph, feeds = optimize_graph(hard_silu(4.0)), images(12)
    seen, exact = seen_of(graph, seen_tensors(graph), feeds), RunModel(graph.model())(feeds[0])
    results = [f.result for name in seen if (f := behind(graph, name)) is not None and f.result in seen]
    assert results
    for name in results:
        alone = seen_of(graph, [name], feeds)[name]
        np.testing.assert_allclose(seen[name].values[3], alone.values[3], atol=1e-5)
        assert (seen[name].high >= alone.high - 1e-5).all()
    assert set(exact) == set(graph.outputs)


def test_bias_correction_takes_out_the_mean_error_of_every_channel() -> None:
    graph, feeds = optimize_graph(hard_silu(4.0)), images(12)
    tensors = all_surveyed(graph, feeds)
    ranges, exact = weighted_ranges(graph, tensors), RunModel(graph.model())
    corrected, scheme = graph.copied(), choose_grids(graph, ranges)
    correct_biases(corrected, scheme, tensors)

    def shift(of: Graph) -> float:
        simulation = Simulation(of, scheme)
        errors = [simulation(feed, scheme.grids)["y"] - exact(feed)["y"] for feed in feeds]
        return float(np.square(np.mean(errors, axis=(0, 1, 3, 4))).mean())

    assert shift(corrected) < 0.5 * shift(graph)  # of a map of few places, much of it edge


@pytest.mark.parametrize("attributes", [
    {"pads": [1, 1, 1, 1]}, {"pads": [0, 1, 2, 1], "strides": [2, 1]}, {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
    {"pads": [2, 2, 2, 2], "dilations": [2, 2], "group": 2},
])  # fmt: skip
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_the_mean_of_a_layer_follows_from_that_of_its_channels(op: str, attributes: dict[str, object]) -> None:
    if op == "ConvTranspose" and "auto_pad" in attributes:
        attributes = {"pads": [1, 0, 1, 2], "strides": [2, 2]}
    weight = normal(1, 4, 4 // int(str(attributes.get("group", 1))), 3, 3)
    layer = node(op, ["x", "w"], "y", **attributes)
    graph = optimize_graph(model([layer], {"x": (1, 4, 9, 7)}, ["y"], {"w": weight}))
    flat = np.arange(1, 5, dtype=np.float32).reshape(1, 4, 1, 1) * np.ones((1, 4, 9, 7), np.float32)
    wanted = RunModel(graph.model())({"x": flat})["y"].mean((0, 2, 3))
    (kept,) = graph.nodes
    response = mean_response(kept, graph.constants[kept.inputs[1]], coverage(graph, kept), flat[0].mean((1, 2)))
    np.testing.assert_allclose(response, wanted, rtol=1e-4)
