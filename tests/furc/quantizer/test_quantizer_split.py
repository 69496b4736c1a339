"""Reordering channels, cutting them into groups, and deciding where."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizer_models import all_surveyed, images, model, node, normal, run, sqnr_db

from furc.compiler import compile
from furc.onnx.graph import Graph
from furc.profiling.profile import Profile, profile
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_explained, quantize_model
from furc.quantizer.channels import split_price
from furc.quantizer.channels.channel_order import find_moved, reorder
from furc.quantizer.channels.partition import best_partition
from furc.quantizer.channels.split_channels import find_chains, split
from furc.quantizer.channels.split_plan import SplitChoice, apply_split, in_words, split_where_it_pays
from furc.quantizer.channels.split_price import Latency, LatencyPrice
from furc.quantizer.grids.affine import grid
from furc.quantizer.grids.operators import FIXED_RANGES
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.quantize import Outcome
from furc.quantizer.ranges.weighted_calibration import single_ranges, weighted_ranges

CHANNELS = 16


def silu(x: str, y: str) -> list[onnx.NodeProto]:
    return [node("Sigmoid", [x], f"{y}_gate"), node("Mul", [x, f"{y}_gate"], y)]


def hard_silu(ratio: float = 300.0, residual: bool = False) -> onnx.ModelProto:
    """conv - SiLU - depthwise - SiLU - conv, whose first channels are spread over 1 to `ratio`."""
    gain = np.random.default_rng(0).permutation(np.geomspace(1, ratio, CHANNELS)).astype(np.float32)
    constants = {
        "w1": normal(1, CHANNELS, 3, 3, 3) * 0.3 * gain[:, None, None, None], "b1": normal(2, CHANNELS) * 0.1 * gain,
        "w2": normal(3, CHANNELS, 1, 3, 3) * 0.5 / gain[:, None, None, None], "b2": normal(4, CHANNELS) * 0.1,
        "w3": normal(5, CHANNELS, CHANNELS, 1, 1) * 0.4, "w4": normal(6, 4, CHANNELS, 1, 1) * 0.4,
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1", "b1"], "u", pads=[1, 1, 1, 1]), *silu("u", "a"),
        node("Conv", ["a", "w2", "b2"], "d", pads=[1, 1, 1, 1], group=CHANNELS), *silu("d", "e"),
        node("Conv", ["e", "w3"], "f"), *silu("f", "g"),
        *([node("Add", ["e", "g"], "h")] if residual else []),
        node("Conv", ["h" if residual else "g", "w4"], "y"),
    ]  # fmt: skip
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)


def equal_results(made: onnx.ModelProto, graph: Graph) -> None:
    onnx.checker.check_model(graph.model())
    for feed in images(3):
        np.testing.assert_allclose(run(graph.model(), feed)[0], run(made, feed)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("residual", [False, True])
def test_channels_in_another_order_give_the_same_results(residual: bool) -> None:
    made = hard_silu(residual=residual)
    graph = optimize_graph(made)
    moved = find_moved(graph, "u")
    assert moved is not None and ("e", 0) in moved.tensors and (("g", 0) in moved.tensors) is residual
    reorder(graph, moved.edits, np.random.default_rng(0).permutation(CHANNELS))
    equal_results(made, graph)


def test_a_concat_takes_the_order_on_and_an_output_stops_it() -> None:
    constants = {"w1": normal(1, 4, 3, 1, 1), "w2": normal(2, 4, 3, 1, 1), "w3": normal(3, 5, 8, 1, 1)}
    nodes = [
        node("Conv", ["x", "w1"], "a"), node("Conv", ["x", "w2"], "b"), node("Concat", ["a", "b"], "c", axis=1),
        node("Conv", ["c", "w3"], "y"),
    ]  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = optimize_graph(made)
    moved = find_moved(graph, "b")
    assert moved is not None and ("c", 4) in moved.tensors and find_moved(graph, "y") is None
    reorder(graph, moved.edits, np.array([2, 0, 3, 1]))
    equal_results(made, graph)


@pytest.mark.parametrize("residual", [False, True])
def test_splitting_changes_no_result(residual: bool) -> None:
    made = hard_silu(residual=residual)
    for index in range(len(find_chains(optimize_graph(made)))):
        graph = optimize_graph(made)
        chain = find_chains(graph)[index]
        split(graph, chain, np.random.default_rng(index).permutation(CHANNELS), [3, 8, CHANNELS])
        assert sum(n.op == "Concat" for n in graph.nodes) == len(chain.ends)
        equal_results(made, graph)


@pytest.mark.parametrize(
    ("sizes", "axes"), [([1, CHANNELS, 24, 24], None), ([24, 24], [2, 3]), ([24, CHANNELS], [-1, 1])]
)
def test_a_resize_to_stated_extents_is_split(sizes: list[int], axes: list[int] | None) -> None:
    """As exporters write an interpolation to a size, behind the pooled image of DeepLab for one."""
    constants = {"w": normal(1, CHANNELS, 3, 3, 3), "v": normal(2, 4, CHANNELS, 1, 1), "sizes": np.array(sizes)}
    given = {} if axes is None else {"axes": axes}
    nodes = [
        node("Conv", ["x", "w"], "u", pads=[1] * 4), *silu("u", "a"),
        node("Resize", ["a", "", "", "sizes"], "r", mode="linear", **given), node("Conv", ["r", "v"], "y"),
    ]  # fmt: skip
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants, opset=18)
    graph = optimize_graph(made)
    (chain,) = [c for c in find_chains(graph) if any(n.op == "Resize" for n in c.nodes)]
    split(graph, chain, np.arange(CHANNELS), [5, CHANNELS])
    equal_results(made, graph)


def test_an_end_that_is_read_before_the_chain_is_over_stays_in_order() -> None:
    nodes = [
        node("Conv", ["x", "w1"], "u"), node("Relu", ["u"], "r"), node("Conv", ["r", "w3"], "early"),
        node("Conv", ["r", "w2"], "d", group=4), node("Relu", ["d"], "e"), node("Conv", ["e", "w3"], "late"),
        node("Add", ["early", "late"], "y"),
    ]  # fmt: skip
    constants = {"w1": normal(1, 4, 3, 1, 1), "w2": normal(2, 4, 1, 1, 1), "w3": normal(3, 5, 4, 1, 1)}
    made = model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants)
    graph = optimize_graph(made)
    (chain,) = [c for c in find_chains(graph) if len(c.nodes) == 4]
    split(graph, chain, np.array([3, 1, 0, 2]), [1, 4])
    equal_results(made, graph)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 50), min_size=2, max_size=7), st.integers(1, 4))
def test_the_partition_is_the_best_of_all(numbers: list[int], groups: int) -> None:
    size = len(numbers)
    cost = np.zeros((size + 1, size + 1))
    for i, j in itertools.combinations(range(size + 1), 2):
        cost[i, j] = (j - i) * (max(numbers[i:j]) ** 2)
    ends, total = best_partition(cost, groups)
    cuts = itertools.combinations(range(1, size), min(groups, size) - 1)
    best = min(sum(cost[a, b] for a, b in itertools.pairwise((0, *cut, size))) for cut in cuts)
    assert total == pytest.approx(best)
    assert sum(cost[a, b] for a, b in itertools.pairwise((0, *ends))) == pytest.approx(best) and ends[-1] == size


def test_cuts_are_at_multiples() -> None:
    cost = np.add.outer(-np.arange(13.0), np.arange(13.0)) ** 2
    ends, _ = best_partition(cost, 3, 4)
    assert ends == [4, 8, 12]


def test_the_predictor_splits_the_chain_that_costs_most_and_nothing_where_channels_are_alike() -> None:
    graph = optimize_graph(hard_silu())
    tensors = all_surveyed(graph, images(8))
    done, after = split_where_it_pays(graph, tensors, LatencyPrice(graph))
    assert done[0].tensor == "u" and done[0].gain_db > 10 and done[0].added_ms >= 0
    assert "a/part0" in after and "a" not in after
    equal_results(hard_silu(), graph)
    alike = optimize_graph(hard_silu(1.0))
    tensors = all_surveyed(alike, images(8))
    assert all(choice.gain_db < 3 for choice in split_where_it_pays(alike, tensors)[0])


def test_gains_of_one_round_add_up_and_small_splits_share_a_line() -> None:
    chain = find_chains(optimize_graph(hard_silu()))[0]
    choices = [SplitChoice(chain, np.arange(4), (2, 4), 1.0, saved, added_ms=0.01) for saved in (0.5, 0.01, 0.01)]
    behind = choices[1].behind(0.5)
    assert choices[0].gain_db == pytest.approx(3.01, abs=0.01) and behind.gain_db > choices[1].gain_db
    assert in_words(choices, Latency(2.0, 0.5)) == [
        "splitting u_node into 2 groups: +3.0 dB predicted, +0.5% latency",
        "splitting 2 other chains: +0.1 dB predicted, +1.0% latency",
        "latency with splits 2.00 -> 2.03 ms, of it NPU 0.50 -> 0.53 ms",
    ]
    assert in_words(choices[2:], Latency()) == ["splitting 1 chain: +0.0 dB predicted, +0.010 ms latency"]


def test_splits_are_priced_by_the_latency_that_a_profile_shows() -> None:
    def done(**options: object) -> tuple[Outcome, Profile]:
        outcome = quantize_explained(hard_silu(10000.0), images(8), QuantizeOptions(**options))  # type: ignore[arg-type]
        return outcome, profile(compile(outcome.model))

    (of_float, _), (_, plain) = done(), done(split=False)
    (of_bytes, _), (_, plain_bytes) = done(input_dtype="uint8"), done(input_dtype="uint8", split=False)
    assert of_float.price.model == pytest.approx((plain.latency_ms, plain.npu_ms))
    assert of_bytes.price.model == pytest.approx((plain_bytes.latency_ms, plain_bytes.npu_ms))
    assert of_bytes.price.model_ms < of_float.price.model_ms / 2
    assert of_float.done()[-1].startswith(f"latency with splits {plain.latency_ms:.2f} -> ")


def test_small_shares_of_the_latency_have_two_digits() -> None:
    chain = find_chains(optimize_graph(hard_silu()))[0]
    choice = SplitChoice(chain, np.arange(4), (2, 4), 1.0, 0.5, added_ms=0.0005)
    assert in_words([choice], Latency(2.0, 0.5))[0].endswith(", +0.03% latency")


def test_chains_of_one_form_are_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = optimize_graph(hard_silu())
    price, chain, timed = LatencyPrice(graph), find_chains(graph)[0], list[Graph]()

    def npu_ms(part: Graph) -> float:
        timed.append(part)
        return float(len(part.nodes))

    monkeypatch.setattr(split_price, "npu_ms", npu_ms)
    ends = (CHANNELS // 2, CHANNELS)
    assert price(graph, chain, ends) == price(graph.copied(), chain, ends) and len(timed) == 2
    assert price(graph, chain, (4, CHANNELS)).added_ms > 0 and len(timed) == 3


def test_a_hard_depthwise_silu_network_comes_back_by_splitting() -> None:
    def db(**options: object) -> float:
        written = quantize_model(hard_silu(), images(16), QuantizeOptions(**options))  # type: ignore[arg-type]
        exact = np.concatenate([run(hard_silu(), f)[0].ravel() for f in images(20)[16:]])
        return sqnr_db(exact, np.concatenate([run(written, f)[0].ravel() for f in images(20)[16:]]))

    assert db() > db(split=False) + 6 and db() > 25


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_a_chain_that_ends_on_the_grid_of_its_operator_can_be_split(gate: str) -> None:
    """The join is a tensor that no pass saw: its range is that of what it joins."""
    constants = {
        "w0": normal(0, CHANNELS, 3, 3, 3) * 0.3, "w1": normal(1, CHANNELS, 3, 3, 3),
        "w2": normal(5, 4, CHANNELS, 1, 1) * 0.4,
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w0"], "v", pads=[1, 1, 1, 1]), node("Conv", ["x", "w1"], "u", pads=[1, 1, 1, 1]),
        node(gate, ["u"], "g"), node("Mul", ["v", "g"], "a"), node("Conv", ["a", "w2"], "y"),
    ]  # fmt: skip
    graph = optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))
    tensors = all_surveyed(graph, images(8))
    [chain] = [chain for chain in find_chains(graph) if chain.ends == ("g",)]
    apply_split(graph, tensors, SplitChoice(chain, np.arange(CHANNELS), (CHANNELS // 2, CHANNELS), 1.0, 0.1))
    method = CalibrationMethod.MSE_ASYM
    for ranges in (weighted_ranges(graph, tensors), single_ranges(graph, tensors, method, 100)):
        scheme = choose_grids(graph, ranges)
        assert scheme.grids["g"] == scheme.grids["g/part0"] == grid(*FIXED_RANGES[gate])
        assert scheme.grids["u/part0"] != scheme.grids["u/part1"]
    [part] = [chain for chain in find_chains(graph) if chain.ends == ("g/part0",)]
    apply_split(graph, tensors, SplitChoice(part, np.arange(CHANNELS // 2), (2, CHANNELS // 2), 1.0, 0.1))
    for ranges in (weighted_ranges(graph, tensors), single_ranges(graph, tensors, method, 100)):
        scheme = choose_grids(graph, ranges)
        assert scheme.grids["g"] == scheme.grids["g/part0/part0"] == grid(*FIXED_RANGES[gate])


def test_a_chain_that_ends_in_moved_data_can_be_split() -> None:
    """Its end has the grid of what it was moved from; the join has one of its own."""
    constants = {"w": normal(1, CHANNELS, 3, 3, 3), "v": normal(2, CHANNELS, 3, 1, 1),
                 "o": normal(3, 4, CHANNELS, 1, 1)}  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], "u", pads=[1, 1, 1, 1]), node("MaxPool", ["u"], "m", kernel_shape=[2, 2]),
        node("MaxPool", ["x"], "p", kernel_shape=[2, 2]), node("Conv", ["p", "v"], "q"),
        node("Mul", ["m", "q"], "a"), node("Conv", ["a", "o"], "y"),
    ]  # fmt: skip
    graph = optimize_graph(model(nodes, {"x": (1, 3, 12, 12)}, ["y"], constants))
    tensors = all_surveyed(graph, images(8))
    [chain] = [chain for chain in find_chains(graph) if chain.ends == ("m",)]
    order = np.arange(CHANNELS)[::-1]
    apply_split(graph, tensors, SplitChoice(chain, order, (CHANNELS // 2, CHANNELS), 1.0, 0.1))
    scheme = choose_grids(graph, weighted_ranges(graph, tensors))
    assert scheme.grids["m/part1"] == scheme.grids["u/part1"]
    seen = all_surveyed(graph, images(8))["m"].seen
    assert (seen.high <= tensors["m"].seen.high + 1e-5).all() and (seen.low >= tensors["m"].seen.low - 1e-5).all()
