"""The digits model, quantized once, for sweeps; the cache of the user is not theirs to touch."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "digits.onnx"
    samples = [image[None] for image in digits.calibration_images()[:2]]
    onnx.save(quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM")), path)
    return path


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
