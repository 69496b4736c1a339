"""Let a model of float16 compute in float32: exporters write halves for graphics cards, the quantizer reads floats.

Every half is a float, so that nothing changes but what rounding to halves took away. Inputs and outputs become float32
as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import GraphProto, TensorProto, numpy_helper

from furc.onnx.soundness import Part, tensors_of, walk

HALF, SINGLE = TensorProto.FLOAT16, TensorProto.FLOAT
NAMING = {"to", "dtype"}  # attributes that name an element type


def in_single(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where it has no halves, else another one."""
    if not _has_halves(tuple(walk(model, ""))):
        return model
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    parts = list(walk(wide, ""))
    for content, _ in parts:
        for info in _infos(content):
            if info.type.tensor_type.elem_type == HALF:
                info.type.tensor_type.elem_type = SINGLE
        for attribute in _naming(content):
            attribute.i = SINGLE
    for tensor, _, _ in tensors_of(parts):
        if tensor.data_type == HALF:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return wide


def _has_halves(parts: Sequence[Part]) -> bool:
    return (
        any(info.type.tensor_type.elem_type == HALF for part in parts for info in _infos(part.content))
        or any(tensor.data_type == HALF for tensor, _, _ in tensors_of(parts))
        or any(_naming(part.content) for part in parts)
    )


def _infos(content: object) -> list[onnx.ValueInfoProto]:
    """What a graph says of tensors; nothing of a node."""
    return [*content.input, *content.output, *content.value_info] if isinstance(content, GraphProto) else []


def _naming(content: object) -> list[onnx.AttributeProto]:
    """The attributes of a node by which its result is of halves."""
    attributes = content.attribute if isinstance(content, onnx.NodeProto) else []
    return [attribute for attribute in attributes if attribute.name in NAMING and attribute.i == HALF]
