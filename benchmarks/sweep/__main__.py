"""A large sweep, killed and resumed: `python -m benchmarks.sweep DIR [--zoo]`.

10 models on 2 targets at 3 batches with 20 constants. `furc sweep --jobs N` is killed in the middle and begun again;
with --cluster and --alone the tables of a Dask cluster of 2 local workers and of one process are compared with its.
Models are chains of 2 to 11 small convolutions, so that what is timed is the sweep; with --zoo networks of the
zoo, so that it is the compiler.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx

from furc import zoo
from furc.onnx.builder import GraphBuilder
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_model
from furc.zoo.weights import he_normal

# Sides of images: smaller than usual for the detectors, whose points would be most of the time.
SIDES = {
    "resnet50": 224, "mobilenet_v2": 224, "ssd_mobilenet_v1": 300, "yolov5n": 320, "yolov5s": 320, "yolov5m": 224,
    "yolov8n": 320, "yolov8s": 320, "yolov8m": 224, "fcn_resnet50": 224,
}  # fmt: skip
TARGETS, BATCHES = ("warboy", "warboy-2pe"), (1, 2, 4)
CHAINS = {f"chain{length}": length for length in range(2, 12)}  # convolutions
FULL_RATE = 66_000_000_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("folder", type=Path, help="where models and results go")
    parser.add_argument("--zoo", action="store_true", help="networks of the zoo, not small chains")
    parser.add_argument("--constants", type=int, default=20, help="values of dram_bytes_per_second")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kill-after", type=float, default=60.0, help="seconds until the first sweep is killed")
    parser.add_argument("--cluster", action="store_true", help="also on a Dask cluster of 2 local workers")
    parser.add_argument("--alone", action="store_true", help="also in one process")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    models = [quantized(name, options.folder) for name in (SIDES if options.zoo else CHAINS)]
    points = len(models) * len(TARGETS) * len(BATCHES) * options.constants
    words = command(models, options.constants)
    print(f"{points} points", flush=True)
    out = options.folder / "processes"
    started = time.perf_counter()
    killed = start([*words, "--jobs", str(options.jobs), "-o", str(out)])
    try:
        killed.wait(options.kill_after)
    except subprocess.TimeoutExpired:
        killed.kill()
        killed.wait()
    done = measured(out)
    print(f"killed after {time.perf_counter() - started:.0f} s and {done} points", flush=True)
    timed([*words, "--jobs", str(options.jobs), "-o", str(out)], out, done, f"{options.jobs} processes, resumed")
    wanted = tables(out)
    timed([*words, "-o", str(out)], out, points, "again, all there")
    if options.cluster:
        from distributed import LocalCluster  # here: only where it is asked for

        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
            there = options.folder / "cluster"
            address = ["--scheduler", cluster.scheduler_address]
            timed([*words, *address, "-o", str(there)], there, measured(there), "a Dask cluster of 2 workers")
            print("the same table" if tables(there) == wanted else "ANOTHER TABLE", flush=True)
    if options.alone:
        there = options.folder / "alone"
        timed([*words, "--jobs", "1", "-o", str(there)], there, measured(there), "one process")
        print("the same table" if tables(there) == wanted else "ANOTHER TABLE", flush=True)


def quantized(name: str, folder: Path) -> Path:
    """A network in INT8, from ranges of noise: a sweep looks at time alone."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        model = zoo.build(name, input_size=SIDES[name]) if name in SIDES else chain(name, CHAINS[name])
        [entry] = model.graph.input
        shape = [dimension.dim_value for dimension in entry.type.tensor_type.shape.dim]
        noise = np.random.default_rng(0).random(shape, np.float32)
        options = QuantizeOptions(method=CalibrationMethod.MIN_MAX_ASYM, split=False)
        onnx.save(quantize_model(model, [{entry.name: noise}], options), path)
    return path


def chain(name: str, length: int) -> onnx.ModelProto:
    graph = GraphBuilder(name)
    x = graph.input("images", (1, 16, 32, 32))
    for index in range(length):
        x = graph.relu(graph.conv(x, f"conv{index}", 32, 3), f"relu{index}")
    return graph.model((x,), he_normal(length))


def command(models: list[Path], constants: int) -> list[str]:
    rates = ",".join(str(FULL_RATE * 2 * (index + 1) // constants) for index in range(constants))
    words = [sys.executable, "-m", "furc", "sweep", *map(str, models), "--vary", f"dram_bytes_per_second={rates}"]
    for target in TARGETS:
        words += ["--target-npu", target]
    for batch in BATCHES:
        words += ["--batch", str(batch)]
    return words


def start(words: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(words, stdout=subprocess.DEVNULL)


def timed(words: list[str], folder: Path, before: int, what: str) -> None:
    """CPU seconds are of `furc sweep` and its processes, on a machine that others may use too."""
    started, used = time.perf_counter(), cpu_seconds()
    if start(words).wait():
        raise SystemExit(f"{what}: failed")
    seconds, points, cpu = time.perf_counter() - started, measured(folder) - before, cpu_seconds() - used
    print(
        f"{what}: {points} points in {seconds:.1f} s, {points / seconds:.2f} a second, {cpu:.0f} s of CPU", flush=True
    )


def cpu_seconds() -> float:
    """Of all processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(folder: Path) -> int:
    """Lines of the journal but for its heading."""
    journal = folder / "journal.jsonl"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def tables(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / f"sweep.{form}").read_bytes()).hexdigest() for form in ("csv", "parquet", "html")]


if __name__ == "__main__":
    main()
