"""The `light_*` models of the onnx package: IR version 3, opset 9, weights made by ConstantOfShape."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import furc
from furc.quantizer import QuantizeOptions, quantize_model, random_samples
from isa.errors import LowerError

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


@pytest.mark.parametrize(
    ("name", "unsupported"),
    [("shufflenet", "Softmax"), ("squeezenet", "Softmax"), ("inception_v1", "LRN")],
)
def test_a_model_of_ir_version_3_comes_out_as_one_that_the_frontend_reads(name: str, unsupported: str) -> None:
    path = LIGHT / f"light_{name}.onnx"
    quantized = quantize_model(path, random_samples(path, 1), QuantizeOptions(method="MIN_MAX_ASYM"))
    assert quantized.ir_version >= 4
    onnx.checker.check_model(quantized)
    try:
        furc.compile(quantized)
    except LowerError as error:  # of an operator, as long as furc lacks it
        assert error.name == "UnsupportedOperator" and unsupported in error.message
