"""Nothing that furc did not write for an output is overwritten without being asked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result

from furc.data.arrays import npz_bytes, read_arrays
from isa import enf as enf_file

Furc = Callable[..., Result]

# A command, and the files it writes; {int8} and so on are files of the `models` fixture.
WRITING = {
    "compile": ("compile {int8.onnx} -o out --no-cache", "out"),
    "text": ("compile {int8.onnx} -o m.ldfg --target-ir ldfg", "m.ldfg"),
    "constants": ("compile {int8.onnx} -o m.ldfg --target-ir ldfg", "m.ldfg.npz"),
    "stop-after": ("compile {int8.onnx} --stop-after to-lowlevel", "output.ldfg.npz"),
    "lir": ("compile {int8.onnx} -o m.lir --target-ir lir", "m.lir"),
    "dot": ("compile {int8.onnx} --dot-graph out", "out"),
    "memory": ("compile {int8.onnx} --analyze-memory out", "out"),
    "run": ("run {model.enf} -o out", "out"),
    "trace": ("run {model.enf} --trace out", "out"),
    "json": ("profile {model.enf} --format json -o out", "out"),
    "html": ("profile {model.enf} --format html -o out", "out"),
    "table": ("profile {model.enf} -o out", "out"),
    "diff json": ("diff {model.enf} {model.enf} --format json -o out", "out"),
    "diff html": ("diff {model.enf} {model.enf} --format html -o out", "out"),
    "diff table": ("diff {model.enf} {model.enf} -o out", "out"),
    "bench": ("bench {model.enf} -n 1 -o out", "out"),
    "eval json": ("eval {model.enf} --task none --data {images.npz} --json out", "out"),
    "eval html": ("eval {int8.onnx} --task none --data {images.npz} --html out", "out"),
    "sweep csv": ("sweep {int8.onnx} -o . -j 1", "sweep.csv"),
    "sweep parquet": ("sweep {int8.onnx} -o . -j 1", "sweep.parquet"),
    "sweep html": ("sweep {int8.onnx} -o . -j 1", "sweep.html"),
    "litmus": ("litmus {float.onnx} --dump out", "out.zip"),
    "zoo": ("zoo mobilenet_v2 --input-size 32", "mobilenet_v2.onnx"),
    "quantize": ("quantize {float.onnx} --random 2 --method MIN_MAX_ASYM -o out", "out"),
    "advise": ("advise {float.onnx} --kind uint8_input --apply out", "out"),
    "report": ("calibrate-report {float.onnx} --random 4 --method MIN_MAX_ASYM -o out", "out"),
    "opt": ("opt {model.dfg} -p set-batch -o m.dfg", "m.dfg.npz"),
    "disasm": ("disasm {model.enf} -o out", "out"),
    "asm": ("asm {model.s} -o out", "out"),
}


@pytest.mark.parametrize("name", WRITING)
def test_somebody_elses_file_stays(furc: Furc, models: Path, name: str) -> None:
    line, written = WRITING[name]
    words = [str(models / word[1:-1]) if word.startswith("{") else word for word in line.split()]
    path = Path(written)
    for content in (b"my notes\n", b"PK\x03\x04", b"\x00\xff" * 5000):
        path.write_bytes(content)
        result = furc(*words, exits=1)
        assert result.stderr.splitlines()[-2].startswith(f"error[WouldOverwrite]: {path}: "), result.stderr
        assert result.stderr.splitlines()[-1].endswith("or --force")
        assert path.read_bytes() == content
    furc(*words, "--force")
    ours = path.read_bytes()
    assert ours != content
    furc(*words)  # what furc wrote it may write again
    if name not in ("bench", "report", "eval json", "eval html"):  # which hold times
        assert path.read_bytes() == ours
    path.write_bytes(b"")
    furc(*words)  # as mktemp leaves it


@pytest.mark.parametrize("trace", ["out/r", "out/../out/r", "link/r"])
def test_two_outputs_are_not_one_file(furc: Furc, models: Path, trace: str) -> None:
    Path("out").mkdir()
    Path("link").symlink_to("out")
    result = furc("run", models / "model.enf", "-o", "out/r", "--trace", trace, exits=1)
    assert f"error[OutputTwice]: {trace}: two outputs have this name" in result.stderr and not Path("out/r").exists()


def test_an_archive_of_data_is_never_taken_for_a_side_file(furc: Furc, models: Path) -> None:
    np.savez("m.ldfg.npz", images=np.zeros(3))
    before = Path("m.ldfg.npz").read_bytes()
    furc("compile", models / "int8.onnx", "--target-ir", "ldfg", "-o", "m.ldfg", exits=1)
    assert Path("m.ldfg.npz").read_bytes() == before and not Path("m.ldfg").exists()


def test_levels_of_one_stem_have_their_own_constants(furc: Furc, models: Path) -> None:
    for level in ("dfg", "ldfg", "gir"):
        furc("compile", models / "int8.onnx", "--target-ir", level, "-o", f"m.{level}")
    for level in ("dfg", "ldfg", "gir"):
        furc("compile", f"m.{level}", "-o", "again.enf", "--no-cache")
        assert Path("again.enf").read_bytes() == (models / "model.enf").read_bytes()


def test_names_in_an_archive_stay_inside(tmp_path: Path) -> None:
    names = ["../up", "a/../../b", "/model/out", "..", "100%", "%2E%2E", "a\\..\\b", "x\0y", ""]
    made = {name: np.full(1, index) for index, name in enumerate(names)}
    Path("a.npz").write_bytes(npz_bytes(made))
    with zipfile.ZipFile("a.npz") as archive:
        assert not [n for n in archive.namelist() if ".." in n.removesuffix(".npy").replace("\\", "/").split("/")]
    found = read_arrays(Path("a.npz"))
    assert {name: int(array[0]) for name, array in found.items()} == {name: i for i, name in enumerate(names)}
    assert np.array_equal(np.load("a.npz")["/model/out"], made["/model/out"])


def test_names_as_long_as_the_file_system_allows_are_written(furc: Furc, models: Path) -> None:
    name = "\uac00" * 83 + ".enf"  # 253 bytes
    furc("compile", models / "int8.onnx", "-o", name)
    enf_file.save(enf_file.load(name), name)
    assert Path(name).read_bytes() == (models / "model.enf").read_bytes()


@pytest.mark.parametrize(
    ("level", "name", "instead"),
    [("ldfg", "a.enf", "a.ldfg"), ("enf", "a.lir", "a.enf"), ("gir", "./a.dfg", "a.gir")],
)
def test_a_name_that_says_another_level_is_refused(
    furc: Furc, models: Path, level: str, name: str, instead: str
) -> None:
    """The next command would take it for what it is not."""
    said = furc("compile", models / "int8.onnx", "--target-ir", level, "-o", name, exits=2).stderr
    assert f"give {instead}, or --target-ir {name[-3:]}" in said


@pytest.mark.parametrize(("prefix", "written"), [("d", "d.zip"), ("d.zip", "d.zip"), ("net-1.0", "net-1.0.zip")])
def test_a_dump_has_the_name_that_was_asked_for(furc: Furc, models: Path, prefix: str, written: str) -> None:
    said = furc("litmus", models / "int8.onnx", "--skip-quantization", "--dump", prefix).stderr
    assert f"saved to {written}\n" in said and zipfile.is_zipfile(written)
    assert [path.name for path in Path().glob("*.zip*")] == [written]


def test_a_dump_that_is_named_as_another_kind_is_refused(furc: Furc, models: Path) -> None:
    said = furc("litmus", models / "int8.onnx", "--skip-quantization", "--dump", "a/x.npy", exits=2).stderr
    assert said.endswith("Error: --dump writes a zip archive, and a/x.npy is named as npy: give a/x.zip\n")


@pytest.mark.parametrize("words", ["profile {} -o out", "diff {0} {0} -o out", "disasm {} -o out"])
def test_what_is_written_is_said(furc: Furc, models: Path, words: str) -> None:
    assert furc(*words.format(models / "model.enf").split()).stderr == "The output has been saved to out\n"


def test_a_folder_that_is_read_only_is_told_before_the_work(
    furc: Furc, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions are none for root, as whom tests may run."""
    Path("mine").mkdir()
    access, forbidden = os.access, (Path.cwd() / "mine", Path(os.devnull).parent)
    monkeypatch.setattr(os, "access", lambda path, how: Path(path) not in forbidden and access(path, how))
    said = furc("quantize", models / "float.onnx", "--random", 2, "-o", "mine/q.onnx", exits=1).stderr
    assert said == (
        "error[OutputUnwritable]: mine/q.onnx: its directory is read-only for you\n  hint: give another place\n"
    )
    furc("compile", models / "int8.onnx", "-o", os.devnull)  # nothing is put beside a device


