"""Accuracy of every calibration method and option on real networks, as Markdown tables.

    python -m benchmarks.quantizer.accuracy DATA [--task imagenet|coco|yolox|collapse]... [--limit N]

DATA holds imagenet/ and coco/ with calib and eval splits, and models/. furc.evaluate scores, as `furc eval` does.
Ranges come from calib alone; every figure is of eval, INT8 models compiled and run on the simulated NPU.
Nothing is chosen by looking at eval.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from furc.compiler import compile
from furc.data.pixels import Pixels
from furc.data.samples import SampleSource, read_samples
from furc.evaluate.evaluate import Options, evaluate, read_truth
from furc.evaluate.models import Model, onnx_model, session_model
from furc.evaluate.result import Task as Kind
from furc.evaluate.truth import Labelled, Truth
from furc.onnx.graph import Array
from furc.quantizer import CalibrationMethod, Observer, QuantizeOptions, quantize_model, runner_for
from furc.quantizer.channels.channel_order import is_depthwise
from furc.quantizer.channels.equalize import rescale
from furc.quantizer.channels.tied_channels import find_tied
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.reports.report import quantized_with
from furc.runtime.session import Session

MODELS = {
    "imagenet": "efficientnet_lite0_fp32",
    "coco": "fastestdet_fp32",
    "yolox": "yolox_nano_fp32",
    "collapse": "fastestdet_fp32",
}
PIXELS = {
    "imagenet": Pixels(scale=1, mean=(127,), std=(128,)),
    "coco": Pixels(channels="bgr"),
    "collapse": Pixels(channels="bgr"),
    "yolox": Pixels(channels="bgr", scale=1, fit="letterbox", place="top-left"),
}
PLAIN: dict[str, Any] = {"equalize": False, "bias_correction": False, "split": False}
FULL: dict[str, Any] = {"equalize": True, "bias_correction": True, "split": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "MSE_ASYM": {},
    "MSE_ASYM, bias_correction": {"bias_correction": True},
    "MSE_ASYM, equalize": {"equalize": True},
    "MSE_ASYM, equalize, bias_correction": {"equalize": True, "bias_correction": True},
    "MSE_ASYM, all three": FULL,
    "weighted": {"method": "weighted"},
    "weighted, equalize, bias_correction": {**FULL, "method": "weighted", "split": False},
    "weighted, all three (the default)": {**FULL, "method": "weighted"},
    "default, adaround": {**FULL, "method": "weighted", "adaround": True},
    "auto, all three": {**FULL, "method": "auto"},
}
COLLAPSE_RATIO = 200.0  # between the largest and the smallest channel that `collapse` makes
COLLAPSE_METHODS = ("MIN_MAX_ASYM", "PERCENTILE_SYM", "ENTROPY_SYM", "MSE_ASYM", "SQNR_SYM")


@dataclass
class Task:
    """A network with its data."""

    name: str
    model: onnx.ModelProto
    calibration: list[dict[str, Array]]
    truth: Truth
    options: Options
    on_npu: bool

    @property
    def classifies(self) -> bool:
        return self.options.task is Kind.CLASSIFICATION

    def row(self, title: str, model: onnx.ModelProto, seconds: float) -> str:
        """One line of the table."""
        models = [onnx_model(self.model, "float")]
        if model is not self.model:
            models.append(self._quantized(model))
        found = evaluate(models, self.truth, self.options).models[-1]
        first, *rest = (f"{estimate.value:.2f}" for estimate in found.figures.values())
        db = "" if found.sqnr_db is None else f"{found.sqnr_db:.2f}"
        same = 100.0 if found.agreement is None else found.agreement
        merit = f"{first} | {same:.1f}" if self.classifies else f"{first} | {rest[0]}"
        return f"| {title} | {merit} | {db} | {seconds:.1f} |"

    def header(self) -> str:
        if self.classifies:
            return "| | top-1 % | agreement % | output SQNR dB | seconds |\n|---|---|---|---|---|"
        return "| | mAP | mAP50 | output SQNR dB | seconds |\n|---|---|---|---|---|"

    def _quantized(self, model: onnx.ModelProto) -> Model:
        if not self.on_npu:
            return onnx_model(model, "int8")
        return session_model(Session(compile(model, compiler_config={"use_program_loading": True})), "int8")


def load_task(name: str, data: Path, limit: int | None, on_npu: bool) -> Task:
    model = onnx.load(str(data / "models" / f"{MODELS[name]}.onnx"))
    pixels = PIXELS[name]
    if name == "imagenet":
        options = Options(data=data / "imagenet/eval", pixels=pixels)
        files = sorted(options.data.glob("*.jpg"))
        truth = Truth(tuple(Labelled(file.name, file, int(file.stem.removeprefix("class"))) for file in files))
        calibration = data / "imagenet/calib"
    else:
        options = Options(
            data=data / "coco/eval/images", labels=data / "coco/eval/labels", task=Kind.DETECTION, pixels=pixels,
            decode="yolox" if name == "yolox" else "fastestdet",
        )  # fmt: skip
        truth, calibration = read_truth(options), data / "coco/calib/images"
    samples = read_samples(model, SampleSource(path=calibration, pixels=pixels))
    return Task(name, model, samples, truth.first(limit), options, on_npu)


def print_methods(task: Task, methods: tuple[str, ...]) -> None:
    """Ranges alone, as the vendor's API has it."""
    print(task.header())
    print(task.row("float", task.model, 0.0), flush=True)
    start = time.perf_counter()
    observer = Observer(optimize_graph(task.model))
    observer.observe(task.calibration)
    collecting = time.perf_counter() - start
    for method in methods:
        start = time.perf_counter()
        model = quantized_with(observer, observer.ranges(CalibrationMethod(method)))
        print(task.row(method, model, collecting + time.perf_counter() - start), flush=True)


