"""The executor of each level, by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from isa.npu import NpuConfig
from passes.ir.graph import Array, Graph, Level, Value
from passes.reference import commands, dfg, lowlevel

Run = Callable[[Graph, Mapping[str, Array], NpuConfig], dict[Value, Array]]
EXECUTORS: Mapping[Level, Run] = {
    Level.DFG: lambda graph, inputs, npu: dfg.run(graph, inputs),
    Level.LDFG: lambda graph, inputs, npu: lowlevel.run(graph, inputs),
    Level.CDFG: commands.run,
    Level.GIR: commands.run,
}


def outputs(graph: Graph, inputs: Mapping[str, Array], npu: NpuConfig) -> list[Array]:
    """What the graph gives for its outputs, in their order. Raises RunError as the executors do."""
    held = EXECUTORS[graph.level](graph, inputs, npu)
    return [held[value] for value in graph.outputs]
