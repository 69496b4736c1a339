"""The published rows, and a compiled program for each: graphs from furc.zoo or from a folder of skeletons.

A skeleton is an ONNX graph whose large initializers have no data. Timing depends on the graph alone, so weights are
filled with seeded noise and ranges are made up: one of its own for each tensor, as calibration gives them, so that
the parts of concatenations are requantized.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.fidelity.by_onnxruntime import quantized_by_onnxruntime
from furc import zoo
from furc.compiler import compile_graph
from furc.frontend import load_onnx
from furc.quantizer import optimize_model, quantize
from isa.enf import Enf
from isa.npu import NpuConfig
from passes.options import CompileOptions

PUBLISHED = Path(__file__).with_name("published.csv")
FURC, ONNXRUNTIME = "furc", "onnxruntime"  # quantizers
OFFLINE = Path(__file__).with_name("offline.csv")
HOST_MS = 0.09  # driver, link and interrupts of an MLPerf query: what its two rows leave beside the NPU


@dataclass(frozen=True, slots=True)
class Row:
    """One published latency. ms: NPU time where it is given, else end to end."""

    model: str
    input_size: int
    target: str
    ms: float
    end_to_end: bool
    source: str
    batch: int = 1

    @property
    def host_ms(self) -> float:
        return HOST_MS if self.end_to_end else 0.0

    @property
    def program_loading(self) -> bool:
        """warboy-vision-models sets use_program_loading; MLPerf and the profiler's examples do not need it."""
        return self.source == "warboy-vision-models"


def published(path: Path = PUBLISHED) -> list[Row]:
    """The rows of a published.csv."""
    with path.open() as file:
        return [
            Row(
                r["model"], int(r["input"]), r["target"], float(r["npu_ms"] or r["end_to_end_ms"]), not r["npu_ms"],
                r["source"],
            )
            for r in csv.DictReader(file)
        ]  # fmt: skip


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
    if quantizer == ONNXRUNTIME:
        return quantized_by_onnxruntime(model)
    model = optimize_model(model)
    names = [i.name for i in model.graph.input] + [output for node in model.graph.node for output in node.output]
    rng = np.random.default_rng(0)
    ranges = {
        name: (-float(width), float(width)) for name, width in zip(names, rng.uniform(1, 4, len(names)), strict=True)
    }
    return onnx.load_from_string(quantize(model, ranges))


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
