"""Choose the grid of every quantized tensor from the calibrated ranges.

Tensors that must share a grid form a class, and the class has the range of its leader:

    y = MaxPool(x), Reshape(x), ...    y is in x's class: its values are values of x
    y = Concat(a, b)                   a is in y's class if Concat alone reads it and it is not itself moved data

A Concat input that nothing else reads is only ever seen through y's grid, so a grid of its own would add a rounding and
gain nothing. One that something else reads keeps its own: joining it costs FastestDet 1.5 to 2 dB
(docs/experiments.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from furc.onnx.graph import Graph, Node, activations
from furc.onnx.moves import is_move
from furc.quantizer.grids.affine import Grid, Range, as_range, grid
from furc.quantizer.grids.operators import FIXED_RANGES, clip_bounds, data_inputs, fused_clamp, is_quantized
from isa.errors import Loc, QuantizeError

ANY_RANGE = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Scheme:
    """grids: of each tensor that is stored as int8. leader: of each of them, the tensor whose range its class has."""

    grids: Mapping[str, Grid]
    leader: Mapping[str, str]


def choose_grids(graph: Graph, ranges: Mapping[str, Range]) -> Scheme:
    """Grids for all tensors that a quantized node makes or reads. Raises QuantizeError[MissingRange, BadRange]."""
    leader = _leaders(graph, quantized_tensors(graph))
    led = {name: grid(*_range(graph, ranges, name)) for name in dict.fromkeys(leader.values())}
    return Scheme({name: led[first] for name, first in leader.items()}, leader)


def any_ranges(graph: Graph) -> dict[str, Range]:
    """One range for every tensor: enough for timing, which does not depend on ranges."""
    return dict.fromkeys(activations(graph), ANY_RANGE)


def quantized_tensors(graph: Graph) -> list[str]:
    """The tensors that are stored as int8: all that quantized nodes make or read, but for those that a clamp hides."""
    wanted = set[str]()
    for node in graph.nodes:
        if is_quantized(graph, node):
            wanted.update(name for name in node.outputs if name)
            wanted.update(data_inputs(graph, node))
    hidden = {node.output for node in graph.nodes if fused_clamp(graph, node) is not None}
    return [name for name in activations(graph) if name in wanted and name not in hidden]


def rounded_tensors(graph: Graph) -> set[str]:
    """The tensors that decide a grid: values are rounded to it there, or before a Concat on behalf of its result."""
    return set(_leaders(graph, quantized_tensors(graph)).values())


def _leaders(graph: Graph, tensors: list[str]) -> dict[str, str]:
    """The leader of each tensor's class."""
    above = {name: name for name in tensors}
    for node in graph.nodes:
        if is_move(graph, node) and node.inputs[0] in above:
            above.update({name: node.inputs[0] for name in node.outputs if name in above})
        elif node.op == "Concat" and node.output in above:
            above.update({name: node.output for name in node.inputs if _seen_through(graph, name) and name in above})

    def find(name: str) -> str:
        while above[name] != name:
            name = above[name]
        return name

    return {name: find(name) for name in tensors}


def _seen_through(graph: Graph, name: str) -> bool:
    """Whether a Concat input is computed, and for this Concat alone."""
    node = graph.producer(name)
    return node is not None and graph.only_reader(name) is not None and not is_move(graph, node)


def _range(graph: Graph, ranges: Mapping[str, Range], name: str) -> Range:
    node = graph.producer(name)
    if node is not None and node.op in FIXED_RANGES:
        return FIXED_RANGES[node.op]
    if name not in ranges:
        raise QuantizeError(
            "MissingRange",
            f"the ranges have no entry for tensor '{name}'",
            at=node.loc if node else Loc(detail=f"graph input '{name}'"),
            hint="calibrate the same optimized model that is quantized",
        )
    low, high = as_range(ranges[name], f"tensor '{name}'")
    if not (abs(low) < float("inf") and abs(high) < float("inf") and low <= high):
        raise QuantizeError("BadRange", f"tensor '{name}' has the range [{low}, {high}]")
    return _clamped(graph, node, (low, high))


def _clamped(graph: Graph, node: Node | None, observed: Range) -> Range:
    """A Relu's or Clip's result cannot leave its bounds, whatever the method says."""
    bounds = clip_bounds(graph, node) if node is not None and node.op in ("Relu", "Clip") else None
    if bounds is None:
        return observed
    return max(observed[0], min(bounds[0], 0.0)), min(observed[1], max(bounds[1], 0.0))
