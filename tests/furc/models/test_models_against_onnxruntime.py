"""What the NPU computes for real architectures equals ONNX Runtime, tensor by tensor, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from zoo_models import SIZES, binary, images, quantized

from furc.compiler import compile, compile_options
from furc.onnx.oracle import Oracle
from furc.runtime.session import Session
from furc.verify import verify
from isa.npu import TARGETS, target
from passes.options import CompileOptions

pytestmark = pytest.mark.fills_memory
WITHIN_ONE_LSB = ("avgpool",)  # docs/numerics.md: averages round a float32 quotient


@pytest.mark.parametrize("name", SIZES)
def test_every_tensor_equals_onnx_runtime(name: str) -> None:
    rows = verify(quantized(name), images(quantized(name), 1), CompileOptions(npu=target("warboy"))).tensors
    assert len(rows) > 20
    exact = [row for row in rows if row.operator not in WITHIN_ONE_LSB]
    assert [row for row in exact if row.arrived.different or row.added.different] == []
    assert all(row.arrived.worst <= 1 for row in rows)


@pytest.mark.parametrize("target_npu", TARGETS)
@pytest.mark.parametrize("name", SIZES)
def test_outputs_equal_onnx_runtime_in_a_batch(name: str, target_npu: str) -> None:
    model = quantized(name)
    feeds = [images(model, seed) for seed in (2, 3)]
    batch = {"images": np.concatenate([feed["images"] for feed in feeds])}
    results = Session(binary(name, target_npu, 2)).run(batch)
    oracle = Oracle(model)
    for index, feed in enumerate(feeds):
        expected = oracle.run(feed)
        for output, values in results.items():
            assert np.array_equal(values[index : index + 1], expected[output]), output


def test_the_reference_interpreter_gives_the_same_as_the_accelerated_one() -> None:
    model = quantized("mobilenet_v2", 64)
    binary = compile(model, target_npu="warboy")
    feed = images(model, 4)
    fast, plain = Session(binary).run(feed), Session(binary, accelerate=False).run(feed)
    assert all(np.array_equal(fast[name], plain[name]) for name in fast)


def test_program_loading_changes_cycles_but_no_result() -> None:
    model = quantized("yolov8n", 64)
    plain = compile_options("warboy", 1, {})
    small = replace(plain.npu, instruction_memory_bytes=8192)
    loading = Session(compile(model, npu=small, compiler_config={"use_program_loading": True}), npu=small)
    assert len(loading.enf.segments) > 1
    feed = images(model, 5)
    expected = Session(compile(model, target_npu="warboy")).run(feed)
    assert all(np.array_equal(loading.run(feed)[name], expected[name]) for name in expected)
