"""A sweep that is written down says the same as one on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from furc.sweep import Grid
from furc.sweep.grid_file import read_grid
from isa.errors import ConfigError


def test_every_key() -> None:
    Path("sub").mkdir()
    Path("sub/s.yaml").write_text(
        "models: [a.onnx, /b.onnx]\ntarget_npu: warboy\nnpu_config: half.toml\nbatch: [1, 4]\n"
        "compiler_config: {operator_set: sdk0.10}\nvary: {num_slices: [32, 64], use_program_loading: true}\n"
        "input_shape: {images: [1, 3, 8, 8]}\nstrict: true\n"
    )
    models, grid = read_grid(Path("sub/s.yaml"))
    assert models == (Path("sub/a.onnx"), Path("/b.onnx"))
    assert grid == Grid(
        targets=("warboy", Path("sub/half.toml")), batches=(1, 4), settings={"operator_set": "sdk0.10"},
        vary={"num_slices": [32, 64], "use_program_loading": [True]}, input_shapes={"images": (1, 3, 8, 8)},
        strict=True,
    )  # fmt: skip


def test_nothing_is_the_defaults() -> None:
    Path("s.yaml").write_text("")
    assert read_grid(Path("s.yaml")) == ((), Grid())


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("batches: [1]", "UnknownGridKey", "did you mean 'batch'?"),
        ("qqq: 1", "UnknownGridKey", "known keys: models"),
        ("batch: [true]", "BadGridValue", "batch: expected a whole number or a list of them, got [True]"),
        ("models: 3", "BadGridValue", "models: expected a text"),
        ("vary: [1]", "BadGridValue", "vary: expected a mapping"),
        ("input_shape: {x: [0]}", "BadGridValue", "numbers from 1 on for 'x'"),
        ("- 1", "ConfigUnreadable", "expected a mapping"),
        ("a: *b", "ConfigUnreadable", "aliases"),
    ],
)
def test_what_is_wrong_is_named(text: str, error: str, says: str) -> None:
    Path("s.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_grid(Path("s.yaml"))
    assert caught.value.name == error and says in str(caught.value) and str(caught.value.at) == "s.yaml"
    assert caught.value.hint
