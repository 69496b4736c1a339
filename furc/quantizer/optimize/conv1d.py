"""Turn a Conv over [n, c, w] into one over [n, c, 1, w], which is what the NPU computes.

before: y = Conv1d(x, w)      after: y = Squeeze(Conv2d(Unsqueeze(x), w[:, :, None]))
"""

from __future__ import annotations

import numpy as np

from furc.onnx.graph import Graph, Node, make, rewrite

AXIS = 2


def widen_conv1d(graph: Graph) -> None:
    rewrite(graph, _widen)
    graph.remove_dead()


def _widen(graph: Graph, node: Node) -> bool:
    weight = graph.constants.get(node.input(1))
    if (
        node.op not in ("Conv", "ConvTranspose")
        or weight is None
        or weight.ndim != 3
        or "output_shape" in node.attributes
    ):
        return False
    if node.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return False
    stem = node.name or node.output
    axes = graph.add_constant(f"{stem}.axes", np.array([AXIS], np.int64))
    wide, result = graph.fresh(f"{stem}.wide"), graph.fresh(f"{stem}.wide_result")
    _set_shape(graph, wide, graph.shape(node.inputs[0]))
    _set_shape(graph, result, graph.shape(node.output))
    conv = Node(node.op, [wide, graph.add_constant(f"{stem}.weight", np.expand_dims(weight, AXIS)), *node.inputs[2:]],
                [result], node.name, attributes=dict(node.attributes))  # fmt: skip
    _widen_attributes(conv, int(weight.shape[2]))
    new = [
        make("Unsqueeze", [node.inputs[0], axes], [wide], f"{stem}/Unsqueeze"),
        conv,
        make("Squeeze", [result, axes], [node.output], f"{stem}/Squeeze"),
    ]
    graph.replace(node, new)
    return True


def _widen_attributes(conv: Node, width: int) -> None:
    conv.set(kernel_shape=[1, *conv.get("kernel_shape", [width])])
    for name, neutral in (("strides", 1), ("dilations", 1), ("output_padding", 0)):
        if name in conv.attributes:
            conv.set(**{name: [neutral, *conv.get(name)]})
    if "pads" in conv.attributes:
        left, right = conv.get("pads")
        conv.set(pads=[0, left, 0, right])


def _set_shape(graph: Graph, name: str, flat: tuple[int, ...] | None) -> None:
    graph.set_float(name, None if flat is None else [*flat[:AXIS], 1, *flat[AXIS:]])
