"""The entry points of the frontend."""

from __future__ import annotations

from collections.abc import Mapping

from furc.frontend.onnx.importer import import_model
from furc.frontend.onnx.model import read_model
from furc.onnx.files import Source
from passes.ir.graph import Graph


def load_onnx(
    path_or_model: Source,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    source: str = "",
    batch: int | None = None,
) -> Graph:
    """The dfg graph of a quantized ONNX model: a file, its bytes, or a loaded model.

    input_shapes: what dynamic axes become. batch: what an open first axis becomes. source: the name messages use, by
    default the path.
    Raises SourceError where the model cannot be read, LowerError where it does not fit the NPU.
    """
    return import_model(read_model(path_or_model, input_shapes or {}, source, batch))
