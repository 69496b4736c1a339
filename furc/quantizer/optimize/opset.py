"""Bring a model to one opset, so that later passes meet one form of each operator."""

from __future__ import annotations

import onnx
from onnx import version_converter

from furc.isolated import isolated
from isa.errors import QuantizeError

OLDEST, NEWEST_QDQ = 13, 20  # QuantizeLinear takes per-channel scales since 13; 21 changes its attributes


def convert_opset(model: onnx.ModelProto, wanted: int = 13) -> onnx.ModelProto:
    """The model at opset `wanted`; a newer model for which ONNX has no way down stays at its own opset, up to 20.

    Raises QuantizeError[OpsetConversion] where there is no way up, or the model is newer than 20.
    """
    have = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), wanted)
    if have == wanted:
        return model
    try:
        data = isolated(lambda: bytes(version_converter.convert_version(model, wanted).SerializeToString()))
        return onnx.ModelProto.FromString(data)
    except Exception as error:  # the C++ converter has no exception type of its own
        if OLDEST <= have <= NEWEST_QDQ:
            return model
        raise QuantizeError(
            "OpsetConversion",
            f"the model is at opset {have} and ONNX cannot convert it to {wanted}: {_first_line(error)}",
            hint=f"export the model with opset_version={wanted}",
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
