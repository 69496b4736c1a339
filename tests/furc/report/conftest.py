"""The digits model, quantized and compiled once for the tests of reports."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from furc.compiler import Compiled, compile_graph, compile_options
from furc.frontend import load_onnx
from furc.profiling.profile import Profile, summarize
from furc.profiling.recorded import Recorded, record
from furc.quantizer import QuantizeOptions, quantize_model
from furc.zoo import digits


class Made(NamedTuple):
    compiled: Compiled
    recorded: Recorded
    profile: Profile


@pytest.fixture(scope="session", params=["warboy", "warboy-2pe"])
def made(request: pytest.FixtureRequest) -> Made:
    samples = [{"images": image[None]} for image in digits.calibration_images()[:8]]
    model = quantize_model(digits.model(), samples, QuantizeOptions(method="MIN_MAX_ASYM"))
    options = compile_options(request.param, 2, {})
    compiled = compile_graph(load_onnx(model), options)
    recorded = record(compiled.enf, options.npu)
    return Made(compiled, recorded, summarize(recorded))
