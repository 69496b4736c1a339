"""Ranges moved to where the layers behind them are least wrong, and weighted ranges."""

from __future__ import annotations

import numpy as np
from quantizer_models import images, model, node, normal
from test_quantizer_split import hard_silu, silu

from furc.onnx.graph import Graph
from furc.onnx.run import RunModel
from furc.quantizer.affine import grid
from furc.quantizer.bias_correction import correct_biases
from furc.quantizer.histogram import Bins
from furc.quantizer.judge import Judge
from furc.quantizer.local_tuning import tune_ranges
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.pointwise import behind
from furc.quantizer.scheme import choose_grids, quantized_tensors
from furc.quantizer.sensitivity import survey
from furc.quantizer.simulate import Simulation
from furc.quantizer.weighted_calibration import Weighted
from furc.quantizer.weighted_ranges import weighted_range


def test_tuning_lowers_the_error_where_a_range_was_chosen_badly() -> None:
    graph, feeds = optimize_graph(hard_silu(4.0)), images(12)
    tensors = survey(graph, quantized_tensors(graph), feeds, Judge({}))
    weighted = Weighted(graph, tensors)
    weighted.observer.observe(feeds)
    low, high = weighted.ranges()["d"]
    bad = {**weighted.ranges(), "d": (low * 1.3, high * 1.3)}

    def error(ranges: dict[str, tuple[float, float]]) -> float:
        corrected, scheme = Graph(graph.model()), choose_grids(graph, ranges)
        correct_biases(corrected, scheme, feeds[:4])
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
    values = np.concatenate([np.linspace(-100, -10, 50), np.linspace(-3, 5, 50)])
    seen = weighted_range(Bins(values, np.ones(100)), -100.0, 5.0, function)
    assert seen[0] > -20 and weighted_range(Bins(values, np.ones(100)), -100.0, 5.0)[0] < -80


def test_a_channel_without_gain_does_not_decide_the_range() -> None:
    values, gains = np.array([1.0] * 20 + [50.0]), np.array([1.0] * 20 + [1e-9])
    assert weighted_range(Bins(values[[0, -1]], np.array([20.0, gains[-1]])), 0.0, 50.0)[1] < 3
    assert grid(0.0, 3.0).scale < 0.012


def test_the_histogram_of_a_silu_follows_from_that_of_its_input() -> None:
    graph, feeds = optimize_graph(hard_silu(4.0)), images(12)
    tensors = survey(graph, quantized_tensors(graph), feeds, Judge({}))
    few, every = Weighted(graph, tensors), Weighted(graph, tensors, every=True)
    few.observer.observe(feeds)
    every.observer.observe(feeds)
    assert set(few.observer.histograms) < set(every.observer.histograms)
    for name, (low, high) in few.ranges().items():
        wanted = every.ranges()[name]
        assert abs(high - wanted[1]) < 0.25 * (wanted[1] - wanted[0]) and abs(low - wanted[0]) < 0.25 * (
            wanted[1] - wanted[0]
        )
