"""Latencies that are published, and the networks in INT8 that they are compared by."""

from __future__ import annotations

import onnx
import pytest

from furc import zoo
from furc.compiler import compile
from furc.zoo.digits.demo import BESIDE_A_CARD, modelled_ms
from furc.zoo.int8 import in_int8
from furc.zoo.published import published
from isa.npu import TARGETS


def test_rows_are_of_known_targets_and_positive() -> None:
    rows = published()
    assert {row.target for row in rows} == set(TARGETS)
    assert all(row.ms > 0 for row in rows)
    assert {row.model for row in rows} >= set(BESIDE_A_CARD)


@pytest.mark.parametrize("target", TARGETS)
def test_the_demo_models_what_a_card_was_measured_at(target: str) -> None:
    [row] = [row for row in published() if (row.model, row.target) == ("yolov8n", target)]
    assert modelled_ms(in_int8(zoo.build("yolov8n")), row) == pytest.approx(row.ms, rel=0.1)


def test_a_network_in_int8_is_the_same_each_time_and_compiles() -> None:
    small = zoo.build("mobilenet_v2", input_size=32)
    quantized = in_int8(small)
    assert quantized.SerializeToString(deterministic=True) == in_int8(small).SerializeToString(deterministic=True)
    assert compile(quantized).steps


def test_tensors_that_are_joined_have_ranges_of_their_own() -> None:
    model = in_int8(zoo.build("yolov5n", input_size=64))
    scales = {onnx.numpy_helper.to_array(t).item() for t in model.graph.initializer if not t.dims and t.data_type == 1}
    assert len(scales) > 50
