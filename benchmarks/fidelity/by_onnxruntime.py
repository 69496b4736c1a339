"""A model quantized by onnxruntime's own tool, as users without furc's quantizer have it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class _OneImage(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """A random image: timing depends on no range, but each tensor gets one of its own."""

    def __init__(self, model: onnx.ModelProto) -> None:
        rng = np.random.default_rng(0)
        shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
        feed = {name: rng.random(shape, dtype=np.float32) for name, shape in shapes.items()}
        self.feeds: Iterator[dict[str, NDArray[np.float32]]] = iter([feed])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.feeds, None)


def quantized_by_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """INT8 QDQ, weights by channel. model: float, with weights that keep activations finite."""
    logging.getLogger().setLevel(logging.ERROR)  # it advises to preprocess, at every model
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            source, made, _OneImage(model), quant_format=QuantFormat.QDQ, activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8, per_channel=True,
        )  # fmt: skip
        return onnx.load(made)
