"""Quantized models of the published architectures at sizes that tests can afford."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx

from furc import zoo
from furc.compiler import compile
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_model
from isa.enf import Enf

SIZES = {"resnet50": 64, "mobilenet_v2": 96, "yolov5n": 128, "yolov8n": 128, "ssd_mobilenet_v1": 160}


@cache
def quantized(name: str, size: int | None = None) -> onnx.ModelProto:
    """A zoo model with seeded weights, calibrated on noise. size: input rows and columns."""
    model = zoo.build(name, input_size=size if size is not None else SIZES[name])
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    data = [{"images": rng.random(shape, np.float32)} for _ in range(2)]
    return quantize_model(model, data, QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM, split=False))


@cache
def binary(name: str, target_npu: str, batch: int) -> Enf:
    return compile(quantized(name), target_npu=target_npu, batch_size=batch)


def images(model: onnx.ModelProto, seed: int) -> dict[str, np.ndarray]:
    """One random input."""
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {"images": np.random.default_rng(seed).random(shape, np.float32)}
