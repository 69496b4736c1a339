"""Weighted ranges, and what one pass sees."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from quantizer_models import images, model, node, normal, silent
from test_quantizer_split import hard_silu, silu

from furc.onnx.graph import Array, Graph
from furc.onnx.run import RunModel
from furc.quantizer.grids.affine import grid
from furc.quantizer.observe.judge import Task
from furc.quantizer.observe.one_pass import OnePass, Seen
from furc.quantizer.observe.pointwise import behind
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.weighted_calibration import seen_tensors, weighted_ranges
from furc.quantizer.ranges.weighted_ranges import weighted_range
from furc.quantizer.surveyed import surveyed


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


def test_channels_that_are_the_last_axis_are_all_looked_at() -> None:
    """[n, rows, columns, channels], as around a LayerNormalization: rows are the first axis of what is seen."""
    ends = np.zeros((16, 64))
    for channel in range(32):
        marked = np.broadcast_to(np.arange(2048) % 32 == channel, (64, 2048)).astype(np.float32)
        places = Seen(ends, ends + 1, (marked,) * 16).joined(256)
        assert places.shape == (64, 256) and places.any()


def test_no_result_is_cut_where_a_sigmoid_behind_it_would_be_flat() -> None:
    """What stands behind a model's results is a guess: a channel of boxes may be at 9 where one of scores never is."""
    constants = {"w": normal(1, 8, 3, 1, 1), "b": np.where(np.arange(8) < 1, 9, 0).astype(np.float32)}
    nodes = [node("Conv", ["x", "w", "b"], "u"), node("Transpose", ["u"], "y", perm=[0, 1, 3, 2])]
    feeds = images(16)
    for name, made in (("u", nodes[:1]), ("y", nodes)):
        graph = optimize_graph(model(made, {"x": (1, 3, 12, 12)}, [name], constants))
        tensors = surveyed(graph, feeds, Task.AUTO, silent)
        assert tensors["u"].gain[0] < 0.01 * tensors["u"].gain[1:].mean()
        values = tensors["u"].seen.joined(1 << 14)
        low, high = float(values.min()), float(values.max())
        wanted = weighted_range(values, np.ones(8), low, high)
        assert weighted_range(values, tensors["u"].gain, low, high)[1] < wanted[1] - 2
        found = weighted_ranges(graph, tensors)["u"]
        assert found[1] > wanted[1] - 0.1 and found[0] < wanted[0] + 0.1


@pytest.mark.parametrize("last", ["LeakyRelu", "Mish", "Silu"])
def test_nothing_is_cut_in_front_of_the_activation_that_makes_a_result(last: str) -> None:
    """The largest channel, which a sigmoid behind the result would flatten, had been clipped to the others."""
    constants = {"w": normal(1, 8, 3, 1, 1), "b": np.where(np.arange(8) < 1, 9, 0).astype(np.float32)}
    ends = silu("u", "y") if last == "Silu" else [node(last, ["u"], "y")]
    opset = 18 if last == "Mish" else 13
    made = model([node("Conv", ["x", "w", "b"], "u"), *ends], {"x": (1, 3, 12, 12)}, ["y"], constants, opset=opset)
    graph, feeds = optimize_graph(made, None, opset), images(16)
    tensors = surveyed(graph, feeds, Task.AUTO, silent)
    assert tensors["y"].gain[0] < 0.01 * tensors["y"].gain[1:].mean()
    assert weighted_ranges(graph, tensors)["u"][1] > 0.97 * tensors["u"].seen.high.max()


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_an_error_behind_a_gate_counts_by_what_the_gate_does(gate: str) -> None:
    """Before it, an error in what keeps a gate wide open does nothing; but cut off it is not open any more."""
    constants: dict[str, Array] = {"w": normal(1, 4, 3, 1, 1) * 0.1, "b": np.array([0, 0, 0, 20], np.float32)}
    nodes = [node("Conv", ["x", "w", "b"], "u"), node(gate, ["u"], "g"), node("Conv", ["x", "w"], "v"),
             node("Mul", ["v", "g"], "y")]  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph, feeds = optimize_graph(made), images(16)
    tensors = surveyed(graph, feeds, Task.NONE, silent)
    assert tensors["g"].gain[3] > 1e3 * tensors["u"].gain[3]
    function, (_, high) = behind(graph, "u"), weighted_ranges(graph, tensors)["u"]
    assert function is not None and function(np.array([high]))[0] > 0.99


def test_what_a_function_makes_for_a_concat_alone_is_seen_too() -> None:
    constants = {"w": normal(1, 4, 3, 1, 1), "v": normal(2, 4, 3, 1, 1), "s": normal(3, 4, 8, 1, 1)}
    nodes = [node("Conv", ["x", "w"], "u"), *silu("u", "a"), node("Conv", ["x", "v"], "c"),
             node("Concat", ["a", "c"], "both", axis=1), node("Conv", ["both", "s"], "y")]  # fmt: skip
    graph = optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))
    assert surveyed(graph, images(4), Task.NONE, silent)["a"].gain.all()


def test_nothing_is_cut_off_of_what_was_seen_rarely() -> None:
    """One value an image: the largest of a few is no outlier but what some of the next will reach too."""
    constants = {"w": normal(1, 64, 3, 1, 1), "v": normal(2, 4, 64, 1, 1)}
    nodes = [node("Conv", ["x", "w"], "u"), node("GlobalAveragePool", ["u"], "m"), node("Conv", ["m", "v"], "y")]
    graph = optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))
    tensors = surveyed(graph, images(16), Task.AUTO, silent)
    assert tensors["m"].seen.is_rare and not tensors["u"].seen.is_rare
    values = tensors["m"].seen.joined(1 << 14)
    least = weighted_range(values, tensors["m"].gain, float(values.min()), float(values.max()))
    assert least[1] < values.max() or least[0] > values.min()
    assert weighted_ranges(graph, tensors)["m"] == (values.min(), values.max())


def test_of_few_channels_more_places_are_seen() -> None:
    """A grid is told from all values of a tensor; of one channel 4096 places would be all of them."""
    wide = (1, 1, 256, 256)
    graph = optimize_graph(model([node("Conv", ["x", "w"], "y")], {"x": wide}, ["y"], {"w": normal(1, 32, 1, 1, 1)}))
    seen = seen_of(graph, ["x", "y"], images(8, wide))
    assert [sum(part.shape[1] for part in seen[name].values) for name in ("x", "y")] == [1 << 16, 1 << 12]


def test_a_range_that_every_grid_has_at_zero_is_taken_as_it_is() -> None:
    """Bins of subnormal numbers overflowed."""
    values = np.array([[0, 1e-42, 2e-42]], np.float32)
    with warnings.catch_warnings(action="error"):
        assert weighted_range(values, np.ones(1), 0.0, 2e-42) == (0.0, 2e-42)
