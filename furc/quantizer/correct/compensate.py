"""Let each layer take out the errors that reach it, as far as they follow from what it reads.

The rounding of activations is no white noise: where an image is flat, at the border of a letterbox as in the sky, a
whole region is off by the same part of a step, and from layer to layer such errors add up. But from what a layer reads
it can be told how far off it is there, and a layer is linear: a change of its weights and of its bias brings its
results y' nearest to the float model's y,

    min over D, b:  mean |y - y' - D x - b|^2 + lambda |D|^2

with x what the layer reads in the float model. (With what it reads on the grids in its place the error would be less
by the square, and all values would shrink, most the rare and large ones that a detector lives on.) But what is told
from the float model makes noise larger together with what is missing, layer after layer; so the more of its results a
layer misses, the nearer x is to what it reads on the grids, and from a tenth of their power on it is that. All
neighbours in a kernel change alike. Layers are corrected one after the other, each behind corrected ones.

lambda keeps D from what few places say by chance: to directions in which x has ten times its mean power, and the
more so the fewer places there are for each channel.

The bias alone is the bias correction of Nagel et al. (2019), arXiv:1906.04721; that weights can make up for what goes
wrong before them is from Hubara et al. (2021), arXiv:2006.10518.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from furc.onnx.graph import Array, Float32, Graph, Node
from furc.progress import Progress, silent
from furc.quantizer.correct.layer_reads import Reads, look, squares
from furc.quantizer.correct.patches import Patches, from_rows, has_patches, weight_rows
from furc.quantizer.correct.rounding import LARGEST_PATCH, best_rows
from furc.quantizer.correct.staged_run import StagedRun
from furc.quantizer.grids.operators import CORRECTED, is_quantized
from furc.quantizer.grids.scheme import Scheme
from furc.quantizer.observe.float_run import Feed, NodeRun
from furc.quantizer.observe.held import some_of
from furc.quantizer.observe.one_pass import drawn
from furc.quantizer.observe.simulate import rounded_weights

SAMPLES = 8
PLACES = 256  # of one sample
KERNEL_PLACES = 48  # of it for narrow kernels: their patches overlap, and say much of few weights
NARROW_PATCH = 64  # inputs of one value of such a kernel, at most
FEWEST_PLACES, MOST_VALUES = 64, 1 << 17  # of it where patches are large
RIDGE = 10.0  # lambda, in parts of the mean power of what the layer reads, in the float model if that is more
FEW_PLACES = 10.0  # by how much lambda grows with the share of weights in places
LARGER = 16.0  # than the median of the samples, in power, that a sample may be and count in full
FEWEST_CHANNELS = 8  # of which that says anything: a single one is far larger where it is seldom anything but 0
MANY, SKIPPED = 1 << 14, 17  # values of a sample: every so-manieth tells its power; no usual row is a multiple of it
MOST_BYTES = 1 << 30  # of activations that are held at once
Float64 = NDArray[np.float64]


def compensate(
    graph: Graph,
    scheme: Scheme,
    samples: Sequence[Feed],
    *,
    correct: bool = True,
    every: bool = False,
    progress: Progress | None = None,
) -> None:
    """Change weights and biases in `graph`, by a few of the samples. correct: take out errors, else choose roundings
    alone. every: choose the rounding of all weights, not only where patches are more than the weights of a value.

    Raises RunError[CannotRun].
    """
    say = progress or silent
    layers = [node for node in graph.nodes if _is_correctable(graph, scheme, node)]
    if not layers or not samples:
        return
    done = 0
    say("correct layers", done, len(layers))
    run = StagedRun(graph, scheme, layers, some_of(samples, SAMPLES), MOST_BYTES)
    for ready in run.stages():
        for node in ready:
            layer, name = _Layer(graph, scheme, node), node.inputs[0]
            exact, seen = [of[name] for of in run.exact], [of[name] for of in run.seen]
            if has_patches(graph, node):
                layer.fit(exact, seen, correct, every)
            elif correct:
                layer.correct_mean(exact, seen)
            done += 1
            say("correct layers", done, len(layers))
    graph.changed()
    graph.remove_dead()


def _is_correctable(graph: Graph, scheme: Scheme, node: Node) -> bool:
    if node.op not in CORRECTED or not is_quantized(graph, node) or graph.rank(node.output) is None:
        return False
    constant = node.input(1) in graph.constants and (not node.input(2) or _is_by_channel(graph, node.input(2)))
    return constant and node.inputs[0] in scheme.grids


def _is_by_channel(graph: Graph, bias: str) -> bool:
    """Whether a bias is constant, and no other for other rows: that of a Gemm may be a matrix, or a column of one."""
    value = graph.constants.get(bias)
    return value is not None and value.size == (value.shape[-1] if value.ndim else 1)


class _Layer:
    """One layer that changes."""

    def __init__(self, graph: Graph, scheme: Scheme, node: Node) -> None:
        self._graph, self._node = graph, node
        self._x_scale = scheme.grids[node.inputs[0]].scale

    def fit(self, exact: Sequence[Array], seen: Sequence[Array], correct: bool, every: bool) -> None:
        """Weights and bias, by some of what it reads of each sample, in the float model and on the grids. correct,
        every: see `compensate`."""
        patches = Patches(self._node, self._weight.shape)
        rows = self._rows(patches.groups)
        inputs = rows.shape[2]
        narrow = patches.taps > 1 and inputs <= NARROW_PATCH
        few = min(KERNEL_PLACES if narrow else PLACES, max(FEWEST_PLACES, MOST_VALUES // inputs))
        counts, shares = [patches.count(value) for value in exact], _shares(exact)
        at = [drawn(n, round(share * min(few, n)), i) for i, (n, share) in enumerate(zip(counts, shares, strict=True))]
        rounds = (every or inputs <= sum(map(len, at))) and inputs <= LARGEST_PATCH
        # About the mean: the bias takes that. Of values of 1e30 single precision does not hold the errors.
        with np.errstate(over="ignore", invalid="ignore"):
            read = look(patches, rows, exact, seen, at, self._x_scale, moments=rounds, about_mean=correct)
            change = _change(read, patches.taps, self._x_scale) if correct else None
        if not read.is_finite or (change is not None and not np.isfinite(change).all()):
            self._put_on_grid()
            return
        if change is not None:
            self._put(rows + np.repeat(change, patches.taps, axis=2))
        if read.moments is not None:
            self._put(best_rows(self._graph, self._node, self._x_scale, read.moments, read.places))
        self._put_on_grid()
        if correct:
            now = self._rows(patches.groups).astype(np.float64)
            self._add_to_bias(np.matmul(rows.astype(np.float64), read.mean) - np.matmul(now, read.mean_seen))

    def correct_mean(self, exact: Sequence[Array], seen: Sequence[Array]) -> None:
        """The bias alone, by all that it makes of each sample."""
        wanted = self._mean(exact)
        self._put_on_grid()
        self._add_to_bias(wanted - self._mean(seen))

    def _mean(self, read: Sequence[Array]) -> Float64:
        """Of what it makes, by channel (axis 1)."""
        made = map(NodeRun(self._graph, self._node), read)
        return np.asarray(np.mean([y.mean((0, *range(2, y.ndim)), dtype=np.float64) for y in made], axis=0))

    @property
    def _weight(self) -> Float32:
        return self._graph.constants[self._node.inputs[1]]

    def _rows(self, groups: int) -> Float32:
        """Weights as [groups, outputs of one, inputs of one value]."""
        rows = weight_rows(self._node, self._weight)
        return rows.reshape(groups, -1, rows.shape[1])

    def _put(self, rows: Array) -> None:
        self._put_weight(from_rows(self._node, rows.reshape(-1, rows.shape[-1]), self._weight.shape))

    def _put_on_grid(self) -> None:
        """Weights become what their integers stand for; rounding to nearest finds the same integers again."""
        rounded = rounded_weights(self._graph, self._node, self._x_scale)
        if rounded is not None:
            self._put_weight(rounded)

    def _put_weight(self, weight: Float32) -> None:
        self._put_constant(1, "weight", weight)

    def _add_to_bias(self, shift: Float64) -> None:
        old = self._graph.constants.get(self._node.input(2), np.zeros(1, np.float32))
        self._put_constant(2, "bias", (old.reshape(-1) + shift.reshape(-1)).astype(np.float32))

    def _put_constant(self, index: int, what: str, value: Float32) -> None:
        graph, node = self._graph, self._node
        if (name := node.input(index)) and len(graph.readers(name)) == 1:
            graph.constants[name] = value
            return
        name = graph.add_constant(f"{node.name or node.output}.{what}", value)  # the others have errors of their own
        node.inputs = [*node.inputs[:index], name, *node.inputs[index + 1 :]]
        graph.changed()


def _shares(exact: Sequence[Array]) -> Float64:
    """Of its places, that each sample is looked at: one whose values are far larger than those of the others would
    decide alone."""
    if exact[0].ndim < 2 or exact[0].shape[1] < FEWEST_CHANNELS:
        return np.ones(len(exact))
    powers = np.array([_power(value.reshape(-1)) for value in exact])
    most = LARGER * np.median(powers)
    return np.where((powers <= most) | (most == 0), 1.0, most / np.maximum(powers, 1e-300))


def _power(values: Array) -> float:
    """Their mean square; of many, that of every so-manieth."""
    some = values[::SKIPPED] if values.size > MANY else values
    return float(np.square(some, dtype=np.float64).mean())


def _change(read: Reads, taps: int, step: float) -> Float32:
    """What to add to weights, [groups, outputs of one, channels], so that they make what is missing.

    taps: of one channel, which all change alike. step: of the grid of what is read; what moves by less tells nothing.
    """
    x = read.channels / np.float32(step)
    x -= x.mean(2, keepdims=True)
    _, channels, places = x.shape
    power = np.maximum(np.square(read.deviation / step), np.square(x).mean((1, 2)))  # grids may leave next to nothing
    ridge = RIDGE * (1 + FEW_PLACES * channels / places) * power + taps / 12
    return _ridge_regression(x, read.missing, ridge.astype(np.float32)) / np.float32(step)


def _ridge_regression(x: Float32, y: Float32, ridge: Float32) -> Float32:
    """The D, [groups, k, m], of least |y - D x|^2 / n + ridge |D|^2.

    x: [groups, m, n]. y: [groups, k, n]. ridge: [groups], no smaller than x's mean power, so that single precision
    does.
    """
    _, channels, places = x.shape
    along = ridge[:, None, None] * np.float32(places)
    if channels <= places:
        power = squares(x) + along * _eye(channels)
        return np.asarray(np.linalg.solve(power, np.matmul(x, y.transpose(0, 2, 1))).transpose(0, 2, 1))
    across = x.transpose(0, 2, 1)
    apart = np.linalg.solve(squares(across) + along * _eye(places), y.transpose(0, 2, 1))
    return np.asarray(np.matmul(apart.transpose(0, 2, 1), across))


def _eye(size: int) -> Float32:
    return np.eye(size, dtype=np.float32)
