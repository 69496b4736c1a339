"""Whatever is wrong with the input: one line and a hint, exit code 1, no traceback, nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper
from PIL import Image

from furc.cli.commands import compile as compile_command

Furc = Callable[..., Result]


def refused(result: Result, name: str, about: str = "") -> None:
    """error[name]: ..., and a hint."""
    lines = result.stderr.splitlines()
    assert lines[0].startswith(f"error[{name}]: "), result.stderr
    assert about in lines[0], lines[0]
    assert lines[-1].startswith("  hint: "), result.stderr
    assert all(line.startswith("  also: ") for line in lines[1:-1]), result.stderr
    assert "Traceback" not in result.stderr and not result.stdout


def nothing_written(*before: str) -> None:
    left = {str(p) for p in Path().rglob("*") if p.is_file() and p.parts[0] != "cache"}
    assert left == set(before)


@pytest.mark.parametrize(
    ("content", "name"),
    [(None, "ModelNotFound"), (b"", "NotOnnx"), (b"no model at all", "NotOnnx"), (b"\x08\x07", "NotOnnx")],
)
def test_no_model(furc: Furc, content: bytes | None, name: str) -> None:
    before = []
    if content is not None:
        Path("x.onnx").write_bytes(content)
        before = ["x.onnx"]
    refused(furc("compile", "x.onnx", exits=1), name, "x.onnx")
    refused(furc("profile", "x.onnx", exits=1), name, "x.onnx")
    nothing_written(*before)


@pytest.mark.parametrize("command", ["check", "compile", "verify", "litmus", "advise"])
def test_a_binary_is_no_model(furc: Furc, models: Path, command: str) -> None:
    result = furc(command, models / "model.enf", exits=1)
    assert "error[AlreadyCompiled]: " in result.stderr and "hint: pass the model" in result.stderr
    nothing_written()


def test_a_float_model_names_furc_quantize(furc: Furc, models: Path) -> None:
    result = furc("compile", models / "float.onnx", "--dot-graph", "g.dot", exits=1)
    refused(result, "FloatModel")
    assert "furc quantize" in result.stderr
    nothing_written()


def test_a_dynamic_shape(furc: Furc, models: Path) -> None:
    model = onnx.load(models / "int8.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(model, "open.onnx")
    refused(furc("compile", "open.onnx", exits=1), "DynamicShape", "height")
    furc("compile", "open.onnx", "--input-shape", "images=1,1,8,8", "-o", "fixed.enf")


def test_an_unsupported_operator(furc: Furc) -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Det", ["xd"], ["y"], name="the_det"),
    ]
    constants = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("z", TensorProto.INT8, [], [0]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "det.onnx")
    result = furc("compile", "det.onnx", "--strict", exits=1)
    assert "error[HostOperators]: det.onnx: node 'the_det': 1 operator is left on the host; Det: " in result.stderr
    nothing_written("det.onnx")
    assert "'Det' cannot be accelerated yet" in furc("compile", "det.onnx").stderr


@pytest.mark.parametrize(
    ("option", "name"),
    [
        (["-c", "use_program_loadin=true"], "UnknownConfigKey"),
        (["-c", "use_program_loading=7"], "BadConfigValue"),
        (["-c", "use_program_loading"], "BadConfigValue"),
        (["--compiler-config", "missing.yaml"], "ConfigUnreadable"),
        (["-o", "missing/x.enf"], "OutputUnwritable"),
        (["--dot-graph", "missing/x.dot"], "OutputUnwritable"),
    ],
)
def test_a_wrong_option(furc: Furc, models: Path, option: list[str], name: str) -> None:
    refused(furc("compile", models / "int8.onnx", *option, exits=1), name)
    nothing_written()


def test_a_wrong_key_in_a_file_names_the_file(furc: Furc, models: Path) -> None:
    Path("c.yaml").write_text("use_program_loadin: true\n")
    refused(furc("compile", models / "int8.onnx", "--compiler-config", "c.yaml", exits=1), "UnknownConfigKey", "c.yaml")


@pytest.mark.parametrize("text", ['base = "warboy"\nclok_hz = 1', "clock_hz = -1", "not toml", "clock_hz = 1"])
def test_a_wrong_what_if_machine(furc: Furc, models: Path, text: str) -> None:
    Path("m.toml").write_text(text)
    result = furc("compile", models / "int8.onnx", "--npu-config", "m.toml", exits=1)
    assert re.match(r"error\[\w*Npu\w*\]: ", result.stderr), result.stderr
    nothing_written("m.toml")


def test_the_source_is_never_overwritten(furc: Furc, models: Path) -> None:
    before = (models / "int8.onnx").read_bytes()
    refused(furc("compile", models / "int8.onnx", "-o", models / "int8.onnx", exits=1), "OutputIsInput")
    furc("compile", models / "int8.onnx", "--target-ir", "dfg", "-o", "a.dfg")
    for words in (("-o", "a.dfg"), ("-o", "a.dfg.npz", "--force"), ("--dot-graph", "a.dfg", "--force")):
        refused(furc("compile", "a.dfg", "--target-ir", "ldfg", *words, exits=1), "OutputIsInput", "a.dfg")
    assert (models / "int8.onnx").read_bytes() == before


class TestRun:
    """Session's errors reach the user as they are."""

    @pytest.mark.parametrize(
        ("array", "name", "error"),
        [
            (np.zeros((1, 1, 8, 8), np.float32), "image", "UnknownInput"),
            (np.zeros((1, 1, 8, 7), np.float32), "images", "InputShape"),
            (np.zeros((1, 1, 8, 8), np.float64), "images", "InputType"),
        ],
    )
    def test_wrong_data(self, furc: Furc, models: Path, array: np.ndarray, name: str, error: str) -> None:
        np.save("x.npy", array)
        refused(furc("run", models / "model.enf", "--input", f"{name}=x.npy", "-o", "y.npz", exits=1), error)
        nothing_written("x.npy")

    @pytest.mark.parametrize(
        ("file", "content", "error"),
        [
            ("x.npy", None, "ArrayNotFound"),
            ("x.npy", b"\x93NUMPY\x01\x00garbage", "BadArray"),
            ("x.npz", b"PK\x03\x04", "BadArray"),
            ("x.png", None, "ImageNotFound"),
            ("x.png", b"no image", "BadImage"),
        ],
    )
    def test_no_data(self, furc: Furc, models: Path, file: str, content: bytes | None, error: str) -> None:
        if content is not None:
            Path(file).write_bytes(content)
        refused_or_bare = furc("run", models / "model.enf", "--input", f"images={file}", exits=1)
        assert refused_or_bare.stderr.startswith(f"error[{error}]: {file}: ")

    def test_data_twice(self, furc: Furc, models: Path) -> None:
        result = furc("run", models / "model.enf", "--input", "images=a.npy", "--input", "images=b.npy", exits=2)
        assert "Invalid value for '--input': 'images' is given twice" in result.stderr

    @pytest.mark.parametrize("command", ["run", "profile", "disasm", "info"])
    @pytest.mark.parametrize("damage", ["cut", "flip", "other", "missing"])
    def test_a_damaged_binary(self, furc: Furc, models: Path, command: str, damage: str) -> None:
        whole = (models / "model.enf").read_bytes()
        middle = len(whole) // 2
        content = {"cut": whole[:middle], "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]}
        if damage != "missing":
            Path("x.enf").write_bytes(content.get(damage, b"something else"))
        result = furc(command, "x.enf", exits=1)
        assert re.match(r"error\[\w*Enf\w*\]: x.enf: ", result.stderr), result.stderr
        assert "\n  hint: " in result.stderr


class TestIrText:
    def test_a_text_without_its_constants(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--target-ir", "gir", "-o", "a.gir")
        Path("a.gir.npz").rename("a.npz")
        refused(furc("compile", "a.gir", exits=1), "NoConstants", "a.gir.npz")

    def test_a_broken_text(self, furc: Furc, models: Path) -> None:
        Path("a.dfg").write_text('dfg "x" batch=1 {\n  what\n}\n')
        refused(furc("opt", "a.dfg", exits=1), "BadIrText", "a.dfg")
        Path("a.dfg").write_bytes(b"\xff\xfe")
        assert furc("opt", "a.dfg", exits=1).stderr.startswith("error[BadIrText]: a.dfg: not text")

    def test_a_level_above_the_source(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--target-ir", "cdfg", "-o", "a.cdfg")
        refused(furc("compile", "a.cdfg", "--target-ir", "dfg", exits=1), "TargetIrAbove")
        refused(furc("compile", "a.cdfg", "-b", 2, exits=1), "BatchIsFixed")
        refused(furc("opt", "a.cdfg", "-b", 2, exits=1), "BatchIsFixed")

    def test_a_pass_of_another_level(self, furc: Furc, models: Path) -> None:
        furc("compile", models / "int8.onnx", "--target-ir", "dfg", "-o", "a.dfg")
        assert "insert-pads runs on ldfg, this is dfg" in furc("opt", "a.dfg", "-p", "insert-pads", exits=1).stderr
        late = furc("opt", "a.dfg", "-p", "to-lowlevel,fuse-tables", exits=1)
        refused(late, "WrongLevel", "fuse-tables runs on dfg, after to-lowlevel it is ldfg")


class TestExitCodes:
    def test_wrong_usage_is_two(self, furc: Furc, models: Path) -> None:
        for words in (
            ["compile"], ["compile", models / "int8.onnx", "--target-npu", "tpu"], ["what"],
            ["compile", models / "int8.onnx", "--stop-after", "nothing"],
            ["compile", models / "int8.onnx", "--input-shape", "images"],
            ["run", models / "model.enf", "--input", "images"], ["profile", models / "model.enf", "-b", 2],
            ["quantize", models / "float.onnx", "-o", "x.onnx"],
        ):  # fmt: skip
            assert furc(*words, exits=2).stderr.startswith("Usage: ")
        nothing_written()

    def test_a_defect_of_furc_is_seventy(self, furc: Furc, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compile_command, "inspect", _broken)
        result = furc("compile", models / "int8.onnx", exits=70)
        assert result.stderr.startswith("ZeroDivisionError: ") and "please report" in result.stderr
        assert "Traceback" not in result.stderr
        assert "Traceback" in furc("compile", models / "int8.onnx", "--debug", exits=70).stderr

    def test_debug_shows_where_an_error_comes_from(self, furc: Furc) -> None:
        result = furc("--debug", "compile", "missing.onnx", exits=1)
        assert "Traceback" in result.stderr and "error[ModelNotFound]" in result.stderr


def _broken(*_: object) -> None:
    raise ZeroDivisionError("one over zero")


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        ("quantize {float.onnx} -o q.onnx --calibration-data x.npy", "BadData]: x.npy", "numpy.savez"),
        ("run {model.enf} --input images=x.npy", "InputType]: x.npy", "(a / 255).astype('float32')"),
        ("run {model.enf} --input images=y.npy", "InputType]: y.npy", ".astype('float32')"),
        ("eval {model.enf} --data . --labels missing.json", "LabelsNotFound]: missing.json", "what the images show"),
        ("eval {model.enf} --data . --classes missing.txt", "LabelsNotFound]: missing.txt", "the name of a class"),
        ("sweep {int8.onnx} -o s --grid missing.yaml", "ConfigUnreadable]: missing.yaml", "batch: [1, 4]"),
        ("sweep {int8.onnx} -o s --grid x.npy", "ConfigUnreadable]: x.npy: not text", "batch: [1, 4]"),
        ("asm x.npy --check", "NotText]: x.npy: byte 0", "instructions as text"),
        ("disasm empty", "NoProgram]: empty: the file is empty", "`furc asm` wrote"),
        ("compile {int8.onnx} -o -", "OutputUnwritable]: -: a binary does not go to stdout", "the name of a file"),
        ("eval {model.enf} --task none --data {images.npz} --html -", "OutputUnwritable]: -: a page", "name of a file"),
        ("run .", "EnfUnreadable]: .: not a regular file", "`furc compile` wrote"),
        ("asm missing.s --check", "SourceUnreadable]: missing.s", "instructions as text"),
        ("calibrate-report {int8.onnx} --random 4", "AlreadyQuantized]: {int8.onnx}: node", "the float model"),
    ],
)
def test_a_message_says_where_and_what_to_do(furc: Furc, models: Path, words: str, error: str, hint: str) -> None:
    np.save("x.npy", np.zeros((1, 1, 8, 8), np.uint8))
    np.save("y.npy", np.zeros((1, 1, 8, 8), np.float64))
    Image.new("L", (8, 8)).save("a.png")
    Path("empty").touch()

    def filled(text: str) -> str:
        return re.sub(r"\{(.*?)\}", lambda found: str(models / found[1]), text)

    said = furc(*filled(words).split(), exits=1).stderr
    assert said.startswith(f"error[{filled(error)}") and hint in said.partition("  hint: ")[2], said
