"""Spell out norms that ONNX has since opset 21 only, in operators that older opsets have, too.

before: y = GroupNormalization(x [n, c, ...], scale [c], bias [c], num_groups = g)
after:  y = InstanceNormalization(x as [n, g, -1]) as [n, c, -1] * scale + bias, as x

before: y = RMSNormalization(x, scale, axis = -k)
after:  y = x / Sqrt(ReduceMean(x * x, the last k axes) + epsilon) * scale

As exporters write them for older opsets. ONNX's converter has no way down for either. Leaves alone: an axis that is not
counted from the end, and norms inside of branches and loops.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper, numpy_helper

NORMS = ("GroupNormalization", "RMSNormalization")
EPSILON = 1e-5  # where a norm gives none


def spelled_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where it has no such norm. Of opset 21 or more: before, GroupNormalization is another one."""
    if not any(node.op_type in NORMS and node.domain in ("", "ai.onnx") for node in model.graph.node):
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.node[:]
    for node in model.graph.node:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        own = node.domain in ("", "ai.onnx")
        if own and node.op_type == "GroupNormalization":
            changed.graph.node.extend(_group(changed.graph, node, given))
        elif own and node.op_type == "RMSNormalization" and int(given.get("axis", -1)) < 0:
            changed.graph.node.extend(_root_mean_square(changed.graph, node, given))
        else:
            changed.graph.node.append(node)
    return changed


def _group(graph: onnx.GraphProto, node: onnx.NodeProto, given: Mapping[str, object]) -> Iterator[onnx.NodeProto]:
    (x, scale, bias), y, groups = node.input, node.output[0], int(str(given["num_groups"]))
    epsilon = given.get("epsilon", EPSILON)
    ones, zeros = (_constant(graph, f"{y}/{of}", np.full(groups, of, np.float32)) for of in (1, 0))
    by_group = _constant(graph, f"{y}/by_group", np.array([0, groups, -1], np.int64))
    images, rest, second = (_constant(graph, f"{y}/axis{at}", np.array([at], np.int64)) for at in (0, -1, 1))
    yield helper.make_node("Shape", [x], [f"{y}/shape"])
    yield helper.make_node("Reshape", [x, by_group], [f"{y}/groups"])
    yield helper.make_node(
        "InstanceNormalization", [f"{y}/groups", ones, zeros], [f"{y}/normal"], name=node.name, epsilon=epsilon
    )
    yield helper.make_node("Shape", [scale], [f"{y}/channels"])
    yield helper.make_node("Concat", [images, f"{y}/channels", rest], [f"{y}/by_channel"], axis=0)
    yield helper.make_node("Reshape", [f"{y}/normal", f"{y}/by_channel"], [f"{y}/rows"])
    yield helper.make_node("Unsqueeze", [scale, second], [f"{y}/scale"])
    yield helper.make_node("Unsqueeze", [bias, second], [f"{y}/bias"])
    yield helper.make_node("Mul", [f"{y}/rows", f"{y}/scale"], [f"{y}/scaled"])
    yield helper.make_node("Add", [f"{y}/scaled", f"{y}/bias"], [f"{y}/moved"])
    yield helper.make_node("Reshape", [f"{y}/moved", f"{y}/shape"], [y])


def _root_mean_square(
    graph: onnx.GraphProto, node: onnx.NodeProto, given: Mapping[str, object]
) -> Iterator[onnx.NodeProto]:
    (x, scale), y, axis = node.input, node.output[0], int(str(given.get("axis", -1)))
    epsilon = _constant(graph, f"{y}/epsilon", np.array(given.get("epsilon", EPSILON), np.float32))
    axes = _constant(graph, f"{y}/axes", np.arange(axis, 0, dtype=np.int64))
    yield helper.make_node("Mul", [x, x], [f"{y}/square"])
    yield helper.make_node("ReduceMean", [f"{y}/square", axes], [f"{y}/mean"], keepdims=1)
    yield helper.make_node("Add", [f"{y}/mean", epsilon], [f"{y}/above"])
    yield helper.make_node("Sqrt", [f"{y}/above"], [f"{y}/root"])
    yield helper.make_node("Div", [x, f"{y}/root"], [f"{y}/normal"], name=node.name)
    yield helper.make_node("Mul", [f"{y}/normal", scale], [y])


def _constant(graph: onnx.GraphProto, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    graph.initializer.append(numpy_helper.from_array(array, name))
    return name
