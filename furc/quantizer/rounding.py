"""Round weights so that the layer's output stays close, rather than each weight.

For a layer with inputs x, rounding errors e of one output channel cost e' H e, with H = mean of x x' over patches of
the input. From rounding to nearest, coordinate descent sets one weight after the other to the best integer given all
others, for all output channels at once; each step has a closed form. The aim is that of AdaRound (Nagel et al., 2020),
but no gradient is needed. The largest weight of a channel keeps its place at 127, and with it the scale.

The result are float weights that lie on the grid: quantizing them to nearest finds the same integers.

Most is gained for least in layers that make a value of few: there the errors of single weights do not average out,
while neighbouring pixels are so alike that what matters is the error of a kernel's sum, and H is small and needs few
patches.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Graph, Node
from furc.quantizer.affine import WEIGHT_HIGH, along
from furc.quantizer.patches import weight_rows
from furc.quantizer.qdq import scales_of, weight_axis

LARGEST_PATCH = 2400  # inputs of one output value; beyond it H and the sweeps grow too large
NARROW_PATCH = 64  # up to it a layer is done by default
SWEEPS = 3
DAMPING = 0.01  # of H's mean diagonal, added to it: few samples must not decide about weights they hardly touch
Float64 = NDArray[np.float64]


def is_narrow(graph: Graph, node: Node) -> bool:
    """Whether a layer is a convolution with a kernel whose values are made of few."""
    shape = graph.constants[node.inputs[1]].shape
    return node.op == "Conv" and math.prod(shape[2:]) > 1 and math.prod(shape[1:]) <= NARROW_PATCH


def best_rows(graph: Graph, node: Node, x_scale: float, hessian: Float64) -> Float64:
    """A layer's weights put on their grid, [outputs, inputs of one value]. hessian: H, [groups, inputs, inputs]."""
    weight, axis = graph.constants[node.inputs[1]], weight_axis(node)
    scale = scales_of(graph, node, x_scale)
    step = np.broadcast_to(along(scale, weight.ndim, axis), weight.shape)
    rows, steps = weight_rows(node, weight).astype(np.float64), weight_rows(node, step).astype(np.float64)[:, :1]
    integers = best_integers((rows / steps).reshape(len(hessian), -1, rows.shape[1]), hessian)
    return integers.reshape(rows.shape) * steps


def best_integers(wanted: Float64, hessian: Float64) -> Float64:
    """Integers q that make (q - wanted) H (q - wanted)' small, no larger than rounding does.

    wanted: [..., outputs, inputs]. hessian: [..., inputs, inputs].
    """
    inputs = hessian.shape[-1]
    damping = DAMPING * np.trace(hessian, axis1=-2, axis2=-1) / inputs + 1e-30
    h = hessian + np.eye(inputs) * damping[..., None, None]
    q = np.clip(np.rint(wanted), -WEIGHT_HIGH, WEIGHT_HIGH)
    fixed = np.abs(q) == WEIGHT_HIGH
    gradient = (q - wanted) @ h
    for _ in range(SWEEPS):
        moved = False
        for i in range(inputs):
            best = np.rint(q[..., i] - gradient[..., i] / h[..., i, i, None])
            best = np.where(fixed[..., i], q[..., i], np.clip(best, -WEIGHT_HIGH, WEIGHT_HIGH))
            change = best - q[..., i]
            which = np.nonzero(change)
            if which[0].size:
                q[..., i] = best
                gradient[which] += change[which][:, None] * h[..., i, :][which[:-1]]
                moved = True
        if not moved:
            break
    return q
