"""The TFLite files that furc and Vela are compared on compute what their ONNX form does. `pytest benchmarks`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fidelity.rows import quantized
from benchmarks.vela.from_qdq import tflite_of, with_logistic_grids
from furc.compiler import compile_graph
from furc.onnx.graph import Array, Graph
from furc.request import Request
from furc.runtime.session import Session
from furc.verify import verify_litert

NHWC, NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50", "yolov8n"])
def test_both_forms_compute_the_same(name: str) -> None:
    """The same integers by furc; by LiteRT at most 1 LSB from them at each operator (docs/tflite.md)."""
    model = quantized(name, None)
    assert model is not None
    model = with_logistic_grids(model)
    data, graph = tflite_of(model), Graph(model)
    [entry] = graph.inputs
    [quantizer] = graph.readers(entry)
    scale, zero = (graph.constants[name] for name in quantizer.inputs[1:])
    image = np.random.default_rng(0).integers(-128, 128, graph.shape(entry), np.int8)
    turned = np.ascontiguousarray(image.transpose(NHWC))
    pairs = zip(run(model.SerializeToString(), (image - zero) * scale), run(data, turned), strict=True)
    for name, (real, stored) in zip(graph.outputs, pairs, strict=True):
        dequantizer = graph.producer(name)
        assert dequantizer is not None
        scale, zero = (graph.constants[name] for name in dequantizer.inputs[1:])
        plain = stored.transpose(NCHW) if stored.ndim == 4 else stored
        assert np.array_equal((plain - zero) * scale, real)
    assert verify_litert(data, Request(), {entry: turned}).worst_added <= 1


def run(data: bytes, image: Array) -> list[Array]:
    request = Request(target_npu="warboy-2pe")
    graph = request.load(data)
    [entry] = graph.inputs
    return list(
        Session(compile_graph(graph, request.options()).enf, npu=request.npu()).run({entry.name: image}).values()
    )
