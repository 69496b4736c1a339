"""Float TFLite models: read as the same float model, and quantized like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from test_tflite_operators import CASES, OF_FLOAT, requantize
from tflite_models import Drawing, data_for, litert

import furc
from furc.data.samples import SampleSource
from furc.quantize_files import quantize_file
from furc.tflite.convert import to_onnx
from isa.errors import LowerError

MOSTLY_INT8 = {
    "flattened",
    "fully_connected",
    "padv2",
    "sub_constant",
    "requantize",
}  # their drawings have int8 constants


@pytest.mark.parametrize(
    "case",
    [c for c in (*CASES, *OF_FLOAT) if c.__name__ not in MOSTLY_INT8 and c is not requantize],
    ids=lambda case: case.__name__,
)
def test_a_float_operator_is_the_same_function(case: object) -> None:
    drawing = Drawing("float32", seed=1)
    model = drawing.bytes(case(drawing))  # type: ignore[operator]
    inputs = data_for(model)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    mine = dict(zip([o.name for o in session.get_outputs()], session.run(None, inputs), strict=True))
    theirs = litert(model, inputs)
    assert mine.keys() == theirs.keys()
    for name, array in theirs.items():
        assert mine[name].shape == array.shape
        np.testing.assert_allclose(mine[name], array, rtol=1e-4, atol=1e-4)


def test_elu_is_its_formula() -> None:
    """LiteRT's reference kernels lack it."""
    drawing = Drawing("float32")
    model = drawing.bytes(drawing.op("ELU", (drawing.input((1, 6, 5, 4)),), (drawing.activation((1, 6, 5, 4)),)))
    ((name, x),) = data_for(model).items()
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {name: x})
    np.testing.assert_allclose(y, np.where(x < 0, np.expm1(x), x), rtol=1e-5)


def network() -> bytes:
    d = Drawing("float32", seed=3)
    x = d.conv(d.input((1, 16, 16, 3)), 8, stride=2, activation=3)
    y = d.conv(x, 8, depthwise=True, activation=1)
    x = d.op("ADD", (x, y), (d.activation((1, 8, 8, 8)),), "AddOptions")
    x = d.conv(x, 8, stride=2)
    flat = d.op("RESHAPE", (x, d.ints(1, 128)), (d.activation((1, 128)),), "ReshapeOptions", newShape=[1, 128])
    weights = d.tensor((10, 128), data=d.random.normal(0, 0.1, (10, 128)).astype(np.float32))
    return d.bytes(d.op("FULLY_CONNECTED", (flat, weights, -1), (d.activation((1, 10)),), "FullyConnectedOptions"))


def test_a_float_network_is_quantized_compiled_and_close(tmp_path: Path) -> None:
    file = tmp_path / "float.tflite"
    file.write_bytes(network())
    quantized = quantize_file(file, SampleSource(random=8)).model
    session = furc.Session(furc.compile(quantized))
    [declared] = session.enf.inputs
    assert declared.shape == (1, 16, 16, 3)
    x = np.random.default_rng(9).random(declared.shape, np.float32)
    [mine] = session.run({declared.name: x}).values()
    [theirs] = litert(network(), {declared.name: x}).values()
    assert np.sqrt(np.mean((mine - theirs) ** 2)) < 0.1 * np.sqrt(np.mean(theirs**2))


def test_weights_of_16_bits_are_what_they_stand_for() -> None:
    d = Drawing("float32", seed=2)
    x = d.input((1, 6))
    half = d.tensor((4, 6), dtype="float16", data=d.random.normal(0, 1, (4, 6)).astype(np.float16))
    full = d.op("DEQUANTIZE", (half,), (d.activation((4, 6)),))
    model = d.bytes(d.op("FULLY_CONNECTED", (x, full, -1), (d.activation((1, 4)),), "FullyConnectedOptions"))
    inputs = data_for(model)
    session = onnxruntime.InferenceSession(to_onnx(model).SerializeToString(), providers=["CPUExecutionProvider"])
    [theirs] = litert(model, inputs).values()
    np.testing.assert_allclose(session.run(None, inputs)[0], theirs, rtol=1e-3, atol=1e-3)


def test_integer_weights_for_a_float_image_count_as_float_ones() -> None:
    d = Drawing("float32", seed=2)
    x = d.input((1, 6))
    weights = d.tensor((4, 6), 0.01, dtype="int8", data=d.random.integers(-127, 128, (4, 6)).astype(np.int8))
    proto = to_onnx(
        d.bytes(d.op("FULLY_CONNECTED", (x, weights, -1), (d.activation((1, 4)),), "FullyConnectedOptions"))
    )
    assert {node.op_type for node in proto.graph.node} == {"Gemm", "Identity"}


def test_float_weights_for_an_integer_image_are_refused() -> None:
    d = Drawing("int8")
    x, weights = d.input((1, 6)), d.tensor((4, 6), dtype="float32", data=np.ones((4, 6), np.float32))
    model = d.bytes(d.op("FULLY_CONNECTED", (x, weights, -1), (d.activation((1, 4)),), "FullyConnectedOptions"))
    with pytest.raises(LowerError, match=r"^error\[UnsupportedOperator\]: node 'FULLY_CONNECTED 0 t2': weights 't1'"):
        to_onnx(model)
