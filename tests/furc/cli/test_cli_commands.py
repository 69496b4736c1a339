"""Every other command does what its help says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnx
import pytest
from click.testing import Result
from PIL import Image
from qdq_models import Qdq

import furc as library
from furc.bench import bench
from furc.cli import progress
from furc.cli.commands import calibrate_report, quantize
from furc.cli.main import COMMANDS
from furc.data.arrays import npz_bytes
from furc.zoo import digits
from isa.errors import ConfigError

Furc = Callable[..., Result]


class TestHelp:
    def test_every_command_and_every_option_is_documented(self, furc: Furc) -> None:
        assert "Commands:" in furc("--help").stdout
        for name in COMMANDS:
            command = import_module(COMMANDS[name].module).command
            assert command.help and command.short_help, name
            for option in command.params:
                assert not isinstance(option, click.Option) or option.help, f"{name} {option.name}"
            assert furc(name, "--help").stdout.startswith(f"Usage: furc {name} ")

    def test_version(self, furc: Furc) -> None:
        assert furc("--version").stdout == f"furc {library.__version__}\n"

    def test_help_does_not_wait_for_heavy_modules(self) -> None:
        code = "import sys, furc.cli.main; print([m for m in ('onnx', 'onnxruntime', 'numpy', 'rich', 'plotly') if m in sys.modules])"  # fmt: skip # noqa: E501
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.strip() == "[]"


class TestQuantize:
    def test_the_result_compiles_and_keeps_its_accuracy(self, models: Path) -> None:
        session = library.Session(library.compile(models / "int8.onnx"))
        name = session.outputs[0].name
        found = [int(session.run({"images": image[None]})[name].argmax()) for image in digits.test_images()[:100]]
        assert np.mean(np.array(found) == digits.test_labels()[:100]) > 0.9

    def test_images_in_a_directory(self, furc: Furc, models: Path) -> None:
        Path("images").mkdir()
        for index, image in enumerate(digits.calibration_images()[:3]):
            Image.fromarray((image[0] * 255).astype(np.uint8)).resize((32, 32)).save(f"images/{index}.png")
        result = furc("quantize", models / "float.onnx", "-o", "q.onnx", "--calibration-data", "images")
        assert "warning[FewSamples]" in result.stderr and "on 3 samples" in result.stderr
        assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in onnx.load("q.onnx").graph.node}

    def test_strict_refuses_what_it_warns_about(self, furc: Furc, models: Path) -> None:
        words = ("quantize", models / "float.onnx", "-o", "q.onnx", "--calibration-data", models / "images.npz")
        result = furc(*words, "--samples", 2, "--strict", exits=1)
        assert "error[SuspectData]: --strict, and 1 warning: nothing" in result.stderr and not Path("q.onnx").exists()
        furc(*words, "--strict")

    def test_the_calibrated_form_is_a_float_model_with_ranges(self, furc: Furc, models: Path) -> None:
        furc("quantize", models / "float.onnx", "-o", "c.onnx", "--random", 4, "--format", "calibrated")
        model = onnx.load("c.onnx")
        assert "QuantizeLinear" not in {node.op_type for node in model.graph.node}
        assert "FurisoaAI.CalibrationResult" in {entry.key for entry in model.metadata_props}

    def test_the_calibrated_form_takes_bytes_where_it_is_asked_to(self, furc: Furc, models: Path) -> None:
        words = ("-o", "c.onnx", "--random", 4, "--format", "calibrated", "--input-type", "uint8")
        furc("quantize", models / "float.onnx", *words)
        furc("compile", "c.onnx", "-o", "c.enf")
        assert "uint8" in furc("info", "c.enf").stdout

    def test_one_sample_is_no_other(self, furc: Furc, models: Path) -> None:
        words = ("calibrate-report", models / "float.onnx", "--method", "weighted", "--random")
        assert furc(*words, 1).stdout.startswith("Calibrated on 1 sample, judged on the same: the simulated NPU ")
        assert furc(*words, 2).stdout.startswith("Calibrated on 1 sample, judged on 1 other: the simulated NPU ")

    @pytest.mark.parametrize(
        ("option", "error"),
        [
            (["--calibration-data", "missing"], "NoImages"),
            (["--random", "2", "--percentage", "0"], "BadPercentage"),
            (["--random", "2", "-o", "missing/x.onnx"], "OutputUnwritable"),
        ],
    )
    def test_bad_input(self, furc: Furc, models: Path, option: list[str], error: str) -> None:
        result = furc("quantize", models / "float.onnx", "-o", "q.onnx", *option, exits=1)
        assert result.stderr.splitlines()[0].startswith(f"error[{error}]") and not Path("q.onnx").exists()

    def test_a_quantized_model_is_refused(self, furc: Furc, models: Path) -> None:
        assert "error[AlreadyQuantized]" in furc("quantize", models / "int8.onnx", "-o", "q.onnx", "--random", 2, exits=1).stderr  # fmt: skip # noqa: E501

    def test_the_methods_that_are_compared_include_the_one_that_quantize_takes(self, furc: Furc, models: Path) -> None:
        words = ("calibrate-report", models / "float.onnx", "--calibration-data", models / "images.npz")
        assert "\nweighted " in furc(*words, "--method", "weighted").stdout
        [default] = [o for o in quantize.command.params if o.name == "method"]
        assert default.default in calibrate_report.COMPARED

    def test_methods_side_by_side(self, furc: Furc, models: Path) -> None:
        words = ("calibrate-report", models / "float.onnx", "--calibration-data", models / "images.npz")
        result = furc(*words, "--method", "MIN_MAX_SYM", "--method", "MSE_ASYM", "-o", "r.html")
        assert "MIN_MAX_SYM" in result.stdout and "MSE_ASYM" in result.stdout
        assert "<html" in Path("r.html").read_text()[:200]


class TestRun:
    def test_data_in_and_out(self, furc: Furc, models: Path) -> None:
        image = digits.test_images()[:1]
        np.savez("in.npz", images=image)
        result = furc("run", models / "model.enf", "--input", "images=in.npz", "--output", "out.npz")
        session = library.Session(models / "model.enf")
        [(name, wanted)] = session.run({"images": image}).items()
        with np.load("out.npz") as archive:
            assert np.array_equal(archive[name], wanted)
        for word in ("latency", "NPU cycles", "LowLevelConv2d", "Dequantize", name):
            assert word in result.stdout

    def test_outputs_without_elements(self, furc: Furc) -> None:
        """As of a detector that finds nothing in noise, which is what `furc run` takes without data."""
        m = Qdq()
        x = m.quantized(m.node("Mul", m.float_input(1, 4, 4, 4), m.const(0.5, np.float32)))
        places = m.output(m.node("NonZero", m.node("Greater", x, m.const(1e9, np.float32))))
        model = m.model()
        next(o for o in model.graph.output if o.name == places).type.tensor_type.elem_type = onnx.TensorProto.INT64
        model.graph.output.sort(key=lambda o: o.name != places)
        onnx.save(model, "m.onnx")
        furc("compile", "m.onnx", "-o", "m.enf")
        assert re.search(rf"^{places} +int64 +4x0$", furc("run", "m.enf").stdout, re.MULTILINE)
        Path("data.npz").write_bytes(npz_bytes({name: values.repeat(3, 0) for name, values in m.feeds().items()}))
        assert "120.0" in furc("eval", "m.enf", "--float", "m.onnx", "--data", "data.npz", "--task", "none").stdout

    def test_the_same_seed_gives_the_same_result(self, furc: Furc, models: Path) -> None:
        furc("run", models / "model.enf", "-o", "a.npz")
        furc("run", models / "model.enf", "-o", "b.npz", "--reference")
        furc("run", models / "model.enf", "-o", "c.npz", "--seed", 1)
        assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes() != Path("c.npz").read_bytes()

    @pytest.mark.parametrize(
        ("model", "scale"), [("int8.onnx", np.array(1 / 255, np.float32)), ("uint8.onnx", np.array(1, np.uint8))]
    )
    def test_an_image_is_resized(
        self, furc: Furc, models: Path, model: str, scale: np.ndarray[tuple[()], np.dtype[Any]]
    ) -> None:
        pixels = (np.arange(64, dtype=np.uint8) * 4).reshape(8, 8)
        Image.fromarray(pixels.repeat(2, 0).repeat(2, 1)).save("x.png")
        furc("compile", models / model, "-o", "x.enf", "-b", 2)
        furc("run", "x.enf", "--input", "images=x.png", "-o", "out.npz")
        fed = np.repeat((pixels * scale)[None, None], 2, axis=0)
        [(name, wanted)] = library.Session("x.enf").run({"images": fed}).items()
        with np.load("out.npz") as archive:
            assert np.array_equal(archive[name], wanted)

    def test_a_trace(self, furc: Furc, models: Path) -> None:
        furc("run", models / "model.enf", "--trace", "t.json")
        assert Path("t.json").read_text() == furc("profile", models / "model.enf", "--format", "trace").stdout


class TestProfile:
    def test_json_has_the_promised_keys(self, furc: Furc, models: Path) -> None:
        found = json.loads(furc("profile", models / "model.enf", "--format", "json").stdout)
        keys = ("cycles", "latency_ms", "npu_ms", "host_ms", "dram_bytes", "macs", "mac_utilization",
                "instruction_bytes", "program_loads", "sram_peak_bytes", "batch")  # fmt: skip
        assert all(isinstance(found[key], int | float) for key in keys)
        assert found["target"] == "warboy-2pe"

    def test_a_model_is_compiled_first(self, furc: Furc, models: Path) -> None:
        of_model = furc("profile", models / "int8.onnx", "--format", "json", "--target-npu", "warboy").stdout
        furc("compile", models / "int8.onnx", "--target-npu", "warboy", "-o", "x.enf", "--no-cache")
        assert of_model == furc("profile", "x.enf", "--format", "json").stdout

    @pytest.mark.parametrize("form", ["table", "json", "html", "trace"])
    def test_to_a_file_as_to_stdout(self, furc: Furc, models: Path, form: str) -> None:
        furc("profile", models / "model.enf", "--format", form, "-o", "out")
        assert Path("out").read_text() == furc("profile", models / "model.enf", "--format", form).stdout

    def test_the_table_is_sorted_and_cut(self, furc: Furc, models: Path) -> None:
        lines = furc("profile", models / "model.enf", "--top", 3).stdout.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("operator "))
        assert lines[at + 4].startswith("10 not shown") and lines[at + 5].startswith("13 operators")


class TestPrograms:
    def test_disassembled_text_assembles_to_the_same_program(self, furc: Furc, models: Path) -> None:
        text = furc("disasm", models / "model.enf").stdout
        assert "LowLevelConv2d #0  1x16x8x8  /conv1/Conv" in text
        Path("a.s").write_text(text)
        furc("asm", "a.s", "-o", "a.bin")
        enf = library.load(models / "model.enf")
        [segment] = enf.segments
        assert Path("a.bin").read_bytes() == enf.image[segment.address : segment.address + segment.bytes]
        again = furc("disasm", "a.bin").stdout
        assert furc("asm", "-", "--check", stdin=again).stderr == furc("asm", "a.s", "--check").stderr

    def test_an_assembly_error_has_its_line(self, furc: Furc) -> None:
        Path("a.s").write_text("end\nlaod x=3\n")
        assert "a.s:2:1" in furc("asm", "a.s", "--check", exits=1).stderr.splitlines()[0]

    def test_a_program_that_is_none(self, furc: Furc) -> None:
        Path("a.bin").write_bytes(b"\xff" * 10)
        assert furc("disasm", "a.bin", exits=1).stderr.startswith("error[BadInstruction]")


class TestOpt:
    def test_passes_run_in_order(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--target-ir", "dfg", "-o", "a.dfg")
        text = furc("opt", "a.dfg", "-p", "set-batch,fuse-tables", "-p", "to-lowlevel", "-b", 2, "--verify").stdout
        assert text.startswith('ldfg "digits" batch=2 {')
        assert furc("opt", "a.dfg").stdout == Path("a.dfg").read_text()
        furc("opt", "a.dfg", "-p", "to-lowlevel", "-o", "b.ldfg")
        assert Path("b.ldfg.npz").is_file() and not Path("b.npz").exists()
        furc("opt", "b.ldfg", "-p", "split-operators", "-p", "assign-layouts")

    def test_stdin(self, furc: Furc) -> None:
        text = 'dfg "x" batch=1 {\n  in %a : i8[1,4] q(0.5,0)\n  out %a\n}\n'
        assert furc("opt", "-", stdin=text).stdout == text


class TestCompare:
    def test_an_open_shape_is_given(self, furc: Furc, models: Path) -> None:
        model = onnx.load(models / "int8.onnx")
        model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
        onnx.save(model, "open.onnx")
        words = ("compare", "open.onnx", "--input-shape", "images=1,1,8,8", "--all")
        assert "elements differ, by at most 0 LSB" in furc(*words).stdout
        assert furc(*words[:2], exits=1).stderr.startswith("error[DynamicShape]")

    def test_a_float_model_with_ranges(self, furc: Furc, models: Path) -> None:
        furc("quantize", models / "float.onnx", "-o", "c.onnx", "--random", 4, "--format", "calibrated")
        told = furc("compare", "c.onnx").stdout
        assert re.search(r"^(\d+) of \1 tensors equal ONNX Runtime", told, re.MULTILINE) and " 0 tensors" not in told


class TestDiff:
    def test_a_binary_and_a_profile_of_another(self, furc: Furc, models: Path) -> None:
        furc("profile", models / "int8.onnx", "-b", 2, "--format", "json", "-o", "b.json")
        told = furc("diff", models / "model.enf", "b.json", "--top", 3).stdout
        assert "digits on warboy-2pe, batch 1 -> digits on warboy-2pe, batch 2, modelled" in told
        assert "not shown" in told and "the run" in told and "/Conv" in told
        found = json.loads(furc("diff", models / "model.enf", "b.json", "--format", "json").stdout)
        before, after, change = found["totals"]["cycles"]
        assert sum(layer["run_cycles"][2] for layer in found["layers"]) == pytest.approx(change) == after - before

    def test_models_are_compiled_with_the_options(self, furc: Furc, models: Path) -> None:
        told = furc("diff", models / "model.enf", models / "int8.onnx", "--target-npu", "warboy").stdout
        assert "digits on warboy-2pe, batch 1 -> digits on warboy, batch 1" in told

    def test_options_of_a_compile_need_a_model(self, furc: Furc, models: Path) -> None:
        furc("profile", models / "model.enf", "--format", "json", "-o", "a.json")
        said = furc("diff", models / "model.enf", "a.json", "-b", 2, exits=2).stderr
        assert "--batch is for models: both files are compiled already" in said

    def test_a_profile_without_what_is_needed(self, furc: Furc, models: Path) -> None:
        found = json.loads(furc("profile", models / "model.enf", "--format", "json").stdout)
        del found["operators"][0]["run_cycles"]
        Path("old.json").write_text(json.dumps(found))
        said = furc("diff", "old.json", models / "model.enf", exits=1).stderr
        assert said.startswith("error[NotAProfile]: old.json: operators[0]: 'run_cycles' is missing\n  hint: ")

    def test_to_a_file_as_to_stdout(self, furc: Furc, models: Path) -> None:
        for form in ("table", "json", "html"):
            words = ("diff", models / "model.enf", models / "model.enf", "--format", form)
            furc(*words, "-o", "out", "--force")
            assert Path("out").read_text() == furc(*words).stdout


def test_bench(furc: Furc, models: Path) -> None:
    result = furc("bench", models / "model.enf", "-n", 2, "--workload", "T", "-o", "b.json")
    found = json.loads(Path("b.json").read_text())
    assert found["queries_per_second"] > 0 and found["simulator"]["queries"] == 2
    assert "throughput-workload" in result.stdout


@pytest.mark.parametrize("wrong", [{"workload": "latency"}, {"queries": 0}, {"queries": 2.5}, {"queries": "3"}])
def test_a_benchmark_of_nothing_is_refused(models: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="BadOption"):
        bench(models / "model.enf", **wrong)


class TestSweep:
    def test_tables_and_what_was_measured_before(self, furc: Furc, models: Path) -> None:
        words = ("sweep", models / "int8.onnx", "-b", 1, "-b", 2, "--vary", "num_slices=2,64", "-o", "a/out", "-j", 1)
        result = furc(*words)
        title, headings, first = result.stdout.splitlines()[:3]
        assert (title, first[:5]) == ("4 points", "int8 ")
        assert headings == "model  target      batch  num_slices  latency, ms  NPU, ms  images/s"
        assert "4 points: 4 ok\n" in result.stderr
        assert sorted(path.name for path in Path("a/out").iterdir()) == [
            "journal.jsonl", "sweep.csv", "sweep.html", "sweep.parquet",
        ]  # fmt: skip
        before = Path("a/out/sweep.csv").read_bytes()
        assert "4 points: 4 ok; 4 of them were measured before" in furc(*words).stderr
        assert Path("a/out/sweep.csv").read_bytes() == before

    def test_a_grid_that_is_written_down(self, furc: Furc, models: Path) -> None:
        Path("s.yaml").write_text(f"models: {models / 'int8.onnx'}\nbatch: [1, 2, 3]\nvary: {{num_slices: [2, 64]}}\n")
        told = furc("sweep", "--grid", "s.yaml", "-o", "out", "-b", 4, "-j", 1).stdout
        assert told.startswith("2 points\n") and " 4 " in told

    def test_names_are_harmless(self, furc: Furc, models: Path) -> None:
        name = "e\x1b[31m\r.onnx"
        Path(name).write_bytes(b"nothing")
        result = furc("sweep", name, "-o", "out", "-j", 1, exits=1)  # no point compiles
        assert "NotOnnx" in result.stdout
        shown = result.stdout + result.stderr + Path("out/sweep.csv").read_text()
        assert not [c for c in shown if not c.isprintable() and c not in "\n\t"]

    @pytest.mark.parametrize(
        ("words", "error"),
        [
            (["--vary", "num_slice=2"], "UnknownVary"),
            (["--vary", "num_slices=two"], "BadNpuConstant"),
            (["-c", "x=1"], "UnknownConfigKey"),
            (["-b", "1000"], "BadBatch"),
            (["missing.onnx"], "ModelNotFound"),
            (["--npu-config", "missing.toml"], "NpuConfigUnreadable"),
            (["--scheduler", "tcp://127.0.0.1:1"], "NoScheduler"),
        ],
    )
    def test_bad_input(self, furc: Furc, models: Path, words: list[str], error: str) -> None:
        said = furc("sweep", models / "int8.onnx", *words, "-o", "out", exits=1).stderr
        assert f"error[{error}]" in said and "\n  hint: " in said
        assert error == "NoScheduler" or not Path("out").exists()

    def test_usage(self, furc: Furc, models: Path) -> None:
        assert "Missing argument 'MODEL'" in furc("sweep", "-o", "out", exits=2).stderr
        said = furc("sweep", models / "int8.onnx", "-o", "out", "-j", 2, "--scheduler", "x", exits=2).stderr
        assert "give one of them" in said


def test_litmus(furc: Furc, models: Path) -> None:
    result = furc("litmus", models / "float.onnx", "--dump", "d")
    assert [line[:15] for line in result.stdout.splitlines()[:4]] == [f"[Step {n}] Passed" for n in (1, 2, 3, 4)]
    with zipfile.ZipFile("d.zip") as archive:
        assert {"meta.yaml", "compiler/model.dot", "compiler/memory-analysis.html", "runtime/trace.json"} <= set(
            archive.namelist()
        )
    assert "[Step 4] Passed" in furc("litmus", models / "int8.onnx", "--skip-quantization").stdout
    failed = furc("litmus", models / "int8.onnx", exits=1)
    assert failed.stderr.startswith("[Step 2] Failed: quantize\nerror[AlreadyQuantized]")
    assert "hint: give --skip-quantization" in failed.stderr


def test_info(furc: Furc, models: Path) -> None:
    assert "warboy-2pe" in furc("info").stdout
    found = json.loads(furc("info", models / "model.enf", "--format", "json").stdout)
    assert found["inputs"] == ["images float32[1, 1, 8, 8]"] and found["operators"] == 13
    constants = json.loads(furc("info", "--npu", "--target-npu", "warboy", "--format", "json").stdout)
    assert constants["num_slices"] == [64, "cfg: num_slices"]


def test_operator_sets_are_called_as_in_the_compiler_config(furc: Furc) -> None:
    few = json.loads(furc("info", "--operators", "--operator-set", "seed28", "--format", "json").stdout)
    more = json.loads(furc("info", "--operators", "--operator-set", "sdk0.10", "--format", "json").stdout)
    assert "Tanh" in more and "Tanh" not in few
    assert "[seed28|sdk0.10]" in furc("info", "--help").stdout


def test_zoo(furc: Furc) -> None:
    assert "yolov8l" in furc("zoo").stdout
    furc("zoo", "mobilenet_v2", "-o", "m.onnx", "--input-size", 32)
    assert onnx.load("m.onnx").graph.input[0].type.tensor_type.shape.dim[2].dim_value == 32
    furc("zoo", "mobilenet_v2", "--input-size", 32, "--int8")
    assert "ms" in furc("profile", "mobilenet_v2_i8.onnx").stdout
    assert furc("zoo", "--int8", exits=2).stderr
    assert furc("zoo", "resnet5", exits=1).stderr.startswith("error[UnknownModel]")


def test_registries(furc: Furc) -> None:
    assert "fuse-tables" in furc("passes").stdout and "before:" in furc("passes", "fuse-tables").stdout
    assert "conv2d(" in furc("ops", "dfg").stdout and "store(" in furc("ops", "gir", "store").stdout
    assert "conv " in furc("isa").stdout and "opcode 0x40" in furc("isa", "conv").stdout
    for words in (("passes", "nothing"), ("ops", "dfg", "nothing"), ("isa", "nothing")):
        furc(*words, exits=2)


def test_help_is_fast() -> None:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "furc", "--help"], check=True, capture_output=True)
    assert time.perf_counter() - begin < 2.0  # 0.2 s on an idle computer; half a second is the aim


def test_outputs_appear_whole_or_not_at_all(furc: Furc, models: Path) -> None:
    furc("compile", models / "int8.onnx", "-o", "a.enf")
    before = Path("a.enf").read_bytes()
    furc("compile", models / "float.onnx", "-o", "a.enf", exits=1)
    assert Path("a.enf").read_bytes() == before
    furc("compile", models / "int8.onnx", "-o", "/dev/null", "--dot-graph", "g.dot")
    assert sorted(p.name for p in Path().iterdir()) == ["a.enf", "cache", "g.dot"]


def test_work_that_is_not_counted_ends_when_the_next_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "on_terminal", lambda *, err: True)
    with progress.Bar() as bar:
        bar("optimize", 0, None)
        bar("calibrate", 3, 8)
        [first, second] = shown_in(bar)
        assert first.finished and not second.finished and second.completed == 3
        bar("survey", 0, None)
    assert [task.finished for task in shown_in(bar)] == [True, False, True]


def shown_in(bar: progress.Bar) -> list[Any]:
    assert bar._rich is not None
    return bar._rich.progress.tasks
