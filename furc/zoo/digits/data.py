"""Read the network and the images that are part of the package.

Source of the images: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, CC BY 4.0. Each pixel counts the inked dots, 0 to 16, in a 4x4 cell of the scan.
"""

from __future__ import annotations

import io
from importlib import resources

import numpy as np
import onnx
from numpy.typing import NDArray

MODEL_FILE = "digits.onnx"
IMAGES_FILE = "digits_test.npz"
FULL_INK = 16


def model() -> onnx.ModelProto:
    """The float32 network: input "images" [1, 1, 8, 8], one output of ten logits [1, 10]."""
    return onnx.load_model_from_string(_read(MODEL_FILE))


def calibration_images() -> NDArray[np.float32]:
    """128 of the images it was trained on: [n, 1, 8, 8], 0 to 1."""
    return as_input(_images("calibration"))


def test_images() -> NDArray[np.float32]:
    """360 images it has never seen: [n, 1, 8, 8], 0 to 1."""
    return as_input(_images("test"))


def test_labels() -> NDArray[np.int64]:
    """The digit on each test image: [n], 0 to 9."""
    return _images("labels").astype(np.int64)


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inked dots [n, 8, 8] as the network takes them: [n, 1, 8, 8], 0 to 1."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(FULL_INK)


def _images(key: str) -> NDArray[np.uint8]:
    with np.load(io.BytesIO(_read(IMAGES_FILE)), allow_pickle=False) as archive:
        images: NDArray[np.uint8] = archive[key]
    return images


def _read(file: str) -> bytes:
    return resources.files("furc.zoo.digits").joinpath(file).read_bytes()
