"""furc advise: what it prints and writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper

from furc.onnx.run import RunModel

Furc = Callable[..., Result]


@pytest.fixture
def tailed() -> onnx.ModelProto:
    """A convolution, then what only the host can do, saved as t.onnx."""
    weights = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
            helper.make_node("Abs", ["c"], ["a"], "abs"),
            helper.make_node("TopK", ["a", "k"], ["y", "at"], "best"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([4]), "k")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, "t.onnx")
    return model


def test_the_table_and_its_words(furc: Furc, models: Path) -> None:
    result = furc("advise", models / "float.onnx", "--kind", "uint8_input", "--kind", "target", "--all")
    assert max(map(len, result.stdout.splitlines()[1:])) <= 80
    assert "   as it is " in result.stdout and "1  feed 'images' as uint8 " in result.stdout
    assert "   how: furc quantize --input-type uint8, or --apply OUT.onnx --proposal 1\n" in result.stdout
    assert result.stdout.endswith("2 proposals, the best first\n")


def test_json_has_figures_of_both(furc: Furc, models: Path) -> None:
    words = ("advise", models / "float.onnx", "--kind", "uint8_input", "--random", 4, "--format", "json")
    found = json.loads(furc(*words).stdout)
    (proposal,) = found["proposals"]
    assert proposal["after"]["latency_ms"] < proposal["before"]["latency_ms"] == found["before"]["latency_ms"]
    assert proposal["accuracy_after"] == proposal["accuracy_before"] and proposal["accuracy_after"]["db"] > 10


def test_what_is_applied_equals_the_whole(furc: Furc, tailed: onnx.ModelProto) -> None:
    result = furc("advise", "t.onnx", "--kind", "cut", "--apply", "out.onnx")
    assert "saved to out.onnx" in result.stderr and "saved to out.rest.onnx" in result.stderr
    feed = {"x": np.random.default_rng(0).random((1, 3, 16, 16), np.float32)}
    between = RunModel(onnx.load("out.onnx"))(feed)
    (whole,) = RunModel(tailed)(feed).values()
    assert np.array_equal(RunModel(onnx.load("out.rest.onnx"))(between)["y"], whole)
    assert not Path("out.before.onnx").exists()
    furc("quantize", "out.onnx", "-o", "q.onnx", "--random", 2)
    furc("compile", "q.onnx", "--strict")
    Path("out.rest.onnx").rename("out.before.onnx")  # as of an earlier run
    result = furc("advise", "t.onnx", "--kind", "cut", "--apply", "out.onnx")
    assert "out.before.onnx is of an earlier proposal: this one cuts nothing off there" in result.stderr


def test_nothing_to_advise_is_said(furc: Furc, models: Path) -> None:
    result = furc("advise", models / "uint8.onnx", "--kind", "uint8_input", "--kind", "cut")
    assert result.stdout.endswith("Nothing to advise: 0 changes tried, none pays\n")


@pytest.mark.parametrize(
    ("words", "why", "hint"),
    [
        (("--kind", "cut"), "nothing that was tried pays", "compile it as it is"),
        (("--kind", "target"), "no proposal changes the model",
         "proposals are options of furc compile: 1 is --target-npu warboy"),
        (("--kind", "target", "--proposal", 2), "no proposal 2, 1 proposal found",
         "proposals are options of furc compile: 1 is --target-npu warboy"),
        (("--kind", "target", "--proposal", 1, "--format", "json"),
         "proposal 1 does not change the model: it is --target-npu warboy",
         "proposals are options of furc compile: 1 is --target-npu warboy"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_applied_the_advice_is_shown_all_the_same(
    furc: Furc, models: Path, words: tuple[object, ...], why: str, hint: str
) -> None:
    model = models / "uint8.onnx"
    failed = furc("advise", model, *words, "--apply", "out.onnx", exits=1)
    assert failed.stderr.endswith(f"]: {model}: {why}\n  hint: {hint}\n") and not Path("out.onnx").exists()
    without = [word for word in words if word not in ("--proposal", 1, 2)]
    assert failed.stdout == furc("advise", model, *without).stdout


def test_wrong_usage(furc: Furc, models: Path) -> None:
    furc("advise", models / "float.onnx", "--proposal", 1, exits=2)
    furc("advise", models / "float.onnx", "--kind", "cuts", exits=2)
    assert "error[ModelNotFound]" in furc("advise", "missing.onnx", exits=1).stderr
    assert "error[NotFloat]" in furc("advise", models / "int8.onnx", "--random", 2, exits=1).stderr
    assert "error[NoImages]" in furc("advise", models / "float.onnx", "--calibration-data", "no", exits=1).stderr
    Path("rest.onnx").write_bytes(b"mine")
    Path("out.rest.onnx").write_bytes(b"mine")
    failed = furc("advise", models / "float.onnx", "--apply", "out.onnx", exits=1)
    assert "error[WouldOverwrite]: out.rest.onnx" in failed.stderr
