"""Accuracy of every calibration method and option on real networks, as Markdown tables.

    python -m benchmarks.quantizer.accuracy DATA [--task imagenet|coco|yolox|collapse]... [--limit N]

DATA holds imagenet/ and coco/ with calib and eval splits, models/, and evaluate.py, which computes top-1 and mAP.
Ranges come from calib alone; every figure is of eval, INT8 models compiled and run on the simulated NPU.
Nothing is chosen by looking at eval.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx

from furc.onnx.graph import Array
from furc.quantizer import CalibrationMethod, Observer, QuantizeOptions, quantize_model, runner_for
from furc.quantizer.equalize import find_pairs, rescale
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.report import quantized_with
from furc.quantizer.sqnr import Noise
from furc.runtime.runner import NpuRunner, npu_runner_for

MODELS = {
    "imagenet": "efficientnet_lite0_fp32",
    "coco": "fastestdet_fp32",
    "yolox": "yolox_nano_fp32",
    "collapse": "fastestdet_fp32",
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
    """A network with its data. evaluate: the module in the data folder."""

    name: str
    model: onnx.ModelProto
    calibration: list[dict[str, Array]]
    evaluation: list[dict[str, Array]]
    evaluate: ModuleType
    limit: int | None
    on_npu: bool

    @property
    def kind(self) -> str:
        return "imagenet" if self.name == "imagenet" else "coco"

    def row(self, title: str, model: onnx.ModelProto, seconds: float) -> str:
        """One line of the table."""
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.onnx")
            onnx.save(model, path)
            runner = NpuRunner(path) if self.on_npu and model is not self.model else self.evaluate.OrtRunner(path)
            found = self.evaluate.evaluate(self.kind, runner, "eval", self.limit)
        noise, agreement = self._closeness(model)
        merit = f"{found['top1']:.1f}" if self.kind == "imagenet" else f"{found['map']:.2f} | {found['map50']:.2f}"
        same = f" | {agreement:.1f}" if self.kind == "imagenet" else ""
        return f"| {title} | {merit}{same} | {noise:.2f} | {seconds:.1f} |"

    def header(self) -> str:
        if self.kind == "imagenet":
            return "| | top-1 % | agreement % | output SQNR dB | seconds |\n|---|---|---|---|---|"
        return "| | mAP | mAP50 | output SQNR dB | seconds |\n|---|---|---|---|---|"

    def _closeness(self, model: onnx.ModelProto) -> tuple[float, float]:
        exact = runner_for(self.model)
        found = npu_runner_for(model) if self.on_npu and model is not self.model else runner_for(model)
        noises: dict[str, Noise] = {}
        same = 0
        for feed in self.evaluation:
            wanted, got = exact(feed), found(feed)
            for name, values in wanted.items():
                noises.setdefault(name, Noise()).add(values, got[name])
            first = next(iter(wanted))
            same += int(wanted[first].argmax() == got[first].argmax())
        ratio = float(np.mean([n.ratio for n in noises.values()]))
        return (-10 * float(np.log10(ratio)) if ratio else float("inf")), 100 * same / len(self.evaluation)


def load_task(name: str, data: Path, limit: int | None, on_npu: bool) -> Task:
    sys.path.insert(0, str(data))
    evaluate = importlib.import_module("evaluate")
    model = onnx.load(str(data / "models" / f"{MODELS[name]}.onnx"))
    size = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value

    def feeds(split: str) -> Iterator[dict[str, Array]]:
        images = evaluate.imagenet(split) if name == "imagenet" else evaluate.coco(split, size, name == "yolox")
        mean, scale = {"imagenet": (127, 128), "yolox": (0, 1)}.get(name, (0, 255))
        for image, _ in images:
            pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
            yield {model.graph.input[0].name: np.ascontiguousarray((pixels - np.float32(mean)) / np.float32(scale))}

    return Task(name, model, list(feeds("calib")), list(feeds("eval"))[:limit], evaluate, limit, on_npu)


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
    inference = float_seconds(task)
    print(f"\nTimes are CPU time in multiples of {inference:.2f} s, the float inferences of the calibration images.\n")
    print(task.header().replace("seconds", "times float"))
    for title, chosen in options.items():
        start = time.process_time()
        wanted = QuantizeOptions(**{"method": "MSE_ASYM", **PLAIN, **chosen})
        model = quantize_model(task.model, task.calibration, wanted)
        print(task.row(title, model, (time.process_time() - start) / inference), flush=True)


def float_seconds(task: Task) -> float:
    """CPU time of running the float model on the calibration images."""
    run = runner_for(task.model)
    run(task.calibration[0])
    start = time.process_time()
    for feed in task.calibration:
        run(feed)
    return time.process_time() - start


def collapsed(model: onnx.ModelProto, ratio: float) -> onnx.ModelProto:
    """The same function with uneven channels: what each depthwise Conv reads is scaled, and scaled back in it."""
    graph, random = optimize_graph(model), np.random.default_rng(0)
    for pair in find_pairs(graph):
        channels = graph.constants[pair.first.inputs[1]].shape[0]
        if int(pair.second.get("group", 1)) == channels:
            rescale(graph, pair, np.exp(random.uniform(0, np.log(ratio), channels)))
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
