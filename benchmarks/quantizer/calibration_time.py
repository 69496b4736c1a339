"""Time and memory of calibration beside plain float inference.

    python -m benchmarks.quantizer.calibration_time [MODEL] [--images 100] [--method NAME]...

MODEL is a name of furc's zoo (yolov5n by default), on random pixels: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np

from furc import zoo
from furc.onnx.graph import Array
from furc.quantizer import CalibrationMethod, Calibrator, runner_for

DISTINCT = 10  # images kept; they are fed again and again


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yolov5n")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--method", action="append", choices=[*CalibrationMethod])
    chosen = parser.parse_args()
    model = zoo.build(chosen.model)
    shape = zoo.describe(chosen.model).input_shape
    random = np.random.default_rng(0)
    pixels = [random.random(shape, np.float32) for _ in range(DISTINCT)]

    def stream() -> Iterator[dict[str, Array]]:
        for index in range(chosen.images):
            yield {"images": pixels[index % DISTINCT]}

    run = runner_for(model)
    run({"images": pixels[0]})
    start = time.perf_counter()
    for feed in stream():
        run(feed)
    plain = time.perf_counter() - start
    print(f"{chosen.model}, {chosen.images} images: float inference {plain:.1f} s")
    print("| method | seconds | times float | peak MiB |\n|---|---|---|---|")
    for method in chosen.method or CalibrationMethod:
        start = time.perf_counter()
        calibrator = Calibrator(model, method)
        calibrator.collect_data(stream())
        calibrator.compute_range()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"| {method} | {seconds:.1f} | {seconds / plain:.2f} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
