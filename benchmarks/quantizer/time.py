"""CPU time of whole quantizations, in multiples of the float inferences of the calibration images, as a Markdown table.

    python -m benchmarks.quantizer.time DATA [--zoo DIR] [--method weighted|auto]...

DATA as for benchmarks.quantizer.accuracy. --zoo: skeletons of the zoo, whose networks are filled at random and see the
COCO images: time does not depend on what is recognized. The best of three runs counts for the inferences.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import onnx

from benchmarks.fidelity.rows import float_model
from benchmarks.quantizer.accuracy import float_seconds, load_task
from furc.data.pixels import Pixels
from furc.data.samples import SampleSource, read_samples
from furc.onnx.graph import Array
from furc.quantizer import QuantizeOptions, quantize_model
from furc.quantizer.optimize import optimize_graph
from furc.quantizer.ranges.budget import budget_of

REAL = ("yolox", "coco", "imagenet")
FROM_ZOO = ("yolov8n", "resnet50")
STAGES = ("calibrate", "survey", "equalize", "split", "try methods", "choose ranges", "correct layers")
RUNS = 3

Samples = list[dict[str, Array]]


def networks(data: Path, skeletons: Path | None) -> dict[str, tuple[onnx.ModelProto, Samples]]:
    """Float models with their calibration samples, by name."""
    tasks = {name: load_task(name, data, None, on_npu=False) for name in REAL}
    found = {name: (task.model, task.calibration) for name, task in tasks.items()}
    for name in FROM_ZOO if skeletons is not None else ():
        model = float_model(name, skeletons)
        source = SampleSource(path=data / "coco/calib/images", pixels=Pixels(fit="letterbox"))
        if model is not None:
            found[name] = model, read_samples(model, source)
    return found


def stage_seconds(model: onnx.ModelProto, samples: Samples, method: str) -> dict[str, float]:
    """CPU time by stage, of a whole quantization."""
    spent: dict[str, float] = defaultdict(float)
    stage, since = "optimize", time.process_time()

    def say(what: str, done: int, total: int | None) -> None:
        nonlocal stage, since
        now = time.process_time()
        spent[stage] += now - since
        stage, since = what, now

    quantize_model(model, samples, QuantizeOptions(method=method), say)
    say("done", 0, None)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--method", action="append", choices=["weighted", "auto"])
    chosen = parser.parse_args()
    print(f"| | images | float inferences | method | in multiples | counted | {' | '.join(STAGES)} | rest |")
    print("|---" * (len(STAGES) + 7) + "|")
    for name, (model, samples) in networks(chosen.data, chosen.zoo).items():
        budget = budget_of(optimize_graph(model), 0.0, len(samples))
        for method in chosen.method or ["weighted"]:
            unit = min(float_seconds(model, samples) for _ in range(RUNS))
            spent = stage_seconds(model, samples, method)
            parts, total = [spent[stage] for stage in STAGES], sum(spent.values())
            shown = " | ".join(f"{part / unit:.1f}" for part in (*parts, total - sum(parts)))
            counted = f"{total / unit:.1f} | {budget.default:.1f}"
            print(f"| {name} | {len(samples)} | {unit:.2f} s | {method} | {counted} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
