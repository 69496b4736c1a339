"""The files in the package: small, consistent with each other and with scikit-learn's, and accurate."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from furc.zoo import digits
from furc.zoo.digits import demo, train
from furc.zoo.digits.data import as_input


def test_network_reads_nearly_every_unseen_digit() -> None:
    session = onnxruntime.InferenceSession(digits.model().SerializeToString(), providers=["CPUExecutionProvider"])
    logits = [session.run(None, {"images": image[np.newaxis]})[0] for image in digits.test_images()]
    read = np.concatenate(logits).argmax(axis=1)
    assert np.mean(read == digits.test_labels()) >= 0.97


def test_model_is_static_float32_opset_13() -> None:
    model = digits.model()
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    (image,), (logits,) = model.graph.input, model.graph.output
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 1, 8, 8]
    assert [d.dim_value for d in logits.type.tensor_type.shape.dim] == [1, 10]
    assert {node.op_type for node in model.graph.node} >= {"Conv", "Relu", "MaxPool", "Add", "Gemm"}


def test_images_are_scaled_to_one() -> None:
    for images, count in ((digits.calibration_images(), 128), (digits.test_images(), 360)):
        assert images.shape == (count, 1, 8, 8)
        assert images.dtype == np.float32
        assert (images.min(), images.max()) == (0, 1)


def test_labels_are_digits_and_all_occur() -> None:
    labels = digits.test_labels()
    assert labels.shape == (360,)
    assert labels.dtype == np.int64
    assert set(labels) == set(range(10))


def test_images_are_the_split_that_training_uses() -> None:
    split = train.split()
    assert np.array_equal(digits.calibration_images(), as_input(split.train_images[:128]))
    assert np.array_equal(digits.test_images(), as_input(split.test_images))
    assert np.array_equal(digits.test_labels(), split.test_labels)


def test_both_files_are_under_500_kb() -> None:
    files = [resources.files("furc.zoo.digits").joinpath(name) for name in ("digits.onnx", "digits_test.npz")]
    assert sum(len(file.read_bytes()) for file in files) < 500_000


def test_the_demo_names_furc_as_it_can_be_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(demo, "which", lambda name: None)  # `make demo`, nothing activated
    assert demo.typed() == ".venv/bin/furc"
    monkeypatch.setattr(demo, "which", lambda name: f"/usr/bin/{name}")
    assert demo.typed() == "furc"
