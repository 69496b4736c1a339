"""Models of float16, as exporters write them for graphics cards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantizer_models import image, images, residual, run

from furc.check import Where, check_file
from furc.evaluate.models import float_model
from furc.onnx.half import in_single
from furc.quantizer import QuantizeOptions, quantize_model
from furc.request import Request

FAST = QuantizeOptions(method="MIN_MAX_ASYM", split=False, equalize=False, bias_correction=False)


def halved(*, ends: bool) -> onnx.ModelProto:
    """The usual small network with halves inside, between Casts, or at its ends as well."""
    made = residual()
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    del made.graph.value_info[:]
    if ends:
        for info in (*made.graph.input, *made.graph.output):
            info.type.tensor_type.elem_type = TensorProto.FLOAT16
        return made
    for node in made.graph.node:
        node.input[:] = ["x_half" if name == "x" else name for name in node.input]
        node.output[:] = ["y_half" if name == "y" else name for name in node.output]
    made.graph.node.insert(0, helper.make_node("Cast", ["x"], ["x_half"], to=TensorProto.FLOAT16))
    made.graph.node.append(helper.make_node("Cast", ["y_half"], ["y"], to=TensorProto.FLOAT))
    return made


@pytest.mark.parametrize("ends", [False, True])
def test_a_model_of_halves_is_quantized_as_the_same_of_floats(ends: bool) -> None:
    halves = halved(ends=ends)
    before = halves.SerializeToString()
    onnx.checker.check_model(wide := in_single(halves), full_check=True)
    assert halves.SerializeToString() == before
    (exact,) = run(wide, image())
    feed = image()["x"]
    (found,) = run(halves, {"x": feed.astype(np.float16) if ends else feed})
    np.testing.assert_allclose(found.astype(np.float32), exact, atol=2e-2)
    quantized, expected = (quantize_model(of, images(4), FAST) for of in (halves, wide))
    assert quantized.SerializeToString() == expected.SerializeToString()


def test_a_model_without_halves_is_left_as_it_is() -> None:
    assert in_single(made := residual()) is made


def test_a_model_of_halves_is_checked_and_is_a_reference(tmp_path: Path) -> None:
    onnx.save(halved(ends=True), path := tmp_path / "half.onnx")
    halves, floats = (check_file(of, Request()).of(Where.HOST, Where.REFUSED) for of in (path, residual()))
    assert halves == floats
    reference = float_model(path, Request())
    assert [tensor.dtype for tensor in reference.inputs] == ["float32"]
    assert np.isfinite(reference.call(image())["y"]).all()
