"""Where speed stands: `pytest benchmarks`. Claims are ratios within one run, for machines differ and are shared.

The yardstick is ONNX Runtime running the same INT8 model, warm, in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from pytest_benchmark.fixture import BenchmarkFixture

from furc import zoo
from furc.compiler import compile
from furc.data.inputs import random_inputs
from furc.profiling.profile import profile
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_model
from furc.runtime.session import Session
from isa.enf import Enf

ROUNDS = 3
COMPILE_PER_INFERENCE = 20  # compiling may take as long as so many inferences of ONNX Runtime
RUN_PER_INT8_INFERENCE = 0.75  # activations int8, as the file has them
RUN_PER_UINT8_INFERENCE = 1.75  # the same model with uint8 activations, ONNX Runtime's fastest form
PROFILE_PER_INFERENCE = 10


@cache
def _quantized(name: str) -> onnx.ModelProto:
    model = zoo.build(name)
    [tensor] = model.graph.input
    shape = [d.dim_value for d in tensor.type.tensor_type.shape.dim]
    data = [{tensor.name: np.random.default_rng(0).random(shape, np.float32)}]
    return quantize_model(model, data, QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM, split=False))


def _with_uint8_activations(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same numbers: zero points of activations move by 128, and with them what is between Q and DQ."""
    result = onnx.ModelProto.FromString(model.SerializeToString())
    constants = {tensor.name: tensor for tensor in result.graph.initializer}
    nodes = [node for node in result.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for zero in {node.input[2] for node in nodes if node.input[0] not in constants}:
        values = numpy_helper.to_array(constants[zero])
        if values.dtype == np.int8:
            moved = (values.astype(np.int16) + 128).astype(np.uint8)
            constants[zero].CopyFrom(numpy_helper.from_array(moved, zero))
    del result.graph.value_info[:]
    return result


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return _quantized("yolov8n")


@pytest.fixture(scope="module")
def binary(model: onnx.ModelProto) -> Enf:
    return compile(model)


@pytest.fixture(scope="module")
def inference_seconds(model: onnx.ModelProto, binary: Enf) -> float:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = random_inputs(binary.inputs)
    return _median(lambda: session.run(None, feed))


def test_compiling_yolov8n(benchmark: BenchmarkFixture, model: onnx.ModelProto, inference_seconds: float) -> None:
    assert _seconds(benchmark, lambda: compile(model)) <= COMPILE_PER_INFERENCE * inference_seconds


@pytest.mark.parametrize("name", ["yolov8n", "resnet50"])
@pytest.mark.parametrize(("form", "limit"), [("int8", RUN_PER_INT8_INFERENCE), ("uint8", RUN_PER_UINT8_INFERENCE)])
def test_running_beside_onnx_runtime(benchmark: BenchmarkFixture, name: str, form: str, limit: float) -> None:
    """In turns, two threads each, warm."""
    quantized = _quantized(name)
    session = Session(compile(quantized))
    feed = random_inputs(session.inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 2
    model = quantized if form == "int8" else _with_uint8_activations(quantized)
    theirs = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seconds: list[float] = []

    def their_turn() -> None:
        begin = time.perf_counter()
        theirs.run(None, feed)
        seconds.append(time.perf_counter() - begin)

    session.run(feed)
    their_turn()
    benchmark.pedantic(lambda: session.run(feed), setup=their_turn, rounds=2 * ROUNDS + 1, warmup_rounds=1)
    assert benchmark.stats is not None
    ratio = float(benchmark.stats.stats.median) / float(np.median(seconds))
    benchmark.extra_info["times ONNX Runtime's"] = round(ratio, 2)
    assert ratio <= limit


def test_profiling_yolov8n(benchmark: BenchmarkFixture, binary: Enf, inference_seconds: float) -> None:
    assert _seconds(benchmark, lambda: profile(binary)) <= PROFILE_PER_INFERENCE * inference_seconds


def _seconds(benchmark: BenchmarkFixture, run: Callable[[], object]) -> float:
    """The median of some rounds, warm."""
    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    assert benchmark.stats is not None
    return float(benchmark.stats.stats.median)


def _median(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))
