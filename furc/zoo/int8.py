"""Networks in INT8 without data: what they compute is noise, what they cost is not."""

from __future__ import annotations

import numpy as np
import onnx

from furc.quantizer import optimize_model, quantize


def in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """A float model as QDQ ONNX with made-up ranges: timing and code size depend on the graph alone. Every tensor has a
    range of its own, as calibration gives them, so that the parts of concatenations are requantized. Same model, same
    ranges. Raises QuantizeError."""
    model = optimize_model(model)
    names = [i.name for i in model.graph.input] + [output for node in model.graph.node for output in node.output]
    widths = np.random.default_rng(0).uniform(1, 4, len(names))
    ranges = {name: (-float(width), float(width)) for name, width in zip(names, widths, strict=True)}
    return onnx.load_from_string(quantize(model, ranges))
