"""Bias correction, reconstruction of rounding, and method auto."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantizer_models import images, model, node, normal, residual, run, sqnr_db, uneven_depthwise

from furc.onnx.graph import Array
from furc.onnx.run import RunModel
from furc.quantizer import CalibrationMethod, Observer, QuantizeOptions, quantize_model
from furc.quantizer.correct.rounding import best_integers
from furc.quantizer.grids.qdq import write_qdq
from furc.quantizer.grids.scheme import choose_grids
from furc.quantizer.observe.judge import Judge
from furc.quantizer.observe.simulate import Simulation
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.auto_ranges import Choice, Trial, choose_method, chosen_first
from furc.quantizer.ranges.budget import Budget
from furc.quantizer.ranges.calibrator import Ranges

MIN_MAX = CalibrationMethod.MIN_MAX_ASYM


def output_db(made: onnx.ModelProto, written: onnx.ModelProto, feeds: list[dict[str, Array]]) -> float:
    exact = np.concatenate([run(made, feed)[0].ravel() for feed in feeds])
    found = np.concatenate([run(written, feed)[0].ravel() for feed in feeds])
    return sqnr_db(exact, found)


def with_options(made: onnx.ModelProto, **options: object) -> float:
    base = {"method": "MSE_ASYM", "equalize": False, "bias_correction": False}
    written = quantize_model(made, images(16), QuantizeOptions(**{**base, **options}))  # type: ignore[arg-type]
    return output_db(made, written, images(20)[16:])


def test_a_collapsed_depthwise_network_comes_back_by_equalizing() -> None:
    assert with_options(uneven_depthwise()) < 20
    assert with_options(uneven_depthwise(), equalize=True) > 30


def test_bias_correction_removes_the_mean_error() -> None:
    constants = {"w": normal(1, 6, 3, 5, 5), "b": normal(3, 6)}
    made = model([node("Conv", ["x", "w", "b"], "y")], {"x": (1, 3, 12, 12)}, ["y"], constants)

    def mean_error(correct: bool) -> float:
        options = QuantizeOptions(method="MIN_MAX_ASYM", equalize=False, bias_correction=correct)
        written = quantize_model(made, images(16), options)
        shift = [run(made, f)[0] - run(written, f)[0] for f in images(16)]
        return float(np.abs(np.mean(shift, axis=(0, 1, 3, 4))).max())

    assert mean_error(True) < mean_error(False)


def test_a_conv_without_bias_gets_one_by_correction() -> None:
    made = model([node("Conv", ["x", "w"], "y")], {"x": (1, 3, 12, 12)}, ["y"], {"w": normal(1, 4, 3, 3, 3)})
    written = quantize_model(made, images(4), QuantizeOptions(method="MIN_MAX_ASYM"))
    (conv,) = [n for n in written.graph.node if n.op_type == "Conv"]
    assert len(conv.input) == 3


@pytest.mark.parametrize("made", [residual(), uneven_depthwise(4.0)])
def test_reconstructed_rounding_lowers_the_output_error(made: onnx.ModelProto) -> None:
    assert with_options(made, adaround=True) > with_options(made) - 0.5


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 12) | st.integers(60, 70))
def test_best_integers_are_never_worse_than_nearest(seed: int, outputs: int, inputs: int) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(size=(99, inputs)) @ random.normal(size=(inputs, inputs))
    hessian, wanted = x.T @ x / 99, random.uniform(-127, 127, (outputs, inputs))
    (found,), nearest = best_integers(wanted[None], hessian.astype(np.float32)[None], 0.01), np.rint(wanted)

    def costs(q: np.ndarray) -> np.ndarray:
        damped = hessian + np.eye(inputs) * 0.01 * np.trace(hessian) / inputs
        return np.asarray(np.einsum("oi,ij,oj->o", q - wanted, damped, q - wanted))

    assert (costs(found) <= costs(nearest) * (1 + 1e-4)).all() and np.abs(found).max() <= 127
    np.testing.assert_array_equal(found[np.abs(nearest) == 127], nearest[np.abs(nearest) == 127])


def test_groups_of_a_layer_are_rounded_as_each_alone() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(5, 40, 9)) + 2
    hessian, wanted = (np.matmul(x.transpose(0, 2, 1), x) / 40).astype(np.float32), random.uniform(-127, 127, (5, 3, 9))
    alone = [best_integers(of[None], h[None], 0.01)[0] for of, h in zip(wanted, hessian, strict=True)]
    np.testing.assert_array_equal(best_integers(wanted, hessian, 0.01), alone)


@pytest.mark.parametrize("inputs", [9, 100])
def test_errors_of_correlated_inputs_are_taken_up_by_each_other(inputs: int) -> None:
    random = np.random.default_rng(inputs)
    x = random.normal(size=(400, inputs)) + 2 * random.normal(size=(400, 1))
    hessian, wanted = x.T @ x / 400, random.uniform(-100, 100, (8, inputs))
    (found,) = best_integers(wanted[None], hessian.astype(np.float32)[None], 0.01)
    powers = [np.square((q - wanted) @ x.T).mean() for q in (found, np.rint(wanted))]
    assert powers[0] < powers[1] / 2


def constants_everywhere() -> onnx.ModelProto:
    """One operand a product: a bias's step is a hundredth of the result's, and decides what is halfway."""
    constants = {"w": normal(1, 24, 3, 1, 1) * np.repeat(np.eye(3, dtype=np.float32), 8, 0)[:, :, None, None],
                 "b": normal(2, 24), "k": normal(3, 24, 1, 1), "c": normal(4, 1, 24, 12, 12), "g": normal(5, 24, 4),
                 "h": normal(6, 4)}  # fmt: skip
    nodes = [
        node("Conv", ["x", "w", "b"], "u"), node("Add", ["k", "u"], "a"), node("Relu", ["a"], "r"),
        node("Mul", ["r", "k"], "m"), node("Concat", ["m", "c"], "n", axis=1), node("MaxPool", ["n"], "p",
        kernel_shape=[12, 12]), node("Slice", ["p", "zero", "end", "axis"], "s"), node("Flatten", ["s"], "f"),
        node("Gemm", ["f", "g", "h"], "y"),
    ]  # fmt: skip
    ends = {"zero": np.array([0]), "end": np.array([24]), "axis": np.array([1])}
    return model(nodes, {"x": (1, 3, 12, 12)}, ["y", "n"], {**constants, **ends})


@pytest.mark.parametrize("made", [residual, constants_everywhere])
def test_the_simulation_is_the_written_model(made: Callable[[], onnx.ModelProto]) -> None:
    """To the bit: layers are corrected for what the simulation says that they read."""
    graph = optimize_graph(made())
    observer = Observer(graph)
    observer.observe(images(4))
    scheme = choose_grids(graph, observer.ranges(CalibrationMethod.MSE_ASYM))
    written, simulated = RunModel(write_qdq(graph, scheme), plain=True), Simulation(graph, scheme)
    for feed in images(12):
        found = simulated(feed, scheme.grids)
        for name, wanted in written(feed).items():
            np.testing.assert_array_equal(found[name], wanted)


def test_auto_is_no_worse_than_the_best_single_method_on_either_half() -> None:
    trials = [Trial("weighted", (1.0, 3.0)), Trial("MSE_ASYM", (2.5, 2.5)), Trial("MIN_MAX_SYM", (4.0, 4.0))]
    assert [trial.method for trial in chosen_first(trials)] == ["MSE_ASYM", "weighted", "MIN_MAX_SYM"]
    better = [Trial("weighted", (1.0, 2.0)), *trials[1:]]
    assert chosen_first(better)[0].method == "weighted"


def test_auto_keeps_to_its_budget_and_to_what_the_judge_sees() -> None:
    small, large = Budget(10.0, 28, 500_000_000, 250), Budget(10.0, 28, 4_000_000_000, 70)
    assert small.trials(8) < 2 <= large.trials(8) and large.default + large.trials(8) * large.trial(8) <= 10
    told = str(Choice((), small, 8))
    assert (
        told.startswith("auto: no method tried in a budget of 10, weighted alone takes about ")
        and "; --budget " in told
    )
    graph = optimize_graph(residual())
    observer = Observer(graph)
    observer.observe(images(8))

    def ranges_by(method: str) -> Ranges:
        wide = {name: (low * 50, high * 50) for name, (low, high) in observer.ranges(MIN_MAX).items()}
        return wide if method == "MSE_ASYM" else observer.ranges(MIN_MAX)

    trials = choose_method(graph, ranges_by, images(12)[8:], Judge({}), trials=3)
    assert len(trials) == 3 and trials[-1].method == "MSE_ASYM" and trials[-1].error > trials[0].error


def test_everything_on_quantizes() -> None:
    options = QuantizeOptions(method="auto", adaround=True)
    written = quantize_model(residual(), iter(images(6)), options)
    assert output_db(residual(), written, images(3)) > 25
