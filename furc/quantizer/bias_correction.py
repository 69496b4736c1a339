"""Take the mean error of each convolution out of its bias.

Rounding weights and clipping inputs shifts the mean of every output channel. A layer is linear, so its mean result
follows from the means of its input's channels: those of the float model, and those of what the layer will read, with
quantized weights. The difference is added to the bias. What it will read is the float model's results of the layers
before, put on their grids and through quantized activations: that they are the float model's is right because those
layers are corrected too, and that activations are quantized is needed because rounding before a bent function shifts
the mean behind it. All this is computed on the places that the pass over the data saw, of every sample.

At its edge a map is taken to be like its inside: there a kernel reads zeros, so that each of its taps counts for the
share of places at which it reads the map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph, Node
from furc.quantizer.affine import HIGH, LOW, Grid
from furc.quantizer.float_run import run_node
from furc.quantizer.operators import CORRECTED, LINEAR, is_move, is_quantized
from furc.quantizer.pointwise import UNARY
from furc.quantizer.scheme import Scheme
from furc.quantizer.sensitivity import Channels
from furc.quantizer.simulate import rounded_weights

PLACES = 2048  # of a tensor: its mean rounding error is then known to a hundredth of a step
Float64 = NDArray[np.float64]

JOINED: Mapping[str, Callable[[Sequence[Float32]], Float32]] = {
    "Add": lambda parts: parts[0] + parts[1],
    "Sub": lambda parts: parts[0] - parts[1],
    "Mul": lambda parts: parts[0] * parts[1],
    "Concat": lambda parts: np.concatenate(parts, axis=0),
}


def correct_biases(graph: Graph, scheme: Scheme, tensors: Mapping[str, Channels]) -> None:
    """Change the biases in `graph`. tensors: what was seen of them; a layer whose input is not among them stays."""
    values = {name: of.seen.joined(PLACES) for name, of in tensors.items()}
    layers = [n for n in graph.nodes if n.inputs and n.inputs[0] in values and _is_correctable(graph, scheme, n)]
    roundings = _Roundings(graph, scheme, values)
    shifts = [_shift(graph, scheme, node, values[node.inputs[0]], roundings(node.inputs[0])) for node in layers]
    for node, shift in zip(layers, shifts, strict=True):
        if shift is not None:
            _add_to_bias(graph, node, shift)
    graph.changed()
    graph.remove_dead()


def _is_correctable(graph: Graph, scheme: Scheme, node: Node) -> bool:
    if node.op not in CORRECTED or not is_quantized(graph, node) or graph.rank(node.output) is None:
        return False
    if node.inputs[0] not in scheme.grids:
        return False
    constant = node.input(1) in graph.constants and (not node.input(2) or node.input(2) in graph.constants)
    return constant and (node.op != "Gemm" or not node.get("transA", 0))


def _shift(graph: Graph, scheme: Scheme, node: Node, exact: Float32, seen: Float32) -> Float64 | None:
    """What a layer makes more in the float model than on its grids, in the mean: [output channels]."""
    rounded = rounded_weights(graph, node, scheme.grids[node.inputs[0]].scale)
    if rounded is None:
        return None
    if len(exact) != _inputs(node, rounded):  # how many channels its input has was open, and it was seen as one
        return None
    share = coverage(graph, node)
    weight = graph.constants[node.inputs[1]]
    wanted = mean_response(node, weight, share, exact.mean(1, dtype=np.float64))
    return wanted - mean_response(node, rounded, share, seen.mean(1, dtype=np.float64))


def _inputs(node: Node, weight: Array) -> int:
    """How many input channels a layer with this weight has."""
    if node.op == "Gemm":
        return int(weight.shape[1 if node.get("transB", 0) else 0])
    return int(weight.shape[0] if node.op == "ConvTranspose" else weight.shape[1] * int(node.get("group", 1)))


def mean_response(node: Node, weight: Array, share: Float64, mean: Float64) -> Float64:
    """The mean of a layer's results where the means of its input's channels are these, without the bias.

    mean: [input channels]. share: see `coverage`.
    """
    if node.op == "Gemm":
        turned = weight if node.get("transB", 0) else weight.T
        return np.asarray(float(node.get("alpha", 1.0)) * (turned.astype(np.float64) @ mean), np.float64)
    axes = tuple(range(2, weight.ndim))
    taps = (weight * share).sum(axes, dtype=np.float64)  # [outputs, inputs a group]; ConvTranspose the other way
    group = int(node.get("group", 1))
    if node.op == "ConvTranspose":
        apart = taps.reshape(group, len(taps) // group, -1)
        return np.asarray(np.einsum("gio,gi->go", apart, mean.reshape(group, -1)).reshape(-1), np.float64)
    apart = taps.reshape(group, len(taps) // group, -1)
    return np.asarray(np.einsum("goi,gi->go", apart, mean.reshape(group, -1)).reshape(-1), np.float64)


def coverage(graph: Graph, node: Node) -> Float64:
    """By kernel tap, at which share of the output's places it reads the map and no padding: [*kernel]. 1 along an axis
    whose extent is open."""
    if node.op == "Gemm":
        return np.ones(())
    have, out = graph.extents(node.inputs[0]), graph.extents(node.output)
    kernel = graph.constants[node.inputs[1]].shape[2:]
    ones = np.ones(len(kernel), int).tolist()
    strides, dilations = node.get("strides", ones), node.get("dilations", ones)
    wide, narrow = (out, have) if node.op == "ConvTranspose" else (have, out)
    share: Float64 = np.ones(())
    for axis, size in enumerate(kernel):
        read = np.ones(size)
        ends = [of[2 + axis] if of is not None else None for of in (wide, narrow, out)]
        if None not in ends:
            wider, narrower, places = (end or 0 for end in ends)
            reach = dilations[axis] * (size - 1) + 1
            low = _pad_before(node, axis, len(kernel), (narrower - 1) * strides[axis] + reach - wider)
            at = np.arange(narrower)[:, None] * strides[axis] + np.arange(size) * dilations[axis] - low
            read = ((at >= 0) & (at < wider)).sum(0) / max(places, 1)
        share = np.multiply.outer(share, read)
    return share


def _pad_before(node: Node, axis: int, rank: int, missing: int) -> int:
    """Zeros before a map along an axis, also where auto_pad says them. missing: what kernels need beyond the map."""
    mode = node.get("auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return int(node.get("pads", [0] * 2 * rank)[axis]) if mode == "NOTSET" else 0
    total = max(0, missing)
    return total // 2 if mode == "SAME_UPPER" else total - total // 2


class _Roundings:
    """What later layers read of a tensor, at the places that were seen: [channels, n]."""

    def __init__(self, graph: Graph, scheme: Scheme, values: Mapping[str, Float32]) -> None:
        self._graph, self._scheme, self._values = graph, scheme, values
        self._found: dict[str, Float32 | None] = {}

    def __call__(self, name: str) -> Float32:
        found = self._of(name)
        assert found is not None, name
        return found

    def _of(self, name: str) -> Float32 | None:
        """None where neither the tensor was seen nor all that it is computed from."""
        waiting = [name]
        while waiting:  # a chain of residual blocks is deeper than Python's stack
            last = waiting[-1]
            missing = [source for source in self._sources(last) if source not in self._found]
            if last not in self._found and missing:
                waiting += missing
                continue
            waiting.pop()
            if last not in self._found:
                self._found[last] = self._rounded(last)
        return self._found[name]

    def _sources(self, name: str) -> list[str]:
        """What a tensor is computed from place by place; nothing where it is not."""
        node = self._graph.producer(name)
        if node is None or node.op in LINEAR or self._graph.stays_float(node):
            return []
        if node.op in UNARY and all(not n or n in self._graph.constants for n in node.inputs[1:]):
            return node.inputs[:1]
        alone = node.op != "Concat" or int(node.get("axis", 0)) == 1
        joined = node.op in JOINED and alone and not any(n in self._graph.constants for n in node.inputs)
        return [*node.inputs] if joined else []

    def _rounded(self, name: str) -> Float32 | None:
        known, node = self._values.get(name), self._graph.producer(name)
        parts = [part for source in self._sources(name) if (part := self._found[source]) is not None]
        value = known
        if node is not None and parts and len(parts) == len(self._sources(name)):
            made = _computed(self._graph, node, parts)
            value = made if made is not None and (known is None or made.shape == known.shape) else known
        moved = node is not None and is_move(self._graph, node) and name in self._scheme.grids
        if value is None or not (moved or self._scheme.leader.get(name) == name):
            return value
        return _on_grid(value, self._scheme.grids[name])


def _computed(graph: Graph, node: Node, parts: Sequence[Float32]) -> Float32 | None:
    if node.op in UNARY:
        return np.asarray(run_node(graph, node, parts[0]), np.float32)
    same = len({part.shape[1] for part in parts}) == 1 and (node.op == "Concat" or len({p.shape for p in parts}) == 1)
    return JOINED[node.op](parts) if same else None


def _on_grid(values: Float32, grid: Grid) -> Float32:
    stored = values * np.float32(1 / grid.scale)
    np.rint(stored, out=stored)
    np.clip(stored, np.float32(LOW - grid.zero), np.float32(HIGH - grid.zero), out=stored)
    stored *= np.float32(grid.scale)
    return stored


def _add_to_bias(graph: Graph, node: Node, shift: Float64) -> None:
    old = graph.constants.get(node.input(2), np.zeros(1, np.float32))
    corrected = (old.astype(np.float64) + shift).astype(np.float32)
    node.inputs = [*node.inputs[:2], graph.add_constant(f"{node.name or node.output}.bias", corrected)]
