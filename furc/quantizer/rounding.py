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

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph, Node
from furc.progress import Progress, silent
from furc.quantizer.affine import WEIGHT_HIGH, along, dequantize_array, quantize_array
from furc.quantizer.float_run import Feed, FloatRun
from furc.quantizer.operators import is_quantized
from furc.quantizer.qdq import scales_of, weight_axis
from furc.quantizer.scheme import Scheme

LARGEST_PATCH = 2400  # inputs of one output value; beyond it H and the sweeps grow too large
PATCHES = 512  # taken from one sample
NARROW_PATCH = 64  # up to it a layer is done by default
NARROW_SAMPLES, NARROW_PATCHES = 4, 128  # suffice for it: 32 samples and 512 patches were no better
SWEEPS = 3
DAMPING = 0.01  # of H's mean diagonal, added to it: few samples must not decide about weights they hardly touch
GROUP_BYTES = 512 << 20
WORK = 4e11  # multiply-adds of the sweeps, a minute or two; a clock would make results differ
Float64 = NDArray[np.float64]


def reconstruct_rounding(
    graph: Graph, scheme: Scheme, samples: Sequence[Feed], *, work: float = WORK, progress: Progress | None = None
) -> int:
    """Put weights in `graph` on their grids. How many layers were done; what `work` does not reach stays as it is."""
    layers = _affordable(graph, [n for n in graph.nodes if _is_reconstructable(graph, scheme, n)], work)
    return _reconstruct_all(graph, scheme, layers, samples, PATCHES, progress or silent)


def round_narrow_layers(graph: Graph, scheme: Scheme, samples: Sequence[Feed]) -> int:
    """As `reconstruct_rounding`, of depthwise convolutions and others with kernels whose values are made of few."""
    layers = [n for n in graph.nodes if _is_reconstructable(graph, scheme, n) and _is_narrow(graph, n)]
    taken = samples[:: max(1, len(samples) // NARROW_SAMPLES)][:NARROW_SAMPLES]
    return _reconstruct_all(graph, scheme, layers, taken, NARROW_PATCHES, silent)


def _reconstruct_all(
    graph: Graph, scheme: Scheme, layers: Sequence[Node], samples: Sequence[Feed], most: int, progress: Progress
) -> int:
    """most: patches that are taken from one sample."""
    done = 0
    for group in _groups(graph, layers):
        hessians = _hessians(graph, scheme, group, samples, most)
        for node in group:
            _reconstruct(graph, node, scheme.grids[node.inputs[0]].scale, hessians[node.output])
            done += 1
            progress("reconstruct rounding", done, len(layers))
    graph.remove_dead()
    return done


def _is_narrow(graph: Graph, node: Node) -> bool:
    shape = graph.constants[node.inputs[1]].shape
    return node.op == "Conv" and math.prod(shape[2:]) > 1 and math.prod(shape[1:]) <= NARROW_PATCH


def _is_reconstructable(graph: Graph, scheme: Scheme, node: Node) -> bool:
    weight = graph.constants.get(node.input(1))
    if node.op not in ("Conv", "Gemm") or weight is None or node.inputs[0] not in scheme.grids:
        return False
    if not is_quantized(graph, node):
        return False
    if node.op == "Gemm":
        return not node.get("transA", 0) and _rows(node, weight).shape[1] <= LARGEST_PATCH
    plain = weight.ndim == 4 and node.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    return plain and int(np.prod(weight.shape[1:])) <= LARGEST_PATCH


def _affordable(graph: Graph, layers: Sequence[Node], work: float) -> list[Node]:
    """The layers in order, as far as the work goes."""
    costs = [SWEEPS * (rows := _rows(n, graph.constants[n.inputs[1]])).size * rows.shape[1] for n in layers]
    return [node for node, total in zip(layers, itertools.accumulate(costs), strict=True) if total <= work]


def _rows(node: Node, weight: Array) -> Array:
    """The weights as [outputs, inputs of one output]."""
    if node.op == "Gemm":
        return weight if node.get("transB", 0) else weight.T
    return weight.reshape(weight.shape[0], -1)


def _groups(graph: Graph, layers: Sequence[Node]) -> Iterator[list[Node]]:
    """Layers whose matrices fit in memory together."""
    group, used = list[Node](), 0
    for node in layers:
        size = 4 * int(node.get("group", 1)) * _rows(node, graph.constants[node.inputs[1]]).shape[1] ** 2
        if group and used + size > GROUP_BYTES:
            yield group
            group, used = [], 0
        group.append(node)
        used += size
    if group:
        yield group


def _hessians(
    graph: Graph, scheme: Scheme, layers: Sequence[Node], samples: Sequence[Feed], most: int
) -> dict[str, Float32]:
    """Of each layer, by its output: mean of x x', [groups, inputs, inputs], over patches of its quantized input."""
    sources = list(dict.fromkeys(node.inputs[0] for node in layers))
    run, random = FloatRun(graph.model(), sources, layouts=True), np.random.default_rng(0)
    found: dict[str, Float32] = {}
    for feed in samples:
        values = run(feed)
        for node in layers:
            g = scheme.grids[node.inputs[0]]
            found_at = _patches(node, graph.constants[node.inputs[1]].shape, values[node.inputs[0]], random, most)
            patches = dequantize_array(quantize_array(found_at, g), g)
            step = np.matmul(patches.transpose(0, 2, 1), patches) / np.float32(patches.shape[1] * len(samples))
            found[node.output] = found[node.output] + step if node.output in found else step
    return found


def _patches(node: Node, shape: Sequence[int], x: Float32, random: np.random.Generator, most: int) -> Float32:
    """Some of the inputs that one output value is made from: [groups, patches, inputs]."""
    if node.op == "Gemm":
        return x.reshape(1, x.shape[0], -1)
    _, per_group, kh, kw = shape
    top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
    (sh, sw), (dh, dw) = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    rows, columns = padded.shape[2] - dh * (kh - 1), padded.shape[3] - dw * (kw - 1)
    oh, ow = -(-rows // sh), -(-columns // sw)
    chosen = random.choice(oh * ow, min(most, oh * ow), replace=False)
    y, z = (chosen // ow) * sh, (chosen % ow) * sw
    picked = padded[0][:, (y[:, None] + np.arange(kh) * dh)[:, :, None], (z[:, None] + np.arange(kw) * dw)[:, None, :]]
    groups = int(node.get("group", 1))
    grouped = picked.reshape(groups, per_group, len(chosen), kh * kw).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(grouped.reshape(groups, len(chosen), -1))


def _reconstruct(graph: Graph, node: Node, x_scale: float, hessian: Float32) -> None:
    weight, axis = graph.constants[node.inputs[1]], weight_axis(node)
    scale = scales_of(graph, node, x_scale)
    step = np.broadcast_to(along(scale, weight.ndim, axis), weight.shape)
    rows, steps = _rows(node, weight).astype(np.float64), _rows(node, step).astype(np.float64)[:, :1]
    wanted = (rows / steps).reshape(len(hessian), -1, rows.shape[1])
    integers = best_integers(wanted, hessian.astype(np.float64)).reshape(rows.shape)
    on_grid = (integers * steps).astype(np.float32)
    result = on_grid.reshape(weight.shape) if node.op == "Conv" or node.get("transB", 0) else on_grid.T
    name = node.inputs[1]
    if len(graph.readers(name)) > 1:
        name = graph.add_constant(f"{node.name or node.output}.rounded", result)
        node.inputs[1] = name
        graph.changed()
    graph.constants[name] = np.ascontiguousarray(result)


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
