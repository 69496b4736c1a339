"""What furc quantize says while it works and when it is done."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from furc.quantize_files import advice
from furc.quantizer import CalibrationMethod, QuantizeOptions
from furc.quantizer.noise.warning import LintWarning, grouped

Furc = Callable[..., Result]


def test_every_phase_is_announced(furc: Furc, models: Path) -> None:
    said = furc("quantize", models / "float.onnx", "-o", "q.onnx", "--calibration-data", models / "images.npz").stderr
    phases = ["optimize", "calibrate: 16 steps", "survey", "equalize", "split", "choose ranges: ", "correct layers: ",
              "write", "check the result",
              "Quantized with WEIGHTED on 16 samples"]  # fmt: skip
    positions = [said.find(phase) for phase in phases]
    assert positions == sorted(positions) and min(positions) >= 0, said


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_samples_of_other_floats_are_taken_as_the_guide_says(furc: Furc, models: Path, dtype: type) -> None:
    """NumPy makes float64 where nobody asks; ONNX Runtime refused it when all was done and the result was looked at."""
    with np.load(models / "images.npz") as archive:
        images = archive["images"].astype(np.float16)
    for name, kind in (("exact", np.float32), ("other", dtype)):
        np.savez(f"{name}.npz", images=images.astype(kind))
        words = (models / "float.onnx", "--calibration-data", f"{name}.npz", "--method", "MIN_MAX_ASYM")
        furc("quantize", *words, "-o", f"{name}.onnx")
    assert Path("exact.onnx").read_bytes() == Path("other.onnx").read_bytes()
    furc("calibrate-report", *words)
    furc("advise", *words[:3], "--kind", "uint8_input")


@pytest.mark.parametrize(("budget", "told"), [(0, ("WEIGHTED",)), (1e9, ("WEIGHTED", *CalibrationMethod))])
def test_the_method_that_auto_chose_is_named(furc: Furc, models: Path, budget: float, told: tuple[str, ...]) -> None:
    words = ("--calibration-data", models / "images.npz", "--method", "auto", "--budget", budget)
    said = furc("quantize", models / "float.onnx", "-o", "q.onnx", *words).stderr
    assert any(f"Quantized with {method} on 16 samples" in said for method in told)


def test_findings_of_one_kind_are_one_warning() -> None:
    found = [LintWarning("LowSqnr", f"t{i}", f"'t{i}' keeps only {i} dB", "try --adaround") for i in range(12)]
    found.append(LintWarning("FewSamples", "", "only 2 samples were seen", "take more"))
    texts = grouped(found)
    assert len(texts) == 2 and texts[0].count("hint: ") == 1
    assert texts[0].splitlines()[0] == "warning[LowSqnr]: 't0' keeps only 0 dB"
    assert "9 more, the last of them 't11'" in texts[0]


@pytest.mark.parametrize("more", [[], ["--method", "MSE_ASYM", "--no-split"]])
def test_a_method_that_clips_is_not_told_that_it_clips(furc: Furc, models: Path, more: list[str]) -> None:
    images = np.random.default_rng(0).normal(0, 1, (16, 1, 8, 8)).astype(np.float32)
    images[:, 0, 0, 0] = 50
    np.savez("x.npz", images=images)
    said = furc("quantize", models / "float.onnx", "-o", "q.onnx", "--calibration-data", "x.npz", *more).stderr
    assert "Clipped" not in said


def test_hints_name_only_what_is_off() -> None:
    assert advice(QuantizeOptions()) == "try --adaround"
    worst = QuantizeOptions(method="min_max_sym", split=False, equalize=False, bias_correction=False)
    assert advice(worst) == "try --equalize, --bias-correction, --split, --method weighted, --adaround"
    assert "try" not in advice(QuantizeOptions(adaround=True))


def test_a_result_that_will_not_compile_is_said_at_once(furc: Furc) -> None:
    w = numpy_helper.from_array(np.ones((4, 1, 3, 3), np.float32), "w")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("RandomNormalLike", ["c"], ["y"], name="the_noise"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [w])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "lrn.onnx")
    result = furc("quantize", "lrn.onnx", "-o", "q.onnx", "--random", "1")
    assert "UnsupportedOperator" in result.stderr and "the_noise" in result.stderr
    assert Path("q.onnx").is_file()


@pytest.mark.parametrize("command", ["quantize", "litmus", "compile"])
def test_an_open_shape_is_told_with_the_option_that_fixes_it(furc: Furc, models: Path, command: str) -> None:
    model = onnx.load(models / ("int8.onnx" if command == "compile" else "float.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, "open.onnx")
    more = ["-o", "q.onnx", "--random", "1"] if command == "quantize" else []
    assert "hint: --input-shape images=1x1x" in furc(command, "open.onnx", *more, exits=1).stderr
    furc(command, "open.onnx", *more, "--input-shape", "images=1x1x8x8")


@pytest.mark.parametrize("command", ["quantize", "litmus", "compile"])
def test_an_open_batch_needs_no_option(furc: Furc, models: Path, command: str) -> None:
    model = onnx.load(models / ("int8.onnx" if command == "compile" else "float.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, "open.onnx")
    furc(command, "open.onnx", *(["-o", "q.onnx", "--random", "1"] if command == "quantize" else ["-b", 4]))
    if command == "quantize":
        furc("compile", "q.onnx", "-b", 4)


def test_a_concatenation_with_columns_that_are_not_there_quantizes(furc: Furc) -> None:
    """The columns behind the classes of a detector that has no masks, as exporters write them in front of NMS."""
    w = numpy_helper.from_array(np.ones((8, 1, 3, 3), np.float32), "w")
    cuts = [
        numpy_helper.from_array(np.array([v]), n)
        for n, v in (("four", 4), ("eight", 8), ("end", 99), ("axis", 1), ("zero", 0))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Slice", ["c", "zero", "four", "axis"], ["boxes"]),
        helper.make_node("Slice", ["c", "four", "eight", "axis"], ["scores"]),
        helper.make_node("Slice", ["c", "eight", "end", "axis"], ["masks"], name="masks"),
        helper.make_node("Concat", ["boxes", "scores", "masks"], ["y"], axis=1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x], [y], [w, *cuts])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "nms.onnx")
    furc("quantize", "nms.onnx", "-o", "q.onnx", "--random", "1")
    furc("compile", "q.onnx")


def test_the_dump_of_a_failed_litmus_says_why(furc: Furc, models: Path) -> None:
    model = onnx.load(models / "int8.onnx")
    model.graph.node[-2].op_type = "Det"
    onnx.save(model, "det.onnx")
    said = furc("litmus", "det.onnx", "--skip-quantization", "--dump", "d", exits=1).stderr
    assert "The output has been saved to d.zip" in said
    with zipfile.ZipFile("d.zip") as archive:
        assert archive.namelist() == ["error.txt", "meta.yaml"]
        assert archive.read("error.txt").decode().splitlines()[0] in said
