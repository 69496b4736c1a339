"""Spell out a PRelu with a slope a channel, in operators that the NPU has.

before: y = PRelu(x, slope)
after:  y = Max(x, Conv(x, slope))                                    slopes from 0 to 1; the Conv is depthwise, 1 x 1
        y = Add(Relu(x), Conv(Clip(x, most = 0), slope))              other slopes

Leaves alone: slopes along other axes, and one slope for all channels, which is a LeakyRelu (plain_ops.py).
"""

from __future__ import annotations

import numpy as np

from furc.onnx.graph import Graph, Node, make, rewrite

RANKS = (3, 4, 5)


def prelu(graph: Graph) -> None:
    rewrite(graph, _spell_out)
    graph.remove_dead()


def _spell_out(graph: Graph, node: Node) -> bool:
    slope, extents = graph.constants.get(node.input(1)), graph.extents(node.input(0))
    if node.op != "PRelu" or slope is None or slope.dtype != np.float32 or extents is None or len(extents) not in RANKS:
        return False
    x, channels, stem = node.inputs[0], extents[1], node.name or node.output
    if channels is None or slope.size != channels or ((1,) * (len(extents) - slope.ndim) + slope.shape)[1] != channels:
        return False

    def made(name: str) -> str:
        fresh = graph.fresh(f"{stem}.{name}")
        graph.set_float(fresh, extents)
        return fresh

    axes = len(extents) - 2
    weight = graph.add_constant(f"{stem}.weight", slope.reshape(channels, 1, *[1] * axes))
    scaled = made("scaled")
    if slope.min() >= 0 and slope.max() <= 1:
        new, read, last = list[Node](), x, make("Max", [x, scaled], [node.output], node.name)
    else:
        zero = graph.add_constant(f"{stem}.zero", np.array(0, np.float32))
        above, read = made("above"), made("below")
        new = [make("Relu", [x], [above], f"{stem}/Relu"), make("Clip", [x, "", zero], [read], f"{stem}/Clip")]
        last = make("Add", [above, scaled], [node.output], node.name)
    conv = make("Conv", [read, weight], [scaled], f"{stem}/Conv", group=channels, kernel_shape=[1] * axes)
    graph.replace(node, [*new, conv, last])
    return True
