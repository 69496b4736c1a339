"""Calibration over streams."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from quantizer_models import image, images, model, node, normal, residual, run

from furc.onnx.graph import Array
from furc.quantizer import (
    CalibrationMethod,
    Calibrator,
    Observer,
    QuantizeOptions,
    build_calibration_model,
    quantize,
    quantize_model,
)
from furc.quantizer.optimize import optimize_graph
from isa.errors import QuantizeError


def test_min_max_ranges_are_those_of_the_activations() -> None:
    calibrator = Calibrator(residual(), CalibrationMethod.MIN_MAX_ASYM)
    calibrator.collect_data(images(3))
    ranges = calibrator.compute_range()
    shown = build_calibration_model(residual())
    values: dict[str, list[Array]] = {}
    for feed in images(3):
        for info, array in zip(shown.graph.output, run(shown, feed), strict=True):
            values.setdefault(info.name, []).append(array)
    assert set(ranges) == {*values, "x"}
    for name, arrays in values.items():
        low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
        np.testing.assert_allclose(ranges[name], (min(low, 0), max(high, 0)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", list(CalibrationMethod))
def test_every_method_gives_ranges_that_quantize(method: CalibrationMethod) -> None:
    calibrator = Calibrator(residual(), method)
    calibrator.collect_data(images(2))
    ranges = calibrator.compute_range()
    assert all(low <= 0 <= high for low, high in ranges.values())
    assert quantize(residual(), ranges)


def test_samples_may_be_arrays_lists_and_dicts_and_come_in_several_calls() -> None:
    ranges = []
    forms: list[object] = [images(2), [[i["x"]] for i in images(2)], [i["x"] for i in images(2)], iter(images(2))]
    for form in forms:
        calibrator = Calibrator(residual(), "MSE_ASYM")
        calibrator.collect_data(form)
        ranges.append(calibrator.compute_range())
    calibrator = Calibrator(residual(), "mse-asym")
    calibrator.collect_data([image(0)])
    calibrator.collect_data([image(1)])
    assert all(found == ranges[0] for found in (*ranges, calibrator.compute_range()))


def test_a_generator_is_read_once_and_lazily() -> None:
    taken = []

    def stream() -> Iterator[dict[str, Array]]:
        for index in range(5):
            taken.append(index)
            yield image(index)

    calibrator = Calibrator(residual(), "MIN_MAX_SYM")
    calibrator.collect_data(stream())
    assert taken == [0, 1, 2, 3, 4] and calibrator.observer.samples == 5


def test_nan_names_the_tensor_and_the_sample() -> None:
    bad = image(1)
    bad["x"][0, 1, 2, 3] = np.nan
    with pytest.raises(QuantizeError) as caught:
        Calibrator(residual(), "MSE_SYM").collect_data([image(0), bad])
    assert caught.value.name == "NotFinite"
    assert caught.value.message == "sample 1: tensor 'x' holds NaN"


def test_infinity_inside_the_model_names_its_node() -> None:
    made = model([node("Log", ["x"], "y")], {"x": (1, 4)}, ["y"], {})
    with pytest.raises(QuantizeError) as caught:
        Calibrator(made, "MIN_MAX_ASYM").collect_data([np.array([[1, 2, 0, 3]], np.float32)])
    assert str(caught.value).startswith("error[NotFinite]: node 'y_node': sample 0: tensor 'y' holds infinity")


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ({"z": np.zeros((1, 3, 12, 12), np.float32)}, "sample 0 has the inputs z, the model takes x"),
        ([], "sample 0 has 0 arrays, the model takes x"),
        (
            {"x": np.zeros((1, 3, 5, 5, 5), np.float32)},
            "sample 0: input 'x' is [1, 3, 5, 5, 5], the model takes [1, 3, 12, 12]",
        ),
    ],
)
def test_wrong_samples_say_what_the_model_takes(sample: object, message: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        Calibrator(residual(), "MIN_MAX_ASYM").collect_data([sample])
    assert caught.value.name == "BadCalibrationData" and caught.value.message.startswith(message)


def test_no_data_and_unknown_methods_are_errors() -> None:
    with pytest.raises(QuantizeError, match="no calibration data was collected"):
        Calibrator(residual(), "MIN_MAX_ASYM").compute_range()
    with pytest.raises(QuantizeError, match="there is no calibration method 'BEST'"):
        Calibrator(residual(), "BEST")


def test_large_tensors_are_thinned_but_their_extremes_are_exact() -> None:
    made = model([node("Relu", ["x"], "y")], {"x": (1, 4, 300, 300)}, ["y"], {})
    feed = {"x": normal(0, 1, 4, 300, 300)}
    observer = Observer(optimize_graph(made))
    observer.observe([feed])
    histogram = observer.histograms["x"]
    assert histogram.range == (feed["x"].min(), feed["x"].max())
    assert 0 < histogram.counts.sum() < feed["x"].size
    low, high = observer.ranges(CalibrationMethod.PERCENTILE_SYM, 99.0)["x"]
    assert high == pytest.approx(np.quantile(np.abs(feed["x"]), 0.99), rel=0.02) and low == -high


def test_progress_is_told() -> None:
    told: list[tuple[str, int, int | None]] = []
    observer = Observer(optimize_graph(residual()))
    observer.observe(images(2), lambda *step: told.append(step))
    assert told == [("calibrate", 1, 2), ("calibrate", 2, 2)]


@pytest.mark.parametrize("method", ["weighted", "auto", "MSE_ASYM"])
def test_all_that_is_counted_comes_to_its_end(method: str) -> None:
    told: dict[str, tuple[int, int | None]] = {}
    options = QuantizeOptions(method=method, budget=1e6)
    quantize_model(residual(), images(8), options, lambda what, done, total: told.update({what: (done, total)}))
    counted = {what: step for what, step in told.items() if step[1] is not None}
    assert {"calibrate", "correct layers"} <= set(counted)
    assert all(done == total for done, total in counted.values()), counted
    assert ("try methods" in counted) == (method == "auto")
