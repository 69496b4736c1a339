"""What a sweep goes over, and what of it is refused before anything is compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from furc.sweep.grid import Grid, Point, parse_vary, points
from furc.sweep.models import ModelFiles, read_models
from isa.errors import ConfigError, FurcError
from isa.npu import target


def at(model: Path, **grid: Any) -> list[Point]:
    return points(read_models([model]), Grid(**grid))


def test_points_are_a_product_in_the_order_of_tables(model: Path) -> None:
    vary = {"num_slices": [32, 64], "use_program_loading": [True, False], "dram_bytes_per_second": ["33e9"]}
    found = at(model, targets=["warboy", "warboy-2pe"], batches=[1, 4], vary=vary, settings={"operator_set": "sdk0.10"})
    assert len(found) == 16 and len({point.key for point in found}) == 16
    places = [(p.target, p.batch, p.configuration, p.constants["num_slices"]) for p in found]
    assert places[:4] == [
        ("warboy", 1, "operator_set=sdk0.10, use_program_loading=true", 32),
        ("warboy", 1, "operator_set=sdk0.10, use_program_loading=true", 64),
        ("warboy", 1, "operator_set=sdk0.10, use_program_loading=false", 32),
        ("warboy", 1, "operator_set=sdk0.10, use_program_loading=false", 64),
    ]
    assert places[4][:2] == ("warboy", 4) and places[8][:2] == ("warboy-2pe", 1)
    assert {p.constants["dram_bytes_per_second"] for p in found} == {33_000_000_000}
    assert found[0].request.npu().num_slices == 32 and not found[0].request.cache


def test_equal_values_are_one(model: Path) -> None:
    assert len(at(model, batches=[2, 2], vary={"num_slices": [32, 32.0, "32"]})) == 1


def test_the_key_is_of_all_that_matters(model: Path, tmp_path: Path) -> None:
    [one] = at(model)
    others = [
        at(model, targets=["warboy"]), at(model, batches=[2]), at(model, vary={"num_slices": [32]}),
        at(model, settings={"use_program_loading": True}), at(model, input_shapes={"images": (1, 1, 8, 8)}),
        at(model, strict=True),
    ]  # fmt: skip
    assert len({one.key, *(point.key for [point] in others)}) == 7
    assert at(model, vary={"num_slices": [target("warboy-2pe").num_slices]})[0].key == one.key
    elsewhere = tmp_path / model.name
    elsewhere.write_bytes(model.read_bytes())
    assert at(elsewhere)[0].key == one.key
    elsewhere.write_bytes(model.read_bytes() + b"\x00")
    assert at(elsewhere)[0].key != one.key


def test_a_file_of_a_machine_is_a_target(model: Path) -> None:
    Path("half.toml").write_text('base = "warboy"\nnum_slices = 32\n')
    [point] = at(model, targets=[Path("half.toml")])
    assert point.target == "half" and point.request.npu().num_slices == 32


def test_machines_of_one_name_are_told_apart(model: Path) -> None:
    """Rows of two files, or of a file and a target, had been called alike, and their lines in the page were one."""
    files = [Path("a/half.toml"), Path("b/half.toml"), Path("b/warboy.toml"), Path("b/other.toml")]
    for number, file in enumerate(files):
        file.parent.mkdir(exist_ok=True)
        file.write_text(f'base = "warboy"\nnum_slices = {32 + number}\n')
    called = [point.target for point in at(model, targets=["warboy", *files])]
    assert called == ["warboy", "a/half.toml", "b/half.toml", "b/warboy.toml", "other"]


def test_words_of_the_command_line() -> None:
    assert parse_vary(["num_slices=32,64", "permute_input=[[0, 3, 1, 2]],[]"]) == {
        "num_slices": [32, 64], "permute_input": [[[0, 3, 1, 2]], []],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("word", "says"),
    [("num_slices", "'num_slices' is not NAME=VALUE"), ("=1", "'=1' is not"), ("num_slices=", "is not NAME=VALUE"),
     ("num_slices=[", "cannot read"), ("a=&x 1,*x", "anchors")],
)  # fmt: skip
def test_words_that_say_nothing(word: str, says: str) -> None:
    with pytest.raises(ConfigError, match="BadVary") as caught:
        parse_vary([word])
    assert says in caught.value.message and caught.value.hint
    with pytest.raises(ConfigError, match="varied twice"):
        parse_vary(["num_slices=1", "num_slices=2"])


@pytest.mark.parametrize(
    ("grid", "error", "hint"),
    [
        ({"vary": {"num_slice": [1]}}, "UnknownVary", "did you mean 'num_slices'?"),
        ({"vary": {"use_program_loadin": [True]}}, "UnknownVary", "did you mean 'use_program_loading'?"),
        ({"vary": {"name": ["x"]}}, "UnknownVary", ""),
        ({"vary": {"q\x1b": [1]}}, "UnknownVary", "list what can vary"),
        ({"vary": {"num_slices": ["many"]}}, "BadNpuConstant", ""),
        ({"vary": {"num_slices": [True]}}, "BadNpuConstant", ""),
        ({"vary": {"num_slices": [[32]]}}, "BadNpuConstant", ""),
        ({"vary": {"num_slices": [32.5]}}, "BadNpuConstant", ""),
        ({"vary": {"num_slices": [100000]}}, "BadNpuConstant", ""),
        ({"vary": {"dram_efficiency": ["nan"]}}, "BadNpuConstant", ""),
        ({"vary": {"use_program_loading": ["maybe"]}}, "BadConfigValue", ""),
        ({"settings": {"use_program_loadin": True}}, "UnknownConfigKey", "did you mean"),
        ({"batches": [0]}, "BadBatch", ""),
        ({"targets": ["warboi"]}, "UnknownTarget", ""),
        ({"vary": {"num_slices": range(1, 250), "mac_width": range(1, 900)}}, "TooManyPoints", "vary less"),
    ],
)
def test_what_cannot_be_is_refused_first(model: Path, grid: dict[str, Any], error: str, hint: str) -> None:
    with pytest.raises(FurcError) as caught:
        at(model, **grid)
    assert caught.value.name == error and hint in caught.value.hint
    assert "\x1b" not in str(caught.value)


class TestModels:
    def test_data_in_other_files_goes_along(self, model: Path, tmp_path: Path) -> None:
        proto = onnx.load(model)
        convert_model_to_external_data(proto, location="weights.bin", size_threshold=0)
        onnx.save(proto, "m.onnx")
        [found] = read_models([Path("m.onnx")])
        assert [name for name, _ in found.files] == ["m.onnx", "weights.bin"]
        written = found.write(tmp_path / "there")
        assert (written.parent / "weights.bin").read_bytes() == Path("weights.bin").read_bytes()
        assert found.write(tmp_path / "there") == written
        with Path("weights.bin").open("r+b") as file:
            file.write(b"\x01\x02\x03")
        assert read_models([Path("m.onnx")])[0].digest != found.digest

    def test_labels_tell_files_of_one_name_apart(self, model: Path) -> None:
        for folder in ("a", "b"):
            Path(folder).mkdir()
            Path(folder, "m.onnx").write_bytes(model.read_bytes())
        found = read_models([Path("a/m.onnx"), Path("b/m.onnx"), model, model])
        assert [one.label for one in found] == ["a/m.onnx", "b/m.onnx", "digits"]

    def test_control_characters_end_here(self, model: Path) -> None:
        Path("e\x1b[31m\n.onnx").write_bytes(model.read_bytes())
        [found] = read_models([Path("e\x1b[31m\n.onnx")])
        assert found.label == "e\\x1b[31m\\n"

    def test_what_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(FurcError, match="ModelNotFound"):
            read_models([tmp_path / "missing.onnx"])
        (tmp_path / "x.enf").write_bytes(b"")
        with pytest.raises(FurcError, match="AlreadyCompiled"):
            read_models([tmp_path / "x.enf"])

    def test_names_that_go_out_of_the_folder_do_not_come_along(self, tmp_path: Path) -> None:
        found = ModelFiles(label="x", name="x.onnx", files=(("x.onnx", b"1"),), digest="d")
        assert found.write(tmp_path).read_bytes() == b"1"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]
