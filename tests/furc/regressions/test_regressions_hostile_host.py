"""An ENF with good checksums whose host steps or edges are hostile: one line and a hint, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import furc
from furc.compiler import check_batch
from furc.quantizer import QuantizeOptions, quantize_model
from furc.request import Request
from furc.zoo import digits
from isa.enf import Enf, HostStep, read, write
from isa.errors import ConfigError, EnfError
from isa.layout import Shape4


@pytest.fixture(scope="module")
def enf() -> Enf:
    images = [{"images": image[None]} for image in digits.calibration_images()[:2]]
    return furc.compile(quantize_model(digits.model(), images, QuantizeOptions(method="MIN_MAX_ASYM")))


def with_step(enf: Enf, index: int, **changes: object) -> Enf:
    steps = list(enf.steps)
    steps[index] = replace(steps[index], **changes)  # type: ignore[arg-type]
    return replace(enf, steps=tuple(steps))


def head_of(enf: Enf) -> HostStep:
    return enf.host_steps[0]


def float_head(enf: Enf) -> Enf:
    names = head_of(enf).inputs[0], head_of(enf).outputs[0]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    return with_head(enf, helper.make_graph([helper.make_node("Identity", names[:1], names[1:])], "g", *zip(values)))


def head_with_a_file(enf: Enf) -> Enf:
    graph = onnx.ModelProto.FromString(head_of(enf).model).graph
    secret = TensorProto(name="k", data_type=TensorProto.UINT8, dims=[4], data_location=TensorProto.EXTERNAL)
    secret.external_data.add(key="location", value="secret.txt")
    graph.initializer.append(secret)
    return with_head(enf, graph)


def with_head(enf: Enf, graph: onnx.GraphProto) -> Enf:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return with_step(enf, 0, model=model.SerializeToString())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda e: with_step(e, 0, model=b"garbage"), "'quantize': no ONNX model: "),
        (lambda e: with_step(e, 0, model=b""), "'quantize': it names no version of ONNX"),
        (lambda e: with_step(e, 2, model=head_of(e).model), "'dequantize': it has no input '"),
        (lambda e: with_step(e, 0, images=3), "'quantize': 'images' [1, 1, 8, 8] cannot be cut into 3 images"),
        (head_with_a_file, "'quantize': initializer 'k': it takes constants from other files"),
        (float_head, "'quantize': input 'images' has no fixed shape"),
        (lambda e: replace(e, outputs=(replace(e.outputs[0], shape=(3,)),)), "'dequantize': output '"),
        (lambda e: replace(e, outputs=(replace(e.outputs[0], dtype="int8"),)), "'dequantize': output '"),
        (
            lambda e: with_step(e, 1, inputs=(replace(e.npu_steps[0].inputs[0], shape=Shape4(1, 1, 1, 7)),)),
            "'quantize': output 'images.int8' is int8[1, 1, 8, 8], the file says int8 of 7 elements",
        ),
        (
            lambda e: replace(e, inputs=(replace(e.inputs[0], shape=(64,)),)),
            "'quantize': input 'images' is float32[1, 1, 8, 8], the file says float32[64]",
        ),
    ],
)
def test_a_hostile_host_step_is_an_enf_error(enf: Enf, change: Callable[[Enf], Enf], what: str) -> None:
    hostile = read(write(change(enf)))
    [tensor] = hostile.inputs
    with pytest.raises(EnfError) as caught:
        furc.Session(hostile).run({tensor.name: np.zeros(tensor.shape, np.float32)})
    assert caught.value.name == "BadEnf" and caught.value.message.startswith(f"host step {what}")
    assert "\n" not in caught.value.message and caught.value.hint


@pytest.mark.parametrize("batch", [0, -1, 33, 100])
def test_a_batch_that_no_instruction_holds_is_refused_before_compiling(batch: int) -> None:
    with pytest.raises(ConfigError, match="BadBatch"):
        furc.compile("no-such-file.onnx", batch_size=batch)


@pytest.mark.parametrize("batch", [True, "2", 2.0])
def test_a_batch_that_is_no_int_is_told_so(batch: Any) -> None:
    with pytest.raises(ConfigError, match=r"error\[BadBatch\]: the batch .* is no int"):
        check_batch(batch)


def test_a_request_of_no_images_is_none_of_one() -> None:
    with pytest.raises(ConfigError, match="BadBatch"):
        Request(batch=0)
