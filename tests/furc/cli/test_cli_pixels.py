"""Data for furc run and verify: images become what furc quantize makes of them; what is said of what does not fit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from furc.data.images import preprocess_image
from furc.data.pixels import USUAL, preprocess_for
from furc.quantizer import Preprocess
from isa.errors import SourceError

Furc = Callable[..., Result]


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 11, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ([], {}),
        (["--resize", "letterbox"], {"fit": "letterbox"}),
        (
            ["--resize", "letterbox", "--place", "top-left", "--fill", "7"],
            {"fit": "letterbox", "place": "top-left", "fill": 7},
        ),
        (["--resize", "crop", "--scale", "0.5"], {"fit": "crop", "scale": 0.5}),
        (["--mean", "0.4", "--std", "0.2"], {"mean": (0.4,), "std": (0.2,)}),
    ],
)
def test_the_options_of_quantize_give_the_pixels_of_quantize(
    furc: Furc, models: Path, fed: list[dict[str, Any]], options: list[str], how: dict[str, Any]
) -> None:
    picture().save("p.png")
    furc("run", models / "model.enf", "--input", "images=p.png", *options)
    assert np.array_equal(
        fed[0]["images"], preprocess_image(picture(), Preprocess(size=(8, 8), channels="gray", **how))
    )


def test_a_uint8_input_takes_pixels_as_they_are(furc: Furc, models: Path, fed: list[dict[str, Any]]) -> None:
    furc("compile", models / "uint8.onnx", "-o", "u.enf")
    picture().save("p.png")
    furc("run", "u.enf", "--input", "images=p.png", "--resize", "crop")
    wanted = preprocess_image(picture(), Preprocess(size=(8, 8), channels="gray", fit="crop", dtype="uint8"))
    assert np.array_equal(fed[0]["images"], wanted)
    result = furc("run", "u.enf", "--input", "images=p.png", "--mean", "0.5", exits=1)
    assert result.stderr.startswith(
        "error[NotAnImageInput]: p.png: input 'images' is uint8: it takes pixels as they are"
    )


@pytest.mark.parametrize("option", [("--scale", "inf"), ("--mean", "nan"), ("--std", "1,inf,1")])
def test_numbers_that_are_none_are_refused(furc: Furc, models: Path, option: tuple[str, str]) -> None:
    picture().save("p.png")
    said = furc("run", models / "model.enf", "--input", "images=p.png", *option, exits=2).stderr
    assert f"Invalid value for '{option[0]}'" in said and "makes no pixel a number" in said


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("run {model.enf}", "--input"),
        ("run {model.enf} --input images=x.npy", "--input"),
        ("eval {model.enf} --task none --data x.npz", "--data"),
        ("quantize {float.onnx} -o q.onnx --calibration-data x.npz", "--calibration-data"),
        ("quantize {float.onnx} -o q.onnx --random 1", "--random"),
        ("calibrate-report {float.onnx} --random 1", "--random"),
        ("advise {float.onnx}", "--calibration-data"),
    ],
)
@pytest.mark.parametrize("option", [("--resize", "crop"), ("--mean", "0.5")])
def test_options_of_images_without_an_image_are_refused(
    furc: Furc, models: Path, words: str, source: str, option: tuple[str, str]
) -> None:
    np.save("x.npy", np.zeros((1, 1, 8, 8), np.float32))
    np.savez("x.npz", images=np.zeros((2, 1, 8, 8), np.float32))
    said = furc(*re.sub(r"{(.*?)}", lambda m: str(models / m[1]), words).split(), *option, exits=2).stderr
    assert said.endswith(f"Error: {option[0]} is about images, and {source} brings none: leave {option[0]} out\n")


def test_a_directory_is_a_batch(furc: Furc, models: Path, fed: list[dict[str, Any]]) -> None:
    furc("compile", models / "int8.onnx", "-b", 2, "-o", "two.enf")
    Path("photos").mkdir()
    for i in range(3):
        picture(i).save(f"photos/{i}.png")
    result = furc("run", "two.enf", "--input", "images=photos")
    assert "photos: 3 images, the first 2 are run" in result.stderr
    how = Preprocess(size=(8, 8), channels="gray")
    assert np.array_equal(fed[0]["images"], np.concatenate([preprocess_image(picture(i), how) for i in range(2)]))
    Path("photos/1.png").unlink()
    Path("photos/2.png").unlink()
    assert furc("run", "two.enf", "--input", "images=photos", exits=1).stderr.startswith("error[NoImages]: photos: 1 ")


def test_an_empty_directory_holds_no_image(furc: Furc, models: Path) -> None:
    Path("photos").mkdir()
    result = furc("run", models / "model.enf", "--input", "images=photos", exits=1)
    assert result.stderr.startswith("error[NoImages]: photos: there is no image here")
    np.savez("photos/arrays.npz", images=np.zeros((1, 1, 8, 8), np.float32))
    result = furc("run", models / "model.enf", "--input", "images=photos", exits=1)
    assert "hint: give photos/arrays.npz itself" in result.stderr


def test_no_shape_is_asked_for_where_the_model_has_one() -> None:
    """A sequence takes no images, whatever its shape."""
    with pytest.raises(SourceError) as fixed:
        preprocess_for("x", (1, 7, 20), USUAL)
    assert fixed.value.hint == "give an .npz"
    with pytest.raises(SourceError) as opened:
        preprocess_for("x", (1, 3, 0, 0), USUAL)
    assert opened.value.hint == "give --input-shape x=1x3x640x640, or an .npz"


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 1, 9, 8), "bring the data to this shape: rows and columns are the model's"),
        ((2, 1, 8, 8), "a run takes 1: pass as many, or compile with --batch 2"),
        ((1, 8, 8), "put the axis of the batch in front: a[None]"),
    ],
)
def test_a_wrong_shape_is_told_what_helps(furc: Furc, models: Path, shape: tuple[int, ...], hint: str) -> None:
    np.save("x.npy", np.zeros(shape, np.float32))
    result = furc("run", models / "model.enf", "--input", "images=x.npy", exits=1)
    assert result.stderr.startswith(f"error[InputShape]: x.npy: input 'images' is float32{list(shape)}, expected ")
    assert result.stderr.rstrip().endswith(f"hint: {hint}")


def test_a_float_image_for_a_uint8_input_is_told_to_multiply(furc: Furc, models: Path) -> None:
    furc("compile", models / "uint8.onnx", "-o", "u.enf")
    np.save("x.npy", np.full((1, 1, 8, 8), 0.7, np.float32))
    result = furc("run", "u.enf", "--input", "images=x.npy", exits=1)
    assert "hint: it holds [0, 1], stored values are pixels: (a * 255).round().astype('uint8')" in result.stderr


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_a_float_that_is_no_number_is_told(furc: Furc, models: Path, value: float, word: str) -> None:
    np.save("x.npy", np.full((1, 1, 8, 8), value, np.float32))
    assert (
        f"warning: input 'images' holds {word}: " in furc("run", models / "model.enf", "--input", "images=x.npy").stderr
    )


def test_what_verify_gets_no_file_for_is_noise(furc: Furc) -> None:
    """As its help says; ONNX Runtime had missed the input."""
    scale, zero = (numpy_helper.from_array(v, n) for v, n in ((np.float32(0.1), "s"), (np.int8(0), "z")))
    nodes = [
        helper.make_node("Add", ["da", "db"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    for name in "ba":
        nodes.insert(0, helper.make_node("DequantizeLinear", [f"q{name}", "s", "z"], [f"d{name}"]))
        nodes.insert(0, helper.make_node("QuantizeLinear", [name, "s", "z"], [f"q{name}"]))
    a, b, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 8, 8]) for name in "aby")
    graph = helper.make_graph(nodes, "g", [a, b], [y], [scale, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "two.onnx")
    np.save("a.npy", np.ones((1, 4, 8, 8), np.float32))
    assert "equal ONNX Runtime bit for bit" in furc("verify", "two.onnx", "--input", "a=a.npy").stdout
    said = furc("verify", "two.onnx", "--input", "c=a.npy", exits=1).stderr
    assert "error[UnknownInput]: two.onnx: the model has no input 'c'\n  hint: its inputs: a, b" in said
    assert "--seed" in furc("verify", "two.onnx", "--seed", -1, exits=2).stderr
