"""Put commands into the order in which host and NPU take turns: as few turns as the dependencies allow.

before:
    %a.real = dequantize(x=%a.out) : f32[1,8,4,4]
    %t = load(x=%q) ...
    %b.out = store(x=%t) ...
    %b.real = dequantize(x=%b.out) : f32[1,8,4,4]
after:
    %t = load(x=%q) ...
    %b.out = store(x=%t) ...
    %a.real = dequantize(x=%a.out) : f32[1,8,4,4]
    %b.real = dequantize(x=%b.out) : f32[1,8,4,4]

cdfg -> cdfg. Every op takes part in the earliest turn that what it reads allows; inside a turn the order stays.
Keeps: every value. Raises: nothing. Leaves alone: a graph whose order is already that."""

from __future__ import annotations

from passes.analysis.turns import turn_numbers
from passes.ir.graph import Graph
from passes.options import CompileOptions


def order_turns(graph: Graph, options: CompileOptions) -> Graph:
    """Sort ops by turn: the host has the even ones, the NPU the odd ones."""
    turn = turn_numbers(graph)
    graph.ops.sort(key=lambda op: turn[op])  # stable
    return graph
