"""The published rows, and a compiled program for each: graphs from furc.zoo or from a folder of skeletons.

A skeleton is an ONNX graph whose large initializers have no data. Timing depends on the graph alone, so weights are
filled with seeded noise and ranges are made up.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.fidelity.by_onnxruntime import quantized_by_onnxruntime
from furc import zoo
from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.zoo.int8 import in_int8
from furc.zoo.published import Row
from isa.enf import Enf
from isa.npu import NpuConfig
from passes.options import CompileOptions

FURC, ONNXRUNTIME = "furc", "onnxruntime"  # quantizers
OFFLINE = Path(__file__).with_name("offline.csv")


def offline(path: Path = OFFLINE) -> list[Row]:
    """Throughput of queries of several images on every PE for itself, as the time that one query takes one PE.

    The host works beside the NPU there. Nothing is fitted to these rows."""
    with path.open() as file:
        return [
            Row(
                r["model"], int(r["input"]), r["target"],
                1e3 * int(r["batch"]) * int(r["devices"]) / float(r["images_per_second"]), False,
                r["source"], int(r["batch"]),
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip


def quantized(name: str, skeletons: Path | None, quantizer: str = FURC) -> onnx.ModelProto | None:
    """A quantized model of the right structure; None where neither the zoo nor the folder has the graph."""
    model = float_model(name, skeletons)
    if model is None:
        return None
    return quantized_by_onnxruntime(model) if quantizer == ONNXRUNTIME else in_int8(model)


def float_model(name: str, skeletons: Path | None) -> onnx.ModelProto | None:
    file = skeletons / f"{name}.skel.onnx" if skeletons is not None else None
    if file is not None and file.exists():
        return _filled(onnx.load(file))
    return zoo.build(name) if name in zoo.names() else None


def _filled(model: onnx.ModelProto) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if not tensor.raw_data and not tensor.float_data and not tensor.int64_data and tensor.data_type == 1:
            fan_in = max(1, math.prod(tensor.dims[1:]))  # so that activations neither vanish nor overflow
            noise = (rng.standard_normal(list(tensor.dims)) / math.sqrt(fan_in)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(noise, tensor.name))
    return model


def binaries(
    rows: list[Row], machine: dict[str, NpuConfig], skeletons: Path | None, quantizer: str = FURC
) -> Iterator[tuple[Row, Enf]]:
    """A binary for each row that has a graph, compiled for the machine of its target."""
    for name in dict.fromkeys(row.model for row in rows):
        model = quantized(name, skeletons, quantizer)
        for row in rows:
            if row.model == name and model is not None:
                options = CompileOptions(
                    npu=machine[row.target], batch=row.batch, use_program_loading=row.program_loading
                )
                yield row, compile_graph(load_onnx(model), options).enf
