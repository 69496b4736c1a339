"""furc eval: what it prints and writes, and what it says where models and labels do not go together."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import onnx
import pytest
from click.testing import Result
from onnx import TensorProto, helper
from PIL import Image

from furc.zoo import digits

Furc = Callable[..., Result]
COUNT = 12


@pytest.fixture
def images() -> Path:
    """Digits as 8 x 8 images, in directories of their classes, named so that a page has something to escape."""
    for index, (image, label) in enumerate(zip(digits.test_images()[:COUNT], digits.test_labels(), strict=False)):
        folder = Path("digits") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype(np.uint8)).save(folder / f"<b>{index}.png")
    return Path("digits")


def test_a_classifier_beside_its_float_model(furc: Furc, models: Path, images: Path) -> None:
    words = ("eval", models / "model.enf", models / "uint8.onnx", "--float", models / "float.onnx", "--data", images)
    result = furc(*words, "--json", "e.json", "--html", "e.html")
    found = json.loads(Path("e.json").read_text())
    lines = result.stdout.splitlines()
    assert lines[0] == f"{COUNT} images; compared with float.onnx"
    assert [line.split()[0] for line in lines[2:] if " top-1 " in line] == ["float.onnx", "model.enf", "uint8.onnx"]
    assert found["eval"] == "classification" and found["images"] == COUNT
    for model in found["models"]:
        assert (
            model["percent"]["top-1"]["low"] <= model["percent"]["top-1"]["value"] <= model["percent"]["top-1"]["high"]
        )
        assert model["percent"]["top-5"]["value"] >= model["percent"]["top-1"]["value"] >= 80
    assert found["models"][1]["sqnr_db"] > 15 and found["models"][1]["agreement_percent"] > 80
    assert found["models"][0]["sqnr_db"] is None
    page = Path("e.html").read_text().rpartition("</script></head>")[2]
    assert "top-1" in page and "<b>0.png" not in page
    for change in found["changes"]:
        assert Path(change["path"]).is_file() and f'<a href="{quote(change["path"])}">' in page
    assert furc(*words).stdout.splitlines()[0] == lines[0]


def test_a_limit_and_labels_in_a_file(furc: Furc, models: Path, images: Path) -> None:
    names = sorted(str(path.relative_to(images)) for path in images.rglob("*.png"))
    Path("l.csv").write_text("".join(f"{name},{int(name.split('/')[0]) + 3}\n" for name in names))
    words = ("eval", models / "model.enf", "--data", images, "--labels", "l.csv")
    assert furc(*words, "--label-offset", -3, "--limit", 5).stdout.startswith("5 images\n")
    result = furc(*words, exits=1)
    assert result.stderr.splitlines()[-2].startswith("error[NoSuchClass]: l.csv: ")
    assert "classes are 0 to 9" in result.stderr and "--label-offset" in result.stderr


def test_a_batch_that_images_do_not_fill_gives_the_same(furc: Furc, models: Path, images: Path) -> None:
    found = []
    for batch in (1, 8):
        furc("eval", models / "int8.onnx", "--float", models / "float.onnx", "--data", images, "-b", batch,
             "--json", "e.json")  # fmt: skip
        found.append(json.loads(Path("e.json").read_text()))
        for model in found[-1]["models"]:
            del model["seconds"]
    assert found[0] == found[1]


def test_options_of_a_compile_are_not_for_binaries(furc: Furc, models: Path, images: Path) -> None:
    words = ("eval", models / "model.enf", "--float", models / "float.onnx", "--data", images)
    assert "is for models" in furc(*words, "--target-npu", "warboy", exits=2).stderr
    furc(*words, "--limit", 1, "--input-shape", "images=1,1,8,8")


def test_directories_that_are_not_all_classes_are_refused(furc: Furc, models: Path, images: Path) -> None:
    for folder in sorted(images.iterdir()):
        folder.rename(folder.with_name(f"class {folder.name}"))
    for folder in sorted(images.iterdir())[3:]:
        folder.rename(folder.with_name(folder.name.removeprefix("class ") + "x"))
    for folder in sorted(images.iterdir())[:2]:
        folder.rename(Path(folder.name))
    result = furc("eval", models / "model.enf", "--data", images, exits=1)
    assert (
        "error[ClassesDiffer]: model.enf: it tells 10 classes apart" in result.stderr
        and "--classes FILE" in result.stderr
    )
    Path("classes.txt").write_text("".join(f"class {n}\n" for n in range(10)))
    result = furc("eval", models / "model.enf", "--data", images, "--classes", "classes.txt", exits=1)
    assert "is none of the 10 classes" in result.stderr


def test_names_go_with_the_labels_that_an_offset_moves(furc: Furc, models: Path, images: Path) -> None:
    """As for a model whose class 0 is the background: it tells one class more apart than the directories do."""
    for folder in sorted(images.iterdir()):
        folder.rename(folder.with_name(f"digit {folder.name}")) if folder.name != "0" else shutil.rmtree(folder)
    Path("nine.txt").write_text("".join(f"digit {n}\n" for n in range(1, 10)))
    words = ("eval", models / "model.enf", "--data", images, "--classes", "nine.txt")
    furc(*words, "--label-offset", 1, "--json", "e.json")
    found = json.loads(Path("e.json").read_text())
    names = {row["name"] for row in found["classes"]}
    assert found["models"][0]["percent"]["top-1"]["value"] >= 80
    assert names == {path.name for path in images.iterdir()}
    refused = furc(*words, exits=1).stderr
    assert "error[ClassesDiffer]: model.enf: it tells 10 classes apart, nine.txt names 9" in refused
    moved = furc(*words, "--label-offset", 2, exits=1).stderr
    assert "nine.txt names 9, and the labels are moved by 2\n  hint: name the 8 that labels have before" in moved
    Path("l.csv").write_text(
        "".join(f"{path.relative_to(images)},{path.parent.name}\n" for path in images.rglob("*.png"))
    )
    assert "nine.txt names 9" in furc(*words, "--labels", "l.csv", exits=1).stderr
    furc(*words, "--labels", "l.csv", "--label-offset", 1, "--json", "e.json")
    assert json.loads(Path("e.json").read_text())["classes"] == found["classes"]


def test_outputs_alone(furc: Furc, models: Path) -> None:
    words = ("eval", models / "model.enf", "--float", models / "float.onnx", "--task", "none", "--data")
    result = furc(*words, models / "images.npz", "--json", "e.json")
    model = json.loads(Path("e.json").read_text())["models"][1]
    assert model["sqnr_db"] > 15 and model["cosine"] > 0.99 and model["percent"] == {}
    assert result.stdout.splitlines()[0] == "16 samples; compared with float.onnx"
    np.savez("x.npz", images=np.zeros((2, 3), np.float32))
    assert "error[BadData]: x.npz: array 'images' is float32[2, 3]" in furc(*words, "x.npz", exits=1).stderr


@pytest.mark.parametrize("option", [("--nms-iou", 0.5), ("--score-threshold", 0.5), ("--score-threshold", 0.001)])
def test_options_of_boxes_need_a_head(furc: Furc, models: Path, images: Path, option: tuple[str, float]) -> None:
    said = furc("eval", models / "model.enf", "--data", images, *option, exits=2).stderr
    assert f"Error: {option[0]} is about boxes: give --decode\n" in said


@pytest.mark.parametrize("option", [("--decode", "yolox"), ("--nms-iou", 0.5), ("--score-threshold", 0.5)])
@pytest.mark.parametrize("task", ["none", "classification"])
def test_options_of_boxes_need_a_task_with_boxes(
    furc: Furc, models: Path, images: Path, option: tuple[str, object], task: str
) -> None:
    said = furc("eval", models / "model.enf", "--data", images, "--task", task, *option, exits=2).stderr
    assert f"Error: {option[0]} is about boxes: leave it out, or --task {task}\n" in said


@pytest.mark.parametrize(
    "option", [("--labels", "l.txt"), ("--classes", "c.txt"), ("--partial",), ("--label-offset", 1)]
)
def test_outputs_compared_alone_have_no_labels(
    furc: Furc, models: Path, images: Path, option: tuple[object, ...]
) -> None:
    said = furc("eval", models / "model.enf", "--data", images, "--task", "none", *option, exits=2).stderr
    about = "the class of a whole image" if option[0] == "--label-offset" else "labels"
    assert f"Error: {option[0]} is about {about}: leave it out, or --task none\n" in said


def test_boxes_have_no_label_of_the_whole_image(furc: Furc, models: Path, images: Path) -> None:
    words = ("eval", models / "model.enf", "--data", images, "--decode", "yolox", "--label-offset", 1)
    assert "Error: --label-offset is about the class of a whole image: leave it out\n" in furc(*words, exits=2).stderr


def test_a_float_model_that_does_not_run_is_named(furc: Furc, models: Path, images: Path) -> None:
    model = onnx.load(models / "float.onnx")
    model.graph.node[0].domain = "elsewhere"
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    onnx.save(model, "other.onnx")
    said = furc("eval", "--float", models / "float.onnx", "--float", "other.onnx", "--data", images, exits=1).stderr
    assert "error[CannotRun]: other.onnx: ONNX Runtime refuses the model" in said


@pytest.mark.parametrize("labels", ["lab", "coco.json"])
def test_objects_need_a_head(furc: Furc, models: Path, images: Path, labels: str) -> None:
    Path("lab").mkdir()
    Path("coco.json").write_text("{}")
    result = furc("eval", models / "model.enf", "--data", images, "--labels", labels, exits=1)
    assert f"error[NoHead]: {labels}: labels of objects" in result.stderr and "hint: --decode yolo" in result.stderr


def test_outputs_that_are_not_comparable_are_told(furc: Furc, models: Path, images: Path) -> None:
    model = onnx.load(models / "float.onnx")
    [y] = model.graph.output
    model.graph.node.append(helper.make_node("Concat", [y.name, y.name], ["twice"], axis=1))
    y.name, y.type.tensor_type.shape.dim[1].dim_value = "twice", 20
    onnx.save(model, "twice.onnx")
    result = furc("eval", models / "model.enf", "--float", "twice.onnx", "--data", images, "--task", "none", exits=1)
    told = "error[OutputsDiffer]: model.enf: its outputs float32[1, 10] are not those of twice.onnx, float32[1, 20]"
    assert told in result.stderr


def test_a_model_that_is_not_quantized_is_a_reference(furc: Furc, models: Path, images: Path) -> None:
    result = furc("eval", models / "float.onnx", "--data", images, exits=1)
    assert f"--float {models / 'float.onnx'}" in result.stderr.splitlines()[-1]
    furc("eval", "--float", models / "float.onnx", "--data", images)
    assert "Missing argument" in furc("eval", "--data", images, exits=2).stderr


def test_numbers_that_are_none_are_named_with_image_and_output(furc: Furc, images: Path) -> None:
    shape = ["n", 1, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Log", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "log.onnx")
    result = furc("eval", "--float", "log.onnx", "--data", images, exits=1)
    assert result.stderr.splitlines()[-2].startswith("error[NotFinite]: log.onnx: output 'y' has values")


@pytest.fixture
def detector() -> Path:
    """Head convolutions of YOLOX that say the same box in every cell, whatever the image."""
    box, objectness, classes = (np.full((1, c, 1, 1), v, np.float32) for c, v in ((4, 0), (1, 5), (2, -5)))
    classes[0, 1] = 5
    nodes, outputs = [], []
    for stride in (8, 16, 32):
        nodes.append(
            helper.make_node("AveragePool", ["x"], [f"p{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2)
        )
        for name, channels in (("box", 4), ("objectness", 1), ("classes", 2)):
            nodes.append(helper.make_node("Conv", [f"p{stride}", f"w{channels}", name], [f"{name}{stride}"]))
            extents = [1, channels, 64 // stride, 64 // stride]
            outputs.append(helper.make_tensor_value_info(f"{name}{stride}", TensorProto.FLOAT, extents))
    weights = [onnx.numpy_helper.from_array(np.zeros((c, 3, 1, 1), np.float32), f"w{c}") for c in (4, 1, 2)]
    named = zip(("box", "objectness", "classes"), (box, objectness, classes), strict=True)
    weights += [onnx.numpy_helper.from_array(values.reshape(-1), name) for name, values in named]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "detector.onnx")
    return Path("detector.onnx")


def test_a_detector(furc: Furc, detector: Path) -> None:
    pytest.importorskip("pycocotools")
    Path("images").mkdir()
    for number in range(3):
        Image.new("RGB", (128, 64)).save(f"images/{number}.png")
    # letterboxed to 64 x 32 at the top left: the cell of stride 32 at 0, 0 has a box of 32 around its corner
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(3)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [{"image_id": n, "category_id": 9, "bbox": [0, 0, 32, 32]} for n in range(3)],
    }
    Path("coco.json").write_text(json.dumps(coco))
    words = ("eval", "--float", detector, "--data", "images", "--decode", "yolox", "--resize", "letterbox")
    result = furc(
        *words,
        "--place",
        "top-left",
        "--labels",
        "coco.json",
        "--float",
        detector,
        "--json",
        "e.json",
        "--html",
        "e.html",
    )
    assert [line.split()[0] for line in result.stdout.splitlines()[2:5]] == ["detector.onnx", "mAP50", "mAP75"]
    found = json.loads(Path("e.json").read_text())
    assert found["classes"][0]["name"] == "dog" and found["classes"][0]["count"] == 3
    assert found["models"][0]["percent"]["mAP"]["value"] > 1
    assert found["models"][1]["difference_points"]["mAP"] == {"value": 0, "low": 0, "high": 0}
    assert "error[NoLabel]" in furc(*words, exits=1).stderr
    coco["categories"] = [{"id": n, "name": str(n)} for n in (5, 9, 10)]
    Path("coco.json").write_text(json.dumps(coco))
    refused = furc(*words, "--labels", "coco.json", exits=1).stderr
    assert "error[ClassesDiffer]: detector.onnx: it tells 2 classes apart, the labels know 3" in refused
    refused = furc(*words, "--labels", "coco.json", "--decode", "yolov5", exits=1).stderr
    assert "error[HeadMismatch]: detector.onnx: outputs [1, 4, 8, 8], " in refused


def test_a_class_that_the_model_lacks_is_named_in_every_image(furc: Furc, detector: Path) -> None:
    """Images run in groups, of which only the first had been looked at; others lowered mAP by a class of 0."""
    pytest.importorskip("pycocotools")
    for folder in ("images", "labels"):
        Path(folder).mkdir()
    for number, label in enumerate((1, 0, 7)):
        Image.new("RGB", (64, 64)).save(f"images/{number}.png")
        Path(f"labels/{number}.txt").write_text(f"{label} 0.5 0.5 0.5 0.5\n")
    words = ("eval", "--float", detector, "--data", "images", "--labels", "labels", "--decode", "yolox")
    assert "error[NoSuchClass]: labels: '2.png' is labelled 7, classes are 0 to 1" in furc(*words, exits=1).stderr


def test_a_map_tells_no_classes(furc: Furc, detector: Path) -> None:
    """Its largest value of all pixels had been the class, and the share of images in which it is at one place."""
    model = onnx.load(detector)
    del model.graph.output[1:]
    onnx.save(model, "map.onnx")
    Path("images/1").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save("images/1/1.png")
    words = ("eval", "--float", "map.onnx", "--float", "map.onnx", "--data", "images")
    said = furc(*words, exits=1).stderr
    assert "error[NoScores]: map.onnx: its output [1, 4, 8, 8] is no score for each class" in said
    furc(*words, "--task", "none", "--json", "e.json")
    other = json.loads(Path("e.json").read_text())["models"][1]
    assert other["sqnr_db"] == 120 and other["agreement_percent"] is None


@pytest.mark.parametrize("crowd", [0, 1])
def test_images_without_any_object_are_no_data(furc: Furc, detector: Path, crowd: int) -> None:
    """Their mAP is the mean of nothing; --json had ended in an internal error when all was run."""
    pytest.importorskip("pycocotools")
    Path("images").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 64)).save(f"images/{number}.png")
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 2, "bbox": [0, 0, 32, 32], "iscrowd": crowd}],
    }
    Path("coco.json").write_text(json.dumps(coco))
    words = ("eval", "--float", detector, "--float", detector, "--data", "images", "--labels", "coco.json",
             "--decode", "yolox", "--json", "e.json")  # fmt: skip
    said = furc(*words, *(() if crowd else ("--limit", 1)), exits=1).stderr
    assert f"error[NoLabel]: coco.json: no object in any of {1 + crowd} image" in said


def test_without_pycocotools_it_is_named_before_anything_runs(
    furc: Furc, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    Path("images").mkdir()
    Image.new("RGB", (64, 64)).save("images/1.png")
    Path("labels").mkdir()
    Path("labels/1.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    words = ("eval", "--float", detector, "--data", "images", "--labels", "labels", "--decode", "yolox")
    result = furc(*words, exits=1)
    assert result.stderr.splitlines()[-2:] == [
        "error[MissingPackage]: mAP needs pycocotools, which is not installed", "  hint: pip install 'furc[eval]'",
    ]  # fmt: skip
