"""Execute a graph of any level on arrays, op by op: what passes keep, and what programs must give, is measured by this.

Every op says in `compute` what it makes, with the arithmetic of isa/execute/numerics.py. What places decide is where
bytes are, never what they are, so layouts and addresses are not read, but for packed constants, whose order follows
the layout of the result."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from isa.errors import Loc, RunError
from isa.npu import NpuConfig
from passes.ir.graph import Graph
from passes.ir.op import Array, Value


def execute(graph: Graph, inputs: Mapping[str, Array], npu: NpuConfig) -> dict[Value, Array]:
    """Every value of the graph. inputs: one array for each graph input, by name. npu: the machine constants are
    packed for.

    Raises RunError when an input is missing or has another shape or element type than the graph says."""
    held: dict[Value, Array] = dict(graph.constants)
    for value in graph.inputs:
        held[value] = _input(graph, value, inputs)
    for op in graph.ops:
        held.update(zip(op.results, op.compute(held.__getitem__, npu), strict=True))
    return held


def outputs(graph: Graph, inputs: Mapping[str, Array], npu: NpuConfig) -> list[Array]:
    """What the graph gives for its outputs, in their order. Raises RunError as `execute` does."""
    held = execute(graph, inputs, npu)
    return [held[value] for value in graph.outputs]


def _input(graph: Graph, value: Value, inputs: Mapping[str, Array]) -> Array:
    at = Loc(graph.source, detail=f"input '{value.name}'")
    if value.name not in inputs:
        given = ", ".join(f"'{name}'" for name in inputs) or "nothing"
        raise RunError("MissingInput", f"no array was given; got {given}", at=at)
    array = np.asarray(inputs[value.name])
    if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
        expected = f"{value.type.dtype.numpy}{list(value.type.shape)}"
        raise RunError("WrongInput", f"expected {expected}, got {array.dtype}{list(array.shape)}", at=at)
    return array
