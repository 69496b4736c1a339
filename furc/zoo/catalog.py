"""The networks by name: list, describe, build."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import onnx

from furc.onnx.builder import GraphBuilder, Shape
from furc.zoo import fcn, mobilenet, resnet, ssd, yolov5, yolov8
from furc.zoo.architecture import Architecture
from furc.zoo.weights import he_normal
from isa.errors import SourceError

_FAMILIES = (resnet, mobilenet, ssd, yolov5, yolov8, fcn)
_CATALOG: dict[str, Architecture] = {name: a for family in _FAMILIES for name, a in family.ARCHITECTURES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """input_shape: [n, c, h, w]. macs: multiply-accumulates of its Convs and Gemms, half the FLOPs that papers give.

    params: weights and biases, BatchNorm folded. source: the paper or repository. note: where the graph ends.
    """

    name: str
    input_shape: Shape
    macs: int
    params: int
    source: str
    note: str


def names() -> tuple[str, ...]:
    return tuple(_CATALOG)


def describe(name: str) -> ModelCard:
    """The card of a network at its usual input size. Raises SourceError for an unknown name."""
    network = _find(name)
    graph = GraphBuilder(name)
    image = graph.input("images", _input_shape(name, network, None))
    network.draw(graph, image)
    return ModelCard(
        name=name,
        input_shape=image.shape,
        macs=graph.macs,
        params=graph.params,
        source=network.source,
        note=network.note,
    )


def build(name: str, *, input_size: int | None = None, seed: int = 0) -> onnx.ModelProto:
    """A float32 model, opset 13, one static input "images" [1, 3, size, size]. Same arguments, same bytes.

    input_size: rows and columns, by default the usual ones.
    seed: 0 or more. Raises SourceError for an unknown name, a size that the network cannot take, or another seed.
    """
    network = _find(name)
    if seed < 0:
        raise SourceError("InvalidSeed", f"seed {seed} of '{name}' is negative", hint="use 0 or more")
    graph = GraphBuilder(name)
    image = graph.input("images", _input_shape(name, network, input_size))
    return graph.model(network.draw(graph, image), he_normal(seed))


def _find(name: str) -> Architecture:
    if name in _CATALOG:
        return _CATALOG[name]
    near = difflib.get_close_matches(name, _CATALOG, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"the zoo has {', '.join(_CATALOG)}"
    raise SourceError("UnknownModel", f"the zoo has no model '{name}'", hint=hint)


def _input_shape(name: str, network: Architecture, input_size: int | None) -> Shape:
    size, step = network.size if input_size is None else input_size, network.size_step
    if size < 1 or size % step:
        below = max(step, size // step * step)
        expected = f"a multiple of {step}" if step > 1 else "at least 1"
        hint = f"use {below}" if size < step else f"use {below} or {below + step}"
        raise SourceError("InvalidInputSize", f"input size {size} of '{name}' is not {expected}", hint=hint)
    return (1, 3, size, size)
