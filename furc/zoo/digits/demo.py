"""`make demo`: quantize, compile, run and profile the digits network; INT8 accuracy is that of the modelled NPU. Then
networks whose latency on a card is published, modelled beside that."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from shutil import which

import numpy as np
import onnx
from numpy.typing import NDArray

from furc.compiler import compile
from furc.profiling.profile import Profile, profile
from furc.quantizer import CalibrationMethod, QuantizeOptions, quantize_model, runner_for
from furc.report.tables import Column, Table, plain
from furc.runtime.session import Session
from furc.zoo import build, digits
from furc.zoo.int8 import in_int8
from furc.zoo.published import Row, published
from isa import enf as enf_file
from isa.npu import TARGETS

OUT = Path("demo-out")
BATCH = 8
BESIDE_A_CARD = ("resnet50", "yolov5s", "yolov8n")


def main() -> None:
    """Print accuracies and latencies, and leave the files in demo-out/."""
    OUT.mkdir(exist_ok=True)
    images, labels = digits.test_images(), digits.test_labels()
    model = digits.model()
    correct = float_accuracy(model, images, labels)
    print(f"digits: {len(labels)} test images of 8 x 8, float accuracy {correct:.2%} (ONNX Runtime)\n")
    print("INT8 accuracy on the simulated NPU (warboy-2pe), by calibration method:")
    default = QuantizeOptions().method
    for method in (default, *CalibrationMethod):
        quantized = quantize(model, method)
        accuracy, seconds = npu_accuracy(quantized, images, labels)
        print(f"  {method:16} {accuracy:7.2%}   {len(labels) / seconds:6.0f} images/s simulated")
    path = OUT / "digits_int8.onnx"
    onnx.save(quantize(model, default), path)
    print(f"\nModelled latency of one image ({default}, {path}):")
    for target in TARGETS:
        file = OUT / f"digits.{target}.enf"
        enf_file.save(compile(path, target_npu=target), file)
        show(profile(file), file)
    print("\nNetworks with weights of noise, modelled beside what is published of a card. The machine's constants were")
    print("fitted to such rows; furc/zoo/published.csv has them all, docs/timing.md the errors at rows left out:")
    print(plain(beside_a_card()), end="")
    print(f"\nGo on: {typed()} profile demo-out/digits.warboy-2pe.enf --format html -o demo-out/profile.html")


def typed() -> str:
    """furc as it can be typed: `make demo` runs without the environment being activated."""
    return "furc" if which("furc") else os.path.relpath(Path(sys.executable).parent / "furc")


def quantize(model: onnx.ModelProto, method: str) -> onnx.ModelProto:
    """The digits model in INT8, calibrated on training images that come with it."""
    feeds = [{"images": image[None]} for image in digits.calibration_images()]
    return quantize_model(model, feeds, QuantizeOptions(method=method))


def float_accuracy(model: onnx.ModelProto, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images that ONNX Runtime classifies right with the float model."""
    run = runner_for(model)
    logits = np.concatenate([next(iter(run({"images": image[None]}).values())) for image in images])
    return float(np.mean(logits.argmax(axis=1) == labels))


def npu_accuracy(model: onnx.ModelProto, images: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Share of images that the compiled binary classifies right on the interpreter, and the seconds that took."""
    session = Session(compile(model, batch_size=BATCH))
    begin, right = time.perf_counter(), 0
    for at in range(0, len(images), BATCH):
        [logits] = session.run({"images": images[at : at + BATCH]}).values()
        right += int(np.sum(logits.argmax(axis=1) == labels[at : at + BATCH]))
    return right / len(labels), time.perf_counter() - begin


def show(result: Profile, file: Path) -> None:
    """Latency and the operators that take most of it."""
    print(
        f"  {result.target:11} {result.latency_ms * 1e3:7.1f} us: NPU {result.npu_ms * 1e3:.1f}, "
        f"host {result.host_ms * 1e3:.1f}; {result.instruction_bytes} B of instructions; {file}"
    )
    for operator in sorted(result.operators, key=lambda o: -o.cycles)[:4]:
        if operator.cycles:
            share = operator.cycles / sum(o.cycles for o in result.operators)
            nodes = ", ".join(operator.onnx_nodes)
            print(f"      {share:5.1%}  {operator.name:24} bound by {operator.bound_by:9} {nodes}")


def beside_a_card() -> Table:
    """Published latencies and modelled ones, NPU time or from end to end as the row has it."""
    models = {name: in_int8(build(name)) for name in BESIDE_A_CARD}
    rows = [(row, modelled_ms(models[row.model], row)) for row in published() if row.model in models]
    return Table(
        columns=(
            Column("network"), Column("target"), Column("published ms", right=True), Column("modelled ms", right=True),
            Column("off by", right=True), Column("published by"),
        ),
        rows=tuple(
            (row.model, row.target, f"{row.ms:.3f}", f"{ms:.3f}", f"{ms / row.ms - 1:+.1%}", row.source)
            for row, ms in rows
        ),
    )  # fmt: skip


def modelled_ms(model: onnx.ModelProto, row: Row) -> float:
    """Of a network of the row, compiled as its publisher does."""
    config = {"use_program_loading": row.program_loading}
    return profile(compile(model, target_npu=row.target, compiler_config=config)).npu_ms + row.host_ms


if __name__ == "__main__":
    main()
