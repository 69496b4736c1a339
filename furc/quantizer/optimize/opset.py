"""Bring a model to one opset, so that later passes meet one form of each operator."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, version_converter

from furc.isolated import isolated
from furc.quantizer.optimize.norms import spelled_norms
from isa.errors import QuantizeError

OLDEST, NEWEST_QDQ = 13, 20  # QuantizeLinear takes per-channel scales since 13; 21 changes its attributes
FROM_THE_END = 13  # since this opset Softmax and Hardmax take one axis
FILLED_PADS = 11  # since this opset the value that Pad fills with is an input
PLACED_RESIZES = 11  # since this opset Resize says where its elements lie, and by default in the middle of pixels
DILATED_AVERAGES = 19  # since this opset AveragePool has dilations


def convert_opset(model: onnx.ModelProto, wanted: int = 13) -> onnx.ModelProto:
    """The model at opset `wanted`; a newer model for which ONNX has no way down stays at its own opset, or goes down to
    20: from 21 on not even Add has one.

    Raises QuantizeError[OpsetConversion] where there is no way up, or from a newer model to 20.
    """
    have = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), wanted)
    if have == wanted:
        return model
    if have > NEWEST_QDQ:
        model = spelled_norms(model)
    ways = [wanted] if have < wanted or not _has_no_way_down(model, wanted) else []
    if have > NEWEST_QDQ:
        ways.append(NEWEST_QDQ)
    problem: Exception | None = None
    for version in ways:
        try:
            plain = _as_plain(model) if have < FROM_THE_END <= version else model
            made = _converted(_without_idle_fills(plain) if have < FILLED_PADS <= version else plain, version)
            return _placed(made) if have < PLACED_RESIZES <= version else made
        except Exception as error:  # the C++ converter has no exception type of its own
            problem = problem or error
    if OLDEST <= have <= NEWEST_QDQ:
        return model
    raise QuantizeError(
        "OpsetConversion",
        f"the model is at opset {have} and ONNX cannot convert it to {wanted}: {_first_line(problem)}",
        hint=f"export the model with opset_version={wanted}",
    ) from problem


def _converted(model: onnx.ModelProto, version: int) -> onnx.ModelProto:
    data = isolated(lambda: bytes(version_converter.convert_version(model, version).SerializeToString()))
    return onnx.ModelProto.FromString(data)


def _has_no_way_down(model: onnx.ModelProto, version: int) -> bool:
    """What the converter would write at an opset that does not know it: it leaves dilations of an AveragePool as they
    are."""
    return version < DILATED_AVERAGES and any(
        node.op_type == "AveragePool" and attribute.name == "dilations" and any(step != 1 for step in attribute.ints)
        for node in model.graph.node
        for attribute in node.attribute
    )


def _as_plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """With every Hardmax over the last axis of two, which it means at every opset. Before 13 it took all axes from its
    own on together, and the converter forgets that, which it does not of Softmax."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for node in model.graph.node:
        changed.graph.node.extend(_flat_hardmax(node) if node.op_type == "Hardmax" else [node])
    return changed


def _without_idle_fills(model: onnx.ModelProto) -> onnx.ModelProto:
    """No value for a Pad of mode reflect or edge, which uses none: the converter leaves it where it has no place."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Pad" and "value" in given and "mode" in given and given["mode"].s != b"constant":
            node.attribute.remove(given["value"])
    return changed


def _placed(model: onnx.ModelProto) -> onnx.ModelProto:
    """With every Resize and Upsample of an old opset where they were: from the corner on, rounded as `_rounding` says.
    The converter leaves it to the defaults, which are others since 11. Scales that are computed are not known here:
    they are taken for whole ones or those of an enlargement, to the shape of another tensor."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in model.graph.node for attribute in node.attribute if node.op_type == "Constant"
    }  # fmt: skip
    for node in model.graph.node:
        if node.op_type == "Resize":
            scales = constants.get(node.input[2])
            rounding = "floor" if scales is None else _rounding(node, numpy_helper.to_array(scales))
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", rounding))
    return model


def _rounding(node: onnx.NodeProto, scales: NDArray[np.generic]) -> str:
    """Down, or up where an axis shrinks, as ONNX Runtime reads the old opsets. Raises ValueError where it is both."""
    least, most = np.min(scales, initial=1), np.max(scales, initial=1)
    nearest = all(attribute.s == b"nearest" for attribute in node.attribute if attribute.name == "mode")
    if nearest and least < 1 < most:
        raise ValueError(f"Resize '{node.output[0]}' shrinks one axis and stretches another")
    return "ceil" if least < 1 else "floor"


def _flat_hardmax(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    x, y = node.input[0], node.output[0]
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
    return [
        helper.make_node("Shape", [x], [f"{y}/shape"]),
        helper.make_node("Flatten", [x], [f"{y}/flat"], axis=axis),
        helper.make_node("Hardmax", [f"{y}/flat"], [f"{y}/hardmax"], name=node.name, axis=1),
        helper.make_node("Reshape", [f"{y}/hardmax", f"{y}/shape"], [y]),
    ]


def _first_line(error: Exception | None) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
