"""furc beside Arm's Vela, which compiles int8 TFLite for Ethos-U: `python -m benchmarks.vela DIR --vela PATH`.

Both compile the same file, and furc its ONNX form too, as commands, in turns, for --rounds rounds. Models are quantized
as `python -m benchmarks.fidelity` does it, and go to DIR with what is made of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import onnx

from benchmarks.fidelity.rows import quantized
from benchmarks.vela.from_qdq import tflite_of, with_logistic_grids
from isa.errors import FurcError

MODELS = ("mobilenet_v1", "ssd_mobilenet_v1", "resnet50", "yolov8n", "yolov8l")
FURC = (sys.executable, "-m", "furc", "compile")
# In a small process of its own: Linux counts what a parent had in memory as the peak of what it starts.
MEASURE = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stdout, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


class Run(NamedTuple):
    """peak_mib: the most that one process had in memory."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vela", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where models and binaries go")
    parser.add_argument("--vela", default="vela", help="the executable (PATH's by default)")
    parser.add_argument("--accelerator-config", default="ethos-u65-512", help="of Vela")
    parser.add_argument("--zoo", type=Path, help="skeletons of models that furc's zoo does not have")
    parser.add_argument("--model", action="append", help=f"({', '.join(MODELS)} by default)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    vela = shutil.which(options.vela)
    if vela is None:
        parser.error(f"there is no executable '{options.vela}': pip install ethos-u-vela, or --vela PATH")
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| model | command | s, best | median | CPU s, best | median | peak MiB |\n|---|---|---|---|---|---|---|")
    for name in options.model or MODELS:
        file, form = written(name, options.zoo, options.folder)
        out = [str(options.folder / f"{name}.{end}") for end in ("vela", "tflite.enf", "onnx.enf")]
        more = ("--target-npu", "warboy-2pe", "--no-cache", "-o")
        commands = {
            f"vela, {file.name}": (vela, str(file), "--accelerator-config", options.accelerator_config,
                                   "--output-dir", out[0]),
            f"furc, {file.name}": (*FURC, str(file), *more, out[1]),
            f"furc, {form.name}": (*FURC, str(form), *more, out[2]),
        }  # fmt: skip
        runs: dict[str, list[Run]] = {label: [] for label in commands}
        for _ in range(options.rounds):
            for label, command in commands.items():
                runs[label].append(measured(command))
        for label, of_one in runs.items():
            print(f"| {name} | {label} | {row(of_one)} |", flush=True)


def written(name: str, zoo: Path | None, folder: Path) -> tuple[Path, Path]:
    """The TFLite file and the ONNX file of a model, of the same integers."""
    model = quantized(name, zoo)
    if model is None:
        raise SystemExit(f"neither furc's zoo nor --zoo has '{name}'")
    model = with_logistic_grids(model)
    file, form = folder / f"{name}.tflite", folder / f"{name}.onnx"
    try:
        file.write_bytes(tflite_of(model))
    except FurcError as error:
        raise SystemExit(f"{name}: {error}") from error
    onnx.save(model, form)
    return file, form


def measured(command: tuple[str, ...]) -> Run:
    """Ends the benchmark where the command fails, or Vela leaves operators to a CPU."""
    done = subprocess.run([sys.executable, "-c", MEASURE, *command], stdout=subprocess.PIPE, check=True, text=True)
    code, output, *run = json.loads(done.stdout)
    if code:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    left = [line for line in output.splitlines() if line.startswith("CPU operators") and "= 0 " not in line]
    if left:
        raise SystemExit(f"{' '.join(command)}: {left[0]}, which it does not compile")
    return Run(*run)


def row(runs: list[Run]) -> str:
    seconds, cpu, peak = zip(*runs, strict=True)
    times = (f"{min(column):.2f} | {statistics.median(column):.2f}" for column in (seconds, cpu))
    return f"{' | '.join(times)} | {max(peak):.0f}"


if __name__ == "__main__":
    main()
