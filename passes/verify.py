"""Prove passes while compiling: execute the graph after each pass and compare with what it gave before, bit for bit.

The graph is executed on the images of a batch: the given one, and that image shifted, so that images which change
places are seen. Before `set-batch` each image runs alone, after it all run at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from isa.errors import Loc, VerifyError
from passes.execute import outputs
from passes.ir.graph import Graph
from passes.ir.op import Array
from passes.manager import IR, Listener
from passes.options import CompileOptions


class VerifyingListener(Listener):
    """Raises VerifyError PassChangedResult where a pass changes what the graph computes.

    inputs: an array for each input of the graph that compilation starts from. checked: the passes that were proved.
    """

    def __init__(self, inputs: Mapping[str, Array], options: CompileOptions) -> None:
        self._inputs, self._options = dict(inputs), options
        self.checked: list[str] = []
        self._images: list[dict[str, Array]] = []
        self._expected: list[list[Array]] = []  # by image, outputs in order

    def take(self, graph: Graph) -> None:
        """The graph that compilation starts from: what it gives is what every later one must give."""
        alone = self._options.batch if graph.batch == 1 else 1  # otherwise the batch is in the model already
        self._images = [_shifted(self._inputs, index) for index in range(alone)]
        self._expected = [outputs(graph, image, self._options.npu) for image in self._images]

    def passed(self, name: str, result: IR, seconds: float) -> None:
        """Execute and compare. Raises VerifyError. Programs are proved by running them."""
        if isinstance(result, Graph):
            self._compare(name, result)

    def _compare(self, name: str, graph: Graph) -> None:
        assert self._expected, "take() comes before the first pass"
        shapes = {value.name: value.type.shape for value in graph.inputs}
        got = outputs(graph, _batched(self._images, shapes), self._options.npu)
        for index, value in enumerate(graph.outputs):
            wanted = [image[index] for image in self._expected]
            _compare(name, graph, value.name, got[index], _stacked(wanted, got[index].shape))
        self.checked.append(name)


def _shifted(inputs: Mapping[str, Array], by: int) -> dict[str, Array]:
    """Another image: the same elements, moved on by a few."""
    return {name: np.roll(array, by) for name, array in inputs.items()}


def _batched(images: Sequence[Mapping[str, Array]], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Inputs of a run: all images stacked where the graph has their batch, else the first."""
    return {name: _stacked([image[name] for image in images], shape) for name, shape in shapes.items()}


def _stacked(parts: Sequence[Array], shape: tuple[int, ...]) -> Array:
    """Parts joined along the axis in which `shape` is longer than one of them; the first part where none is.

    Batch is the slowest of what its axis holds, so joining is concatenation.
    """
    first = parts[0]
    grown = [axis for axis in range(first.ndim) if axis < len(shape) and shape[axis] != first.shape[axis]]
    return np.concatenate(list(parts), grown[0]) if grown else first


def _compare(name: str, graph: Graph, output: str, got: Array, wanted: Array) -> None:
    at = Loc(graph.source)
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        what = f"{got.dtype}{list(got.shape)} where {wanted.dtype}{list(wanted.shape)} was"
    else:
        differ = (got != wanted) & ((got == got) | (wanted == wanted))  # what is no number on both sides is the same
        if not differ.any():
            return
        worst = np.max(np.abs(got[differ].astype(np.float64) - wanted[differ].astype(np.float64)))
        what = f"{int(np.count_nonzero(differ))} of {got.size} elements differ, by up to {worst:g}"
    raise VerifyError(
        "PassChangedResult",
        f"{name} changed output '{output}': {what}",
        at=at,
        hint="please report this: furc is wrong",
    )