def test_the_weights_beside_a_model_are_not_overwritten(furc: Furc, models: Path) -> None:
    model = onnx.load(str(models / "int8.onnx"))
    onnx.save(model, "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    weights = Path("m.bin").read_bytes()
    result = furc("compile", "m.onnx", "-o", "m.bin", "--force", exits=1)
    assert "OutputIsInput" in result.output + result.stderr
    assert Path("m.bin").read_bytes() == weights


def test_a_machine_may_come_through_a_pipe(furc: Furc, models: Path) -> None:
    """It is asked for again and again while a model is read and compiled."""
    Path("half.toml").write_text('base = "warboy"\nnum_slices = 32\n')
    words = ("profile", models / "int8.onnx", "--format", "json", "--npu-config")
    reading, writing = os.pipe()
    os.write(writing, Path("half.toml").read_bytes())
    os.close(writing)
    assert furc(*words, f"/dev/fd/{reading}").stdout == furc(*words, "half.toml").stdout
    os.close(reading)


def test_what_comes_through_a_pipe_is_there_for_the_work(furc: Furc, models: Path) -> None:
    """As in `furc asm <(...) -o out` over an earlier one: to look for weights beside it had emptied the pipe."""
    furc("asm", models / "model.s", "-o", "out")
    program = Path("out").read_bytes()
    reading, writing = os.pipe()
    os.write(writing, (models / "model.s").read_bytes())
    os.close(writing)
    furc("asm", f"/dev/fd/{reading}", "-o", "out")
    os.close(reading)
    assert Path("out").read_bytes() == program != b""
