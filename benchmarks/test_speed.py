"""Where speed stands: `pytest benchmarks`. Claims are ratios within one run, for machines differ and are shared.

The yardstick is ONNX Runtime running the same INT8 model, warm, in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
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
RUN_PER_INFERENCE = 1.5
PROFILE_PER_INFERENCE = 10


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    shape = (1, 3, 640, 640)
    data = [{"images": np.random.default_rng(0).random(shape, np.float32)}]
    return quantize_model(
        zoo.build("yolov8n"), data, QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM, split=False)
    )


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


def test_running_yolov8n(benchmark: BenchmarkFixture, binary: Enf, inference_seconds: float) -> None:
    session, feed = Session(binary), random_inputs(binary.inputs)
    assert _seconds(benchmark, lambda: session.run(feed)) <= RUN_PER_INFERENCE * inference_seconds


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
