"""Round weights so that the layer's output stays close, rather than each weight.

For a layer with inputs x, rounding errors e of one output channel cost e' H e, with H = mean of x x' over patches of
the input. Weight after weight is rounded, those first whose inputs are largest, and each takes up what the errors of
those before it do to its input: with H = R' R and R upper triangular, the last column's weight first, the errors cost

    sum over i of (R_ii e_i + sum over j > i of R_ij e_j)^2

and each e_i makes its term as small as an integer can. That is Babai's nearest plane (1986); Frantar et al. (2022),
arXiv:2210.17323, get the same integers for language models from the inverse of H. The largest weight of a channel
keeps its place at 127, and with it the scale.

The result are float weights that lie on the grid: quantizing them to nearest finds the same integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Float32, Graph, Node
from furc.quantizer.correct.patches import weight_rows
from furc.quantizer.grids.affine import WEIGHT_HIGH, along
from furc.quantizer.grids.qdq import scales_of, weight_axis

LARGEST_PATCH = 2400  # inputs of one output value; beyond it H grows too large
BLOCK = 64  # of weights whose errors are brought to all later ones at once
DAMPING = 0.01  # of H's mean diagonal, added to it
FEW_PLACES = 3.0  # by how much of it more for each input a place: H is not what few patches say
Float64 = NDArray[np.float64]


def best_rows(graph: Graph, node: Node, x_scale: float, moments: Float32, places: int) -> Float64:
    """A layer's weights put on their grid, [outputs, inputs of one value]. moments: H, [groups, inputs, inputs], in
    squares of x_scale. places: of how many patches."""
    weight, axis = graph.constants[node.inputs[1]], weight_axis(node)
    scale = scales_of(graph, node, x_scale)
    step = np.broadcast_to(along(scale, weight.ndim, axis), weight.shape)
    rows, steps = weight_rows(node, weight).astype(np.float64), weight_rows(node, step).astype(np.float64)[:, :1]
    inputs = rows.shape[1]
    least = np.eye(inputs, dtype=np.float32) / np.float32(12)  # of a step: what moves by less tells nothing
    wanted = (rows / steps).reshape(len(moments), -1, inputs)
    integers = best_integers(wanted, moments + least, DAMPING + FEW_PLACES * inputs / places)
    return integers.reshape(rows.shape) * steps


def best_integers(wanted: Float64, moments: Float32, damping: float) -> Float64:
    """Integers q that make (q - wanted) H (q - wanted)' small, for each row no larger than rounding does.

    wanted: [groups, outputs, inputs]. moments: H, [groups, inputs, inputs], more than 0 in its diagonal. damping: added
    to that, in parts of its mean.
    """
    inputs = wanted.shape[2]
    diagonal = np.diagonal(moments, axis1=1, axis2=2)
    order = np.argsort(diagonal, axis=1, kind="stable")
    power = diagonal.mean(1)[:, None, None]
    sorted_moments = np.take_along_axis(np.take_along_axis(moments, order[:, :, None], 1), order[:, None, :], 2)
    factor = np.linalg.cholesky(sorted_moments / power + np.float32(damping) * np.eye(inputs, dtype=np.float32))
    real = np.take_along_axis(wanted.transpose(0, 2, 1), order[:, :, None], 1).astype(np.float32)
    nearest = np.clip(np.rint(real), -WEIGHT_HIGH, WEIGHT_HIGH)  # both [groups, inputs, outputs]
    errors = _errors(real, nearest, factor)
    costs = [np.square(np.matmul(factor.transpose(0, 2, 1), of)).sum(1) for of in (errors, real - nearest)]
    integers = np.empty(real.shape)
    found = np.where((costs[0] < costs[1])[:, None], np.rint(real - errors), nearest)
    np.put_along_axis(integers, order[:, :, None], found.astype(np.float64), 1)
    return integers.transpose(0, 2, 1)


def _errors(real: Float32, nearest: Float32, factor: Float32) -> Float32:
    """Of each weight, wanted less rounded, the last input first: all [groups, inputs, outputs]. factor: R',
    [groups, inputs, inputs]."""
    shares = factor / np.diagonal(factor, axis1=1, axis2=2)[:, None]
    stays = np.abs(nearest) == WEIGHT_HIGH
    errors = np.zeros_like(real)
    for end in range(real.shape[1], 0, -BLOCK):
        start = max(0, end - BLOCK)
        aim = real[:, start:end] + np.matmul(shares[:, end:, start:end].transpose(0, 2, 1), errors[:, end:])
        for i in range(end - 1, start - 1, -1):
            here = aim[:, i - start] + np.matmul(shares[:, None, i + 1 : end, i], errors[:, i + 1 : end])[:, 0]
            rounded = np.clip(np.rint(here), -WEIGHT_HIGH, WEIGHT_HIGH)
            errors[:, i] = real[:, i] - np.where(stays[:, i], nearest[:, i], rounded)
    return errors
