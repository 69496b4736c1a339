"""The networks that the onnx package ships, with seeded weights: quantized, compiled and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import furc
from furc.data.samples import random_samples
from furc.onnx.run import RunModel
from furc.quantizer import QuantizeOptions, quantize_model

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_light_network_goes_all_the_way(name: str) -> None:
    model = onnx.load(FOLDER / f"{name}.onnx")
    samples = random_samples(model, 2)
    plain = QuantizeOptions(method="MIN_MAX_ASYM", equalize=False, bias_correction=False)
    quantized = quantize_model(model, samples, plain)
    got = furc.Session(furc.compile(quantized)).run(samples[0])
    wanted = RunModel(quantized, plain=True)(samples[0])
    for output, array in wanted.items():
        assert got[output].shape == array.shape
        assert np.allclose(got[output], array, atol=0.02 * np.abs(array).max())
