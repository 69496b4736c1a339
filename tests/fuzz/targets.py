"""What is fuzzed: for each kind of input, whole files to start from, their damage, and the command lines they meet.

Commands are run as a user runs them, so that this does not care how furc is built inside.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from click.testing import CliRunner
from mutations import mutate_proto, mutated_bytes, mutated_enf, mutated_text

HERE = Path(__file__).resolve().parent
for folder in ("furc/frontend", "furc/quantizer", "furc/tflite", "passes"):
    sys.path.append(str(HERE.parent / folder))

Files = dict[str, bytes]
LEVELS = ("dfg", "ldfg", "cdfg", "gir", "lir")


class Refused(Exception):
    """furc said what is wrong with its input."""


class Wrong(AssertionError):
    """Two ways to the same numbers gave different ones."""


@dataclass(frozen=True, slots=True)
class Target:
    """seeds: whole files, made once. case: damaged ones of them. run: raises Refused, or what nobody should see."""

    name: str
    seeds: Callable[[], Mapping[str, Files]]
    case: Callable[[Mapping[str, Files], Random], Files]
    run: Callable[[], None]


def furc(*words: str, refusable: bool = True) -> str:
    """A command line in this directory. Raises Refused; what escapes is raised as it is."""
    from furc.cli.main import cli

    result = CliRunner().invoke(cli, list(words), prog_name="furc")
    if result.exit_code == 70 or (result.exit_code == 1 and not result.stderr.strip()):
        raise _escaped(words)
    if result.exit_code == 1 and "error[" not in result.stderr:
        raise AssertionError(f"exit code 1 without an error: {result.stderr[-500:]}")
    if result.exit_code in (1, 2):
        check_message(result.stderr)
        if not refusable:
            raise AssertionError(result.stderr)
        raise Refused(result.stderr)
    if result.exit_code:
        raise result.exception or AssertionError(f"exit code {result.exit_code}")
    return str(result.stdout)


def check_message(text: str) -> None:
    """A message is for a person: not endless, and nothing that a terminal would obey."""
    if len(text) > 10000:  # isa/errors.py: texts of 2,000 characters and a few places
        raise AssertionError(f"a message of {len(text)} characters")
    odd = next((c for c in text if not c.isprintable() and c not in "\n\t"), None)
    if odd is not None:
        raise AssertionError(f"a message with {odd!r}")


def _escaped(words: tuple[str, ...]) -> BaseException:
    """Once more past what renders errors, for the exception itself."""
    import click

    from furc.cli.command import LazyGroup as Group
    from furc.cli.main import cli

    original = Group.invoke
    Group.invoke = click.Group.invoke  # type: ignore[method-assign]
    try:
        result = CliRunner().invoke(cli, list(words), prog_name="furc")
    finally:
        Group.invoke = original  # type: ignore[method-assign]
    return result.exception or AssertionError("exit code 70 the first time only")


# seeds


def _quantized(model: onnx.ModelProto, **options: Any) -> onnx.ModelProto:
    from furc.quantizer import QuantizeOptions, quantize_model, random_samples

    return quantize_model(model, random_samples(model, 2), QuantizeOptions(method="MIN_MAX_ASYM", **options))


def float_models() -> dict[str, onnx.ModelProto]:
    from quantizer_models import residual

    from furc.zoo import digits

    return {"digits": digits.model(), "residual": residual()}


def qdq_models() -> dict[str, onnx.ModelProto]:
    """What the compiler takes; residual ends in a Softmax that it may not take."""
    from qdq_models import Qdq

    from furc.zoo import digits

    made = {"digits": _quantized(digits.model()), "uint8": _quantized(digits.model(), input_dtype="uint8")}
    m = Qdq("int8")
    w = m.weights(8, 3, 3, 3)
    x = m.quantized(
        m.node("Relu", m.node("Conv", m.float_input(1, 3, 9, 9), w, m.bias(w, 8), pads=[1] * 4)), 0.05, -128
    )
    pooled = m.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    low = m.quantized(m.node("Concat", pooled, m.quantized(m.node("Sigmoid", pooled), 1 / 255, -128), axis=1))
    back = m.quantized(m.node("ConvTranspose", low, m.weights(16, 4, 2, 2, axis=1), strides=[2, 2]))
    cut = m.node("Slice", back, m.integers(0, 1), m.integers(4, 7), m.integers(1, 2))
    turned = m.node("Transpose", cut, perm=[0, 2, 3, 1])
    m.output(m.quantized(m.node("Mul", turned, m.quantized(m.node("Add", turned, turned)))))
    made["mixed"] = m.model()
    made["hosted"] = hosted()
    return made


def hosted() -> onnx.ModelProto:
    """With parts that only the host has: float operators, places and sizes that only a run tells."""
    from qdq_models import Qdq

    m = Qdq("int8", opset=17)
    x = m.quantized(m.node("Conv", m.float_input(1, 3, 8, 8), m.weights(4, 3, 3, 3), pads=[1] * 4))
    w = m.const(m.rng.normal(size=(4, 4, 3, 3)), np.float32)
    convolved = m.node("Tanh", m.node("Conv", x, w, m.const(np.ones(4), np.float32), pads=[1] * 4))
    size = m.node("Resize", convolved, "", m.const([1, 1, 2, 2], np.float32), mode="nearest")
    pooled = m.node("AveragePool", size, kernel_shape=[2, 2], strides=[2, 2])
    m.output(m.quantized(m.node("Conv", m.quantized(pooled), m.weights(4, 4, 1, 1))))
    scores = m.node("Reshape", pooled, m.integers(1, 4, 64))
    values, places = m.several("TopK", 2, scores, m.integers(5), axis=2)
    rows = m.node("Div", places, m.integers(8))
    m.output(m.node("Cast", rows, to=onnx.TensorProto.FLOAT))
    boxes = m.node("Transpose", scores, perm=[0, 2, 1])
    most, least = m.integers(3), m.const([0.5], np.float32)
    kept = m.node("NonMaxSuppression", boxes, scores, most, least, least)
    m.output(m.node("Cast", kept, to=onnx.TensorProto.FLOAT))
    m.output(m.node("LayerNormalization", values, m.const(np.ones(5), np.float32)))
    return m.model()


def _bytes(models: Mapping[str, onnx.ModelProto]) -> dict[str, Files]:
    return {name: {"m.onnx": bytes(model.SerializeToString())} for name, model in models.items()}


def onnx_seeds() -> Mapping[str, Files]:
    return _bytes(qdq_models())


def float_seeds() -> Mapping[str, Files]:
    return _bytes(float_models())


def calibrated_seeds() -> Mapping[str, Files]:
    return _bytes({name: _quantized(model, form="calibrated") for name, model in float_models().items()})


def tflite_seeds() -> Mapping[str, Files]:
    """Full-integer ones, of either type of bytes."""
    from tflite_models import Drawing

    made = {}
    for kind in ("int8", "uint8"):
        d = Drawing(kind)
        x = d.conv(d.input((1, 8, 8, 3)), 8, stride=2, activation=1)
        deep = d.conv(x, 8, depthwise=True)
        both = d.op("ADD", (x, deep), (d.activation((1, 4, 4, 8), 0.3),), "AddOptions")
        small = d.op(
            "MAX_POOL_2D", (both,), (d.activation((1, 2, 2, 8), 0.3),), "Pool2DOptions",
            strideH=2, strideW=2, filterHeight=2, filterWidth=2, padding=1,
        )  # fmt: skip
        flat = d.op("RESHAPE", (small, d.ints(1, 32)), (d.activation((1, 32), 0.3),), "ReshapeOptions")
        made[kind] = {"m.tflite": d.bytes(flat)}
    return made


def built(*words: str) -> dict[str, Files]:
    """The files that a compile of each model makes, here."""
    made = {}
    for name, files in onnx_seeds().items():
        Path("m.onnx").write_bytes(files["m.onnx"])
        before = set(Path().iterdir())
        furc("compile", "m.onnx", "--no-cache", *words, refusable=False)
        made[name] = {path.name: path.read_bytes() for path in set(Path().iterdir()) - before if path.is_file()}
        for path in made[name]:
            Path(path).unlink()
    return made


def enf_seeds() -> Mapping[str, Files]:
    return built("-o", "m.enf")


def ir_seeds() -> Mapping[str, Files]:
    made = {}
    for level in LEVELS:
        for name, files in built("--target-ir", level, "-o", f"m.{level}").items():
            made[f"{name}.{level}"] = files
    return made


def asm_seeds() -> Mapping[str, Files]:
    made = {}
    for name, files in enf_seeds().items():
        Path("m.enf").write_bytes(files["m.enf"])
        made[name] = {"m.asm": furc("disasm", "m.enf", refusable=False).encode()}
        Path("m.enf").unlink()
    return made


def toml_seeds() -> Mapping[str, Files]:
    target = (HERE.parent.parent / "isa" / "targets").glob("*.toml")
    model = onnx_seeds()["digits"]
    what_if = {"m.toml": b'base = "warboy"\nclock_hz = 1000000000\nsram_bytes_per_slice = 262144\n', **model}
    return {"what-if": what_if, **{path.stem: {"m.toml": path.read_bytes(), **model} for path in target}}


def yaml_seeds() -> Mapping[str, Files]:
    texts = (
        "use_program_loading: true\n",
        "permute_input: [[0, 2, 3, 1]]\n",
        "use_program_loading: false\nsplit_unit: null\n",
    )
    return {str(i): {"m.yaml": text.encode(), **onnx_seeds()["digits"]} for i, text in enumerate(texts)}


def label_seeds() -> Mapping[str, Files]:
    """Every form of labels, of two images."""
    import json

    coco = {
        "images": [{"id": 1, "file_name": "1.png"}, {"id": 2, "file_name": "2.png"}],
        "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 2.5, 2], "area": 5, "iscrowd": 0}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 18, "name": "dog"}],
    }
    forms = {
        "lines.csv": "file,label\n1.png,1\n2.png,dog\n",
        "lines.txt": "1.png 0\n2.png 1\n",
        "coco.json": json.dumps(coco),
        "yolo.txt": "0 0.5 0.5 0.25 0.25\n1 0.1 0.1 0.1 0.1\n",
    }
    return {name: {name: text.encode()} for name, text in forms.items()}


def array_seeds() -> Mapping[str, Files]:
    """A binary, a float model, and data for both in every form."""
    from PIL import Image

    from furc.zoo import digits

    rng = np.random.default_rng(0)
    images = rng.random((1, 1, 8, 8), np.float32)
    both = {**enf_seeds()["digits"], "m.onnx": digits.model().SerializeToString()}
    made: dict[str, Files] = {}
    for dtype in ("<f4", ">f4", "<f8", "|u1"):
        buffer = io.BytesIO()
        np.save(buffer, images.astype(dtype))
        made[f"npy{dtype}"] = {"data.npy": buffer.getvalue(), **both}
    for name, save in (("npz", np.savez), ("compressed", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, images=images)
        made[name] = {"data.npz": buffer.getvalue(), **both}
    for form in ("png", "jpeg", "bmp", "gif", "tiff", "webp", "ppm"):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).save(buffer, form)
        made[form] = {f"data.{form}": buffer.getvalue(), **both}
    return made


# damage


def damaged_model(seeds: Mapping[str, Files], rng: Random) -> Files:
    data = seeds[rng.choice(sorted(seeds))]["m.onnx"]
    if rng.random() < 0.1:
        return {"m.onnx": mutated_bytes(data, rng)}
    model = onnx.ModelProto.FromString(data)
    mutate_proto(model, rng)
    return {"m.onnx": bytes(model.SerializeToString())}


def damaged_ranges(seeds: Mapping[str, Files], rng: Random) -> Files:
    if rng.random() < 0.4:
        return damaged_model(seeds, rng)
    model = onnx.ModelProto.FromString(seeds[rng.choice(sorted(seeds))]["m.onnx"])
    for entry in model.metadata_props:
        entry.value = mutated_text(entry.value, rng)
    return {"m.onnx": bytes(model.SerializeToString())}


def damaged_enf(seeds: Mapping[str, Files], rng: Random) -> Files:
    return {"m.enf": mutated_enf(seeds[rng.choice(sorted(seeds))]["m.enf"], rng)}


def damaged_text(*suffixes: str) -> Callable[[Mapping[str, Files], Random], Files]:
    """Of the one file with such a suffix; now and then as bytes. The other files stay, mostly."""

    def damaged(seeds: Mapping[str, Files], rng: Random) -> Files:
        files = dict(seeds[rng.choice(sorted(seeds))])
        name = next(name for name in files if name.endswith(suffixes))
        if rng.random() < 0.9:
            files[name] = mutated_text(files[name].decode(), rng).encode()
        else:
            files[name] = mutated_bytes(files[name], rng)
        return files

    return damaged


def damaged_tflite(seeds: Mapping[str, Files], rng: Random) -> Files:
    """Most of a small file is offsets: single bytes, which leave the others to lead somewhere, and anything."""
    data = seeds[rng.choice(sorted(seeds))]["m.tflite"]
    if rng.random() < 0.3:
        return {"m.tflite": mutated_bytes(data, rng)}
    content = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        content[rng.randrange(len(content))] = rng.choice((0, 1, 2, 3, 127, 128, 255, rng.randrange(256)))
    return {"m.tflite": bytes(content)}


def damaged_data(seeds: Mapping[str, Files], rng: Random) -> Files:
    files = dict(seeds[rng.choice(sorted(seeds))])
    name = next(name for name in files if name.startswith("data."))
    files[name] = mutated_bytes(files[name], rng)
    return files


# runs


def run_enf() -> None:
    """By the kernels and by the reference: the same numbers."""
    furc("info", "m.enf")
    furc("run", "m.enf", "-o", "a.npz")
    furc("run", "m.enf", "-o", "b.npz", "--reference")
    one, other = _arrays("a.npz"), _arrays("b.npz")
    if one.keys() != other.keys() or not all(np.array_equal(one[k], other[k], equal_nan=_floats(one[k])) for k in one):
        raise Wrong("accelerated and by reference")


def run_onnx() -> None:
    """Compiles, and what compiles runs."""
    furc("compile", "m.onnx", "-o", "m.enf", "--no-cache")
    furc("run", "m.enf", refusable=False)


def run_tflite() -> None:
    """Compiles, and what compiles runs."""
    furc("check", "m.tflite")
    furc("compile", "m.tflite", "-o", "m.enf", "--no-cache")
    furc("run", "m.enf", refusable=False)


def run_float() -> None:
    """Quantizes, and the result compiles or says which operator does not."""
    furc("quantize", "m.onnx", "-o", "q.onnx", "--random", "1", "--method", "MIN_MAX_ASYM")
    furc("compile", "q.onnx", "-o", "m.enf", "--no-cache")


def run_ir() -> None:
    """What parses and compiles runs."""
    [source] = [path for path in Path().iterdir() if path.suffix[1:] in LEVELS]
    furc("opt", str(source), "-o", f"again{source.suffix}")
    furc("compile", str(source), "-o", "m.enf", "--no-cache")
    furc("run", "m.enf")


def run_asm() -> None:
    furc("asm", "m.asm", "-o", "m.bin")
    furc("disasm", "m.bin")


def run_toml() -> None:
    furc("compile", "m.onnx", "--npu-config", "m.toml", "-o", "m.enf", "--no-cache")
    furc("run", "m.enf", "--npu-config", "m.toml")


def run_yaml() -> None:
    furc("compile", "m.onnx", "-C", "m.yaml", "-o", "m.enf", "--no-cache")


def run_labels() -> None:
    from PIL import Image

    from furc.evaluate.annotations import read_annotations
    from furc.evaluate.labels import read_labels
    from isa.errors import FurcError

    [file] = (path for path in Path().iterdir() if path.stem in ("lines", "coco", "yolo"))
    images, texts = Path("images"), Path("texts")
    images.mkdir()
    for number in (1, 2):
        Image.new("RGB", (8, 4)).save(images / f"{number}.png")
    try:
        if file.name == "yolo.txt":
            texts.mkdir()
            file.rename(texts / "1.txt")
            read_annotations(images, texts)
        elif file.suffix == ".json":
            read_annotations(images, file, partial=True)
        else:
            read_labels(images, file, ("cat", "dog"), partial=True)
    except FurcError as error:
        check_message(str(error))
        raise Refused(str(error)) from error


def run_data() -> None:
    [data] = Path().glob("data.*")
    refused = None
    for words in (
        ("run", "m.enf", "--input", f"images={data}"),
        (
            "quantize",
            "m.onnx",
            "-o",
            "q.onnx",
            "--calibration-data",
            str(data),
            "--method",
            "MIN_MAX_ASYM",
            "--channels",
            "gray",
        ),
    ):
        try:
            furc(*words)
        except Refused as error:
            refused = error
    if refused is not None:
        raise refused


def _arrays(path: str) -> dict[str, Any]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def _floats(array: Any) -> bool:
    return bool(array.dtype.kind == "f")


def graph_seeds() -> Mapping[str, Files]:
    return {"nothing": {}}


def no_files(_: Mapping[str, Files], rng: Random) -> Files:
    """A random graph, told by its seed."""
    from graphs import random_model

    model, feeds = random_model(rng.randrange(1 << 62))
    buffer = io.BytesIO()
    np.savez(buffer, **feeds)
    return {"m.onnx": bytes(model.SerializeToString()), "feeds.npz": buffer.getvalue()}


def run_graph() -> None:
    """As ONNX Runtime has it."""
    from graphs import compare

    compare(onnx.load("m.onnx"), _arrays("feeds.npz"))


TARGETS = {
    target.name: target
    for target in (
        Target("enf", enf_seeds, damaged_enf, run_enf),
        Target("onnx", onnx_seeds, damaged_model, run_onnx),
        Target("float", float_seeds, damaged_model, run_float),
        Target("calibrated", calibrated_seeds, damaged_ranges, run_onnx),
        Target("tflite", tflite_seeds, damaged_tflite, run_tflite),
        Target("ir", ir_seeds, damaged_text(*(f".{level}" for level in LEVELS)), run_ir),
        Target("asm", asm_seeds, damaged_text(".asm"), run_asm),
        Target("toml", toml_seeds, damaged_text(".toml"), run_toml),
        Target("yaml", yaml_seeds, damaged_text(".yaml"), run_yaml),
        Target("labels", label_seeds, damaged_text(".csv", ".txt", ".json"), run_labels),
        Target("data", array_seeds, damaged_data, run_data),
        Target("graphs", graph_seeds, no_files, run_graph),
    )
}