def print_options(task: Task, options: dict[str, dict[str, Any]]) -> None:
    inference = float_seconds(task.model, task.calibration)
    print(f"\nTimes are CPU time in multiples of {inference:.2f} s, the float inferences of the calibration images.\n")
    print(task.header().replace("seconds", "times float"))
    for title, chosen in options.items():
        start = time.process_time()
        wanted = QuantizeOptions(**{"method": "MSE_ASYM", **PLAIN, **chosen})
        model = quantize_model(task.model, task.calibration, wanted)
        print(task.row(title, model, (time.process_time() - start) / inference), flush=True)


def float_seconds(model: onnx.ModelProto, samples: list[dict[str, Array]]) -> float:
    """CPU time of running a float model on all samples."""
    run = runner_for(model)
    run(samples[0])
    start = time.process_time()
    for feed in samples:
        run(feed)
    return time.process_time() - start


def collapsed(model: onnx.ModelProto, ratio: float) -> onnx.ModelProto:
    """The same function with uneven channels: what each depthwise Conv reads is scaled, and scaled back in it."""
    graph, random = optimize_graph(model), np.random.default_rng(0)
    tied = find_tied(graph, lambda clip: False)
    scale = np.ones(tied.count)
    for layer in tied.layers:
        read = layer.node.inputs[0]
        producer = graph.producer(read)
        plain = producer is not None and producer.op in ("Conv", "Relu") and graph.only_reader(read) is not None
        if plain and is_depthwise(graph, layer.node):
            scale[layer.reads] = np.exp(random.uniform(0, np.log(ratio), len(layer.reads)))
    rescale(graph, tied, scale)
    return graph.model()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", action="append", choices=list(MODELS))
    parser.add_argument("--limit", type=int, help="images of eval")
    parser.add_argument("--on", choices=("npu", "onnxruntime"), default="npu", help="where INT8 models run")
    parser.add_argument("--only", default="", help="options whose row starts so, and no table of methods")
    chosen = parser.parse_args()
    for name in chosen.task or list(MODELS):
        task = load_task(name, chosen.data, chosen.limit, chosen.on == "npu")
        print(f"\n## {name}: {MODELS[name]}\n", flush=True)
        methods = COLLAPSE_METHODS if name == "collapse" else tuple(CalibrationMethod)
        if name == "collapse":
            task.model = collapsed(task.model, COLLAPSE_RATIO)
        if not chosen.only:
            print_methods(task, methods)
        print_options(task, {title: o for title, o in OPTIONS.items() if title.startswith(chosen.only)})


if __name__ == "__main__":
    main()
