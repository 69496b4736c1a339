"""The vendor's schedule beside the best one."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from furc.compiler import compile
from furc.headroom import headroom
from furc.quantizer import QuantizeOptions, quantize_model
from furc.request import Request
from furc.zoo import digits
from isa import enf
from isa.errors import ConfigError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("headroom") / "digits.onnx"
    samples = [{"images": image[None]} for image in digits.calibration_images()[:8]]
    onnx.save(quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM")), path)
    return path


def test_the_best_schedule_is_no_slower_and_both_are_told(model: Path) -> None:
    found = headroom(model, Request(target_npu="warboy", cache=False))
    assert found.factor >= 1
    assert found.vendor.macs == found.best.macs
    assert found.vendor.npu_ms >= found.vendor.lower_bound.ms > 0
    assert f"{found.factor:.2f} times" in found.table().title
    assert found.to_json()["vendor"] == {
        "npu_ms": round(found.vendor.npu_ms, 6), "dram_bytes": found.vendor.dram_bytes,
        "cycles": round(found.vendor.cycles, 6),
    }  # fmt: skip


def test_a_binary_has_no_headroom(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.enf"
    enf.save(compile(onnx.load(model)), path)
    with pytest.raises(ConfigError, match="a binary has one schedule"):
        headroom(path)
