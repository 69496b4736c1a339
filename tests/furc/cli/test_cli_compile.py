"""furc compile: steps, budget, levels, options, cache."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper
from qdq_models import Qdq

import furc as library
from furc import build
from furc.cache import default_cache, own_sources
from furc.data.arrays import npz_bytes, read_arrays
from furc.output import CONSTANTS_MARK
from furc.sweep.grid import Grid, points
from furc.sweep.models import read_models
from furc.verify import Against, verify_file
from isa import enf as enf_file
from isa.enf import Enf
from isa.errors import ConfigError, FurcError

Furc = Callable[..., Result]
LEVELS = ("dfg", "ldfg", "cdfg", "gir", "lir")
ROOT = Path(__file__).resolve().parents[3]


def test_the_six_steps_and_the_budget_are_printed(furc: Furc, models: Path) -> None:
    lines = furc("compile", models / "int8.onnx").stderr.splitlines()
    steps = [line for line in lines if re.match(r"\[\d/6\]", line)]
    assert [s.split("from ")[1] for s in steps] == [
        "onnx to dfg", "dfg to ldfg", "ldfg to cdfg", "cdfg to gir", "gir to lir", "lir to enf",
    ]  # fmt: skip
    assert [line.strip() for line in lines if line.startswith("  [")] == [
        "[1/3] Lowering graph", "[2/3] Splitting graph", "[3/3] Optimizing graph",
    ]  # fmt: skip
    assert sum(re.fullmatch(r"Done in \d+\.\d{3}s", line) is not None for line in lines) == 6
    for word in ("Finished in", "instruction memory", "SRAM peak", "DRAM", "Quantize", "Dequantize", "Unlower"):
        assert any(line.startswith(word) for line in lines), word
    assert lines[-1] == "The output has been saved to output.enf"
    assert Path("output.enf").is_file()


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_compiles_on_to_the_same_bytes(furc: Furc, models: Path, level: str) -> None:
    furc("compile", models / "int8.onnx", "--target-ir", level, "-o", f"model.{level}")
    furc("compile", f"model.{level}", "-o", "again.enf")
    assert Path("again.enf").read_bytes() == (models / "model.enf").read_bytes()


def test_two_processes_write_the_same_bytes(models: Path) -> None:
    for name in ("a.enf", "b.enf"):
        words = [sys.executable, "-m", "furc", "compile", str(models / "int8.onnx"), "-o", name, "--no-cache"]
        subprocess.run(words, check=True, capture_output=True)
    assert Path("a.enf").read_bytes() == Path("b.enf").read_bytes()


@pytest.mark.parametrize("npu", ["warboy", "warboy-2pe"])
@pytest.mark.parametrize("batch", [1, 4])
def test_target_and_batch_reach_the_binary(furc: Furc, models: Path, npu: str, batch: int) -> None:
    furc("compile", models / "uint8.onnx", "--target-npu", npu, "-b", batch, "-o", "x.enf")
    enf = enf_file.load("x.enf")
    assert (enf.target, enf.batch, enf.inputs[0].shape) == (npu, batch, (batch, 1, 8, 8))


def test_the_library_compiles_to_the_same_bytes(models: Path) -> None:
    enf = library.compile(models / "int8.onnx", compiler_config={"use_program_loading": False})
    assert enf_file.write(enf) == (models / "model.enf").read_bytes()


def test_a_what_if_machine_is_asked_for_again_when_running(furc: Furc, models: Path) -> None:
    Path("slow.toml").write_text('base = "warboy"\nclock_hz = 1000000000\n')
    furc("compile", models / "int8.onnx", "--npu-config", "slow.toml", "-o", "slow.enf")
    assert furc("profile", "slow.enf", exits=1).stderr.startswith("error[IncompatibleConfiguration]")
    assert "at 1 GHz" in furc("profile", "slow.enf", "--npu-config", "slow.toml").stdout
    assert json.loads(furc("info", "slow.enf", "--format", "json").stdout)["target"] == "warboy (what-if)"
    assert furc("disasm", "slow.enf", "--npu-config", "slow.toml").stdout.startswith("# digits for warboy (what-if), ")
    assert repr(enf_file.load("slow.enf")).startswith("<Enf 'digits' for warboy (what-if), batch 1\n")


def test_what_is_no_number_before_and_after_a_pass_is_the_same(furc: Furc) -> None:
    m = Qdq()
    x = m.quantized(m.node("Mul", m.float_input(1, 4, 4, 4), m.const(0.5, np.float32)))
    m.output(m.node("Log", m.node("Neg", m.node("Abs", x))))
    onnx.save(m.model(), "m.onnx")
    assert "Verified: every output is the same" in furc("compile", "m.onnx", "--verify").stderr


def test_dot_graph_has_layouts_and_shapes(furc: Furc, models: Path) -> None:
    furc("compile", models / "int8.onnx", "--dot-graph", "g.dot", "-o", "x.enf")
    text = Path("g.dot").read_text()
    assert text.startswith('digraph "digits" {') and text.endswith("}\n")
    assert re.search(r"LowLevelConv2d\\nHCH", text) and "i8 1x16x8x8" in text
    furc("compile", models / "int8.onnx", "--dot-graph", "g.dot", "--target-ir", "dfg")
    assert "conv2d" in Path("g.dot").read_text()


def test_memory_analysis_is_one_file(furc: Furc, models: Path) -> None:
    furc("compile", models / "int8.onnx", "--analyze-memory", "m.html", "-o", "x.enf")
    text = Path("m.html").read_text()
    assert re.search(r"<h1>computation/total: \d+/\d+\(=0\.\d+\)</h1>", text)
    assert "Plotly.newPlot" in text and not re.search(r"<(script|link)[^>]+(src|href)=", text)


def test_passes_can_be_verified_printed_and_stopped_after(furc: Furc, models: Path) -> None:
    result = furc("compile", models / "int8.onnx", "--verify", "--print-after", "set-batch", "-v", "-o", "x.enf")
    assert result.stdout.startswith('// after set-batch\ndfg "digits" batch=1 {')
    assert "set-batch: 0." in result.stderr
    assert "Verified: every output is the same after fold-transposes, set-batch, " in result.stderr
    assert Path("x.enf").read_bytes() == (models / "model.enf").read_bytes()
    furc("compile", models / "int8.onnx", "--stop-after", "to-lowlevel")
    assert Path("output.ldfg").read_text().startswith('ldfg "digits"') and Path("output.ldfg.npz").is_file()


def test_where_nothing_is_left_to_verify_that_is_said(furc: Furc, models: Path) -> None:
    furc("compile", models / "int8.onnx", "--target-ir", "lir", "-o", "m.lir")
    assert "Nothing to verify: no pass from here on" in furc("compile", "m.lir", "--verify", "-o", "x.enf").stderr
    assert "verify" not in furc("compile", "m.lir", "-o", "x.enf").stderr


def test_text_has_its_shapes_for_opt_too(furc: Furc, models: Path) -> None:
    for words in (["compile", models / "model.dfg", "-o", "x.enf"], ["opt", models / "model.dfg"]):
        result = furc(*words, "--input-shape", "images=1x1x8x8", exits=1)
        assert "error[ShapesAreFixed]" in result.stderr and "drop --input-shape" in result.stderr


def test_external_data_is_part_of_the_model(furc: Furc, models: Path) -> None:
    model = onnx.load(models / "int8.onnx")
    onnx.save(model, "big.onnx", save_as_external_data=True, location="big.data", size_threshold=0)
    furc("compile", "big.onnx", "-o", "a.enf")
    data = bytearray(Path("big.data").read_bytes())
    data[100] ^= 1
    Path("big.data").write_bytes(data)
    assert "compiler cache" not in furc("compile", "big.onnx", "-o", "b.enf").stderr


class TestCache:
    """A hit gives the same bytes and the same budget; anything that differs is a miss."""

    def test_a_second_compile_is_a_hit(self, furc: Furc, models: Path) -> None:
        first = furc("compile", models / "int8.onnx", "-o", "a.enf").stderr
        second = furc("compile", models / "int8.onnx", "-o", "b.enf").stderr
        assert "compiler cache" not in first and second.startswith("Found in the compiler cache")
        assert budget(first) == budget(second)
        assert Path("a.enf").read_bytes() == Path("b.enf").read_bytes()
        assert ": 1 entry" in furc("cache").stdout

    @pytest.mark.parametrize(
        "option", [["-b", 2], ["--target-npu", "warboy"], ["-c", "use_program_loading=true"], ["--strict"]]
    )
    def test_every_option_is_part_of_the_key(self, furc: Furc, models: Path, option: list[object]) -> None:
        furc("compile", models / "int8.onnx")
        assert "compiler cache" not in furc("compile", models / "int8.onnx", *option).stderr

    @pytest.mark.parametrize("package", ["networkx", "numpy", "onnx", "onnxruntime", "tflite"])
    def test_versions_of_what_computes_are_part_of_the_key(
        self, furc: Furc, models: Path, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        furc("compile", models / "int8.onnx")
        monkeypatch.setattr("furc.cache.version", lambda name: "99" if name == package else version(name))
        assert "compiler cache" not in furc("compile", models / "int8.onnx").stderr

    def test_code_that_is_older_than_its_files_keeps_nothing(
        self, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its binaries would have the key of the code that is in the files now."""
        monkeypatch.setattr("furc.cache._IMPORTED", 0.0)
        own_sources.cache_clear()
        assert build.build(models / "int8.onnx").enf.model_name == "digits"
        assert default_cache().entries() == []
        with pytest.raises(FurcError, match="FurcChanged"):
            points(read_models([models / "int8.onnx"]), Grid())

    def test_code_is_as_old_as_what_was_loaded_first_of_it(self, models: Path) -> None:
        """`furc.compile` knows no cache: who asks for that only after an upgrade compiles by the code of before."""
        for floor in ("isa", "passes", "furc"):
            shutil.copytree(ROOT / floor, floor, ignore=shutil.ignore_patterns("__pycache__"))
        script = "import pathlib, sys, furc\nfurc.compile(sys.argv[1])\npathlib.Path('passes/plan.py').touch()\n"
        script += "from furc.build import build\nfrom furc.cache import default_cache\nbuild(sys.argv[1])\n"
        script += "print(furc.__path__, len(default_cache().entries()))\n"
        command = [sys.executable, "-c", script, str(models / "int8.onnx")]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"{[str(Path('furc').resolve())]} 0\n", "")

    def test_no_cache_neither_reads_nor_writes(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--no-cache")
        assert default_cache().entries() == []
        furc("compile", models / "int8.onnx")
        assert "compiler cache" not in furc("compile", models / "int8.onnx", "--no-cache").stderr

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "budget"])
    def test_a_damaged_entry_is_replaced(self, furc: Furc, models: Path, damage: str) -> None:
        furc("compile", models / "int8.onnx", "-o", "a.enf")
        [entry] = default_cache().entries()
        whole = entry.path.read_bytes()
        flipped = bytes([*whole[:-9], whole[-9] ^ 1, *whole[-8:]])
        damaged = {"flip": flipped, "cut": whole[:1000], "empty": b"", "budget": whole[:64] + b"[]\n"}[damage]
        entry.path.write_bytes(damaged)
        assert "compiler cache" not in furc("compile", models / "int8.onnx", "-o", "b.enf").stderr
        assert entry.path.read_bytes() == whole
        assert Path("a.enf").read_bytes() == Path("b.enf").read_bytes()

    def test_an_entry_under_the_name_of_another_is_none(self, furc: Furc, models: Path) -> None:
        for batch in (1, 2):
            furc("compile", models / "int8.onnx", "-b", batch, "-o", f"{batch}.enf")
        first, second = (entry.path for entry in default_cache().entries())
        first.write_bytes(second.read_bytes())
        for batch in (1, 2):
            furc("compile", models / "int8.onnx", "-b", batch, "-o", "again.enf")
            assert Path("again.enf").read_bytes() == Path(f"{batch}.enf").read_bytes()

    def test_it_is_cleared(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx")
        assert furc("cache", "--clear").stdout.startswith("removed 1 entry")
        assert default_cache().entries() == []

    def test_a_cache_that_cannot_be_written_is_no_error(
        self, furc: Furc, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(Path("file").resolve()))
        furc("compile", models / "int8.onnx", "-o", "a.enf")
        assert Path("a.enf").is_file()

    def test_the_name_in_the_binary_is_part_of_the_key(self, furc: Furc, models: Path) -> None:
        model = onnx.load(models / "int8.onnx")
        model.graph.name = "main_graph"  # says nothing: the file's name goes into the binary
        for name in ("a", "b"):
            onnx.save(model, f"{name}.onnx")
            furc("compile", f"{name}.onnx", "-o", f"{name}.enf")
            assert enf_file.load(f"{name}.enf").model_name == name

    @pytest.mark.parametrize("inner", [False, True])
    def test_data_of_constant_nodes_is_part_of_the_key(
        self, furc: Furc, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inner: bool
    ) -> None:
        """The data of a scale lies in a file: in the attribute of a Constant, also inside the body of an If."""
        folder = tmp_path / "model"
        folder.mkdir()
        save_with_scale_outside(models / "int8.onnx", folder, inner=inner)
        monkeypatch.chdir(models)  # data is looked for beside the model, wherever one is
        furc("compile", folder / "m.onnx", "-o", tmp_path / "a.enf")
        assert furc("compile", folder / "m.onnx", "-o", tmp_path / "b.enf").stderr.startswith("Found in the compiler")
        (folder / "scale.bin").write_bytes(np.float32(0.75).tobytes())
        assert "compiler cache" not in furc("compile", folder / "m.onnx", "-o", tmp_path / "c.enf").stderr
        if not inner:  # the body is never executed, but the file is read
            assert (tmp_path / "a.enf").read_bytes() != (tmp_path / "c.enf").read_bytes()

    def test_constants_of_text_are_part_of_the_key(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--target-ir", "dfg", "-o", "m.dfg")
        furc("compile", "m.dfg", "-o", "a.enf")
        arrays = read_arrays(Path("m.dfg.npz"))
        name = max(arrays, key=lambda name: arrays[name].nbytes)
        Path("m.dfg.npz").write_bytes(npz_bytes({**arrays, name: arrays[name][::-1]}, CONSTANTS_MARK))
        furc("compile", "m.dfg", "-o", "b.enf")
        assert Path("a.enf").read_bytes() != Path("b.enf").read_bytes()

    def test_a_source_that_changes_while_it_is_compiled_is_not_kept(
        self, models: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Path("m.onnx").write_bytes((models / "int8.onnx").read_bytes())
        read = build.read

        def read_and_change(*arguments: Any) -> Any:
            found = read(*arguments)
            Path("m.onnx").write_bytes((models / "uint8.onnx").read_bytes())
            return found

        monkeypatch.setattr(build, "read", read_and_change)
        build.build("m.onnx")
        assert default_cache().entries() == []

    def test_what_a_killed_writer_left_is_removed(self, furc: Furc, models: Path) -> None:
        folder = default_cache().directory
        folder.mkdir(parents=True)
        old, young = folder / "x.0.unfinished", folder / "y.0.unfinished"
        for path in (old, young):
            path.write_bytes(b"half an entry")
        os.utime(old, (0, 0))
        furc("compile", models / "int8.onnx")
        assert not old.exists() and young.exists() and len(default_cache().entries()) == 1

    @pytest.mark.parametrize("failing", ["write_bytes", "replace", "mkdir", "stat"])
    def test_a_full_or_read_only_disk_is_no_error(
        self, furc: Furc, models: Path, monkeypatch: pytest.MonkeyPatch, failing: str
    ) -> None:
        cached = Path("cache").resolve()
        whole = getattr(Path, failing)

        def fails(self: Path, *arguments: Any, **more: Any) -> Any:
            if self.is_relative_to(cached):
                if failing == "write_bytes":
                    whole(self, arguments[0][:100])
                raise OSError(28, "No space left on device")
            return whole(self, *arguments, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Path, failing, fails)
            furc("compile", models / "int8.onnx", "-o", "a.enf")
        assert Path("a.enf").read_bytes() == (models / "model.enf").read_bytes()
        assert not list(cached.glob("furc/*.unfinished"))
        furc("compile", models / "int8.onnx", "-o", "b.enf")
        assert Path("b.enf").read_bytes() == (models / "model.enf").read_bytes()


def save_with_scale_outside(source: Path, folder: Path, *, inner: bool) -> None:
    """The model with the scale of its input as a Constant whose value is in scale.bin."""
    model = onnx.load(source)
    quantize = next(node for node in model.graph.node if node.op_type == "QuantizeLinear")
    scale = next(t for t in model.graph.initializer if t.name == quantize.input[1])
    (folder / "scale.bin").write_bytes(numpy_helper.to_array(scale).tobytes())
    outside = TensorProto(name="s", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="scale.bin")
    made = helper.make_node("Constant", [], ["s"], value=outside)
    if inner:
        result = helper.make_tensor_value_info("s", TensorProto.FLOAT, [])
        body = helper.make_graph([made], "body", [], [result])
        model.graph.node.insert(0, helper.make_node("If", ["c"], ["unused"], then_branch=body, else_branch=body))
        model.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    else:
        model.graph.node.insert(0, made)
        quantize.input[1] = "s"
    onnx.save(model, folder / "m.onnx")


def budget(stderr: str) -> str:
    return stderr[stderr.index("\nbudget") : stderr.index("The output has")]


def test_the_session_gives_what_the_reference_gives(models: Path) -> None:
    images = np.load(models / "images.npz")["images"][:1]
    enf: Enf = library.load(models / "model.enf")
    fast, slow = library.Session(enf), library.Session(models / "model.enf", accelerate=False)
    [got], [wanted] = fast.run({"images": images}).values(), slow.run({"images": images}).values()
    assert np.array_equal(got, wanted)


def test_a_program_that_is_loaded_while_running(furc: Furc, models: Path) -> None:
    Path("small.toml").write_text('base = "warboy-2pe"\ninstruction_memory_bytes = 1024\n')
    machine = ("--npu-config", "small.toml")
    refused = furc("compile", models / "int8.onnx", *machine, exits=1).stderr
    assert "error[InsufficientInstructionMemory]" in refused and "use_program_loading" in refused
    assert not Path("output.enf").exists()
    words = ("-c", "use_program_loading=true", "--analyze-memory", "m.html", "-o", "x.enf")
    assert "segments, loaded while running" in furc("compile", models / "int8.onnx", *machine, *words).stderr
    found = json.loads(furc("profile", "x.enf", *machine, "--format", "json").stdout)
    [loading] = [o for o in found["operators"] if o["name"] == "LoadProgram"]
    assert found["program_loads"] > 0 and loading["load_cycles"] > 0 and loading["bound_by"] == "dma_in"
    furc("run", "x.enf", *machine, "-o", "small.npz")
    furc("run", models / "model.enf", "-o", "large.npz")
    assert Path("small.npz").read_bytes() == Path("large.npz").read_bytes()


@pytest.mark.parametrize("level", ["LDFG", "enf", ""])
def test_a_level_that_is_none_is_refused_in_python_too(level: str) -> None:
    with pytest.raises(ConfigError, match=f"BadOption.*'{level}'"):
        build.lower("not read", level)


def test_the_reference_of_verify_may_be_a_text(models: Path) -> None:
    """It had been taken for LiteRT, which runs no ONNX."""
    found = verify_file(models / "int8.onnx", against="onnxruntime")  # type: ignore[arg-type]
    assert found.against is Against.ONNXRUNTIME
    with pytest.raises(ConfigError, match="BadOption"):
        verify_file(models / "int8.onnx", against="onnx")  # type: ignore[arg-type]
