"""Calibration data as users have it: converted where that is exact, refused by sample and input where it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantizer_models import image, images, model, node, normal, residual

from furc.data.samples import SampleSource
from furc.onnx.graph import Array
from furc.quantizer import Preprocess, QuantizeOptions, image_feeds, nux, quantize_model
from isa.errors import ConfigError, QuantizeError

FAST = QuantizeOptions(method="MIN_MAX_ASYM")


@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<f4"])
def test_floats_of_any_width_and_byte_order_give_the_same_model(dtype: str) -> None:
    exact = [{"x": i["x"].astype(np.float16).astype(np.float32)} for i in images(3)]
    wanted = quantize_model(residual(), exact, QuantizeOptions(method="MSE_ASYM"))
    given = [{"x": i["x"].astype(dtype)} for i in exact]
    assert quantize_model(residual(), given, QuantizeOptions(method="MSE_ASYM")) == wanted


@pytest.mark.parametrize("method", ["MIN_MAX_ASYM", "weighted"])
def test_a_generator_may_fill_one_array_again_and_again(method: str) -> None:
    """All samples that were kept for a second look had been the last one."""

    def filled() -> Iterator[dict[str, Array]]:
        array = np.empty((1, 3, 12, 12), np.float32)
        for each in images(4):
            array[:] = each["x"]
            yield {"x": array}

    options = QuantizeOptions(method=method)
    assert quantize_model(residual(), filled(), options) == quantize_model(residual(), iter(images(4)), options)


def test_masked_samples_are_refused() -> None:
    """They had been calibrated on as if nothing were masked."""
    data = [image(), {"x": np.ma.masked_greater(image()["x"], 0.5)}]
    with pytest.raises(QuantizeError, match="sample 1: input 'x' has masked values") as caught:
        quantize_model(residual(), data, FAST)
    assert caught.value.name == "BadCalibrationData" and "filled" in (caught.value.hint or "")
    quantize_model(residual(), [{"x": np.ma.masked_greater(image()["x"], np.inf)}], FAST)  # nothing is


def test_float16_is_taken() -> None:
    quantize_model(residual(), [{"x": image()["x"].astype(np.float16)}], FAST)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.zeros((1, 3, 12, 12), np.uint8), "sample 0: input 'x' is uint8, the model takes float32"),
        (np.zeros((1, 3, 12, 12), np.int64), "sample 0: input 'x' is int64, the model takes float32"),
        (np.zeros((1, 3, 12, 12), bool), "sample 0: input 'x' is bool, the model takes float32"),
        (np.zeros((1, 3, 12, 12), np.complex64), "sample 0: input 'x' is complex64, the model takes float32"),
        (np.full((1, 3, 12, 12), "a"), "sample 0: input 'x' is str32, the model takes float32"),
        (np.float32(1), "sample 0: input 'x' is [], the model takes [1, 3, 12, 12]"),
        (np.zeros((1, 3, 12, 13), np.float32), "sample 0: input 'x' is [1, 3, 12, 13], the model takes [1, 3, 12, 12]"),
    ],
)
@pytest.mark.parametrize("method", ["MIN_MAX_ASYM", "MSE_ASYM"])
def test_what_would_have_to_be_guessed_is_refused_by_name(array: object, what: str, method: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        quantize_model(residual(), [{"x": array}], QuantizeOptions(method=method))
    assert (caught.value.name, caught.value.message) == ("BadCalibrationData", what)


class Tracked:
    """As PyTorch's tensors with gradients, or on another device."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: object, **__: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("array", "what"),
    [
        ([[1, 2], [3]], "list, no array: setting an array element"),
        (Tracked(RuntimeError("call detach")), "Tracked, no array: call detach"),
        (Tracked(TypeError("copy it first")), "Tracked, no array: copy it first"),
    ],
)
def test_what_is_no_array_is_refused_with_the_reason(array: object, what: str) -> None:
    with pytest.raises(QuantizeError) as caught:
        quantize_model(residual(), [{"x": array}], FAST)
    assert caught.value.name == "BadCalibrationData"
    assert caught.value.message.startswith(f"sample 0: input 'x' is {what}")


@pytest.mark.parametrize("data", [None, 7, "images", b"images"])
def test_data_that_is_no_samples_is_refused(data: object) -> None:
    with pytest.raises(QuantizeError, match="BadCalibrationData"):
        quantize_model(residual(), data, FAST)


@pytest.mark.parametrize(("bad", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("at", [0, 4, 40])
def test_what_is_not_finite_is_told_with_its_own_sample(bad: float, word: str, at: int) -> None:
    data = images(42)
    data[at]["x"][0, 1, 2, 3] = bad
    with pytest.raises(QuantizeError) as caught:
        quantize_model(residual(), data, FAST)
    assert caught.value.message == f"sample {at}: tensor 'x' holds {word}"


def test_a_dict_of_stacked_arrays_is_samples() -> None:
    stacked = {"x": np.concatenate([i["x"] for i in images(3)])}
    assert quantize_model(residual(), stacked, FAST) == quantize_model(residual(), images(3), FAST)


def test_inputs_with_different_numbers_of_samples_are_refused() -> None:
    two = model([node("Add", ["a", "b"], "y")], {"a": [1, 4], "b": [1, 4]}, ["y"], {})
    with pytest.raises(QuantizeError, match="'a' 3, 'b' 2"):
        quantize_model(two, {"a": normal(0, 3, 4), "b": normal(1, 2, 4)}, FAST)


class TestNux:
    """As the vendor's manual calls the functions of nux.quantizer."""

    @pytest.mark.parametrize(
        "data",
        [{"x": np.concatenate([i["x"] for i in images(2)])}, images(2), [[i["x"]] for i in images(2)], None],
        ids=["dict of arrays", "list of dicts", "list of lists", "nothing"],
    )
    def test_post_training_quantization(self, data: Any) -> None:
        made = nux.post_training_quantization(residual(), ["x"], data)
        assert any(n.op_type == "QuantizeLinear" for n in made.graph.node)

    def test_in_three_steps(self) -> None:
        assert len(nux.build_calibration_model(residual(), ["x"]).graph.output) > 5
        ranges = nux.calibrate(residual(), images(2))
        assert nux.quantize(residual(), ["x"], ranges) == nux.post_training_quantization(residual(), ["x"], images(2))

    @pytest.mark.parametrize("names", [["z"], [], ["x", "z"]])
    def test_names_of_other_inputs_are_refused(self, names: Sequence[str]) -> None:
        with pytest.raises(QuantizeError, match="the model's inputs are"):
            nux.post_training_quantization(residual(), names, images(1))


@pytest.mark.parametrize("source", [{"limit": -1}, {"limit": 0}, {"random": 0}])
def test_a_number_of_samples_is_from_1_on(source: dict[str, Any]) -> None:
    """limit=-1 had left out the last image."""
    with pytest.raises(ConfigError, match="BadOption"):
        SampleSource(path=Path("images"), **source)
    if "limit" in source:
        with pytest.raises(ConfigError, match="BadOption"):
            next(image_feeds("images", "x", Preprocess(), **source))
