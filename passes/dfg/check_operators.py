"""Check the conditions under which Warboy accelerates an operator, and say what to do where they do not hold.

dfg -> dfg, unchanged. Raises LowerError UnsupportedOperator naming operator, node, value and limit.
Source of the limits: Furiosa SDK documentation 0.5 - 0.10, list of supported operators."""

from __future__ import annotations

from collections.abc import Iterator

from isa.errors import LowerError
from passes.ir.dfg import Conv2d, ConvTranspose2d
from passes.ir.graph import Graph, Op
from passes.options import CompileOptions

MAX_GROUPS = 128
MAX_DILATION = 12


def check_operators(graph: Graph, options: CompileOptions) -> Graph:
    """Raise for the first operator that the NPU cannot take."""
    for op in graph.ops:
        for problem, hint in _problems(op):
            raise LowerError("UnsupportedOperator", problem, at=op.loc, hint=hint)
    return graph


def _problems(op: Op) -> Iterator[tuple[str, str]]:
    if isinstance(op, Conv2d | ConvTranspose2d):
        depthwise = op.group == op.x.type.shape[1] == op.result.type.shape[1]
        if op.group > MAX_GROUPS and not depthwise:
            yield (
                f"Conv with {op.group} groups, Warboy takes at most {MAX_GROUPS}",
                "use fewer groups or a depthwise Conv",
            )
        if max(op.dilation) > MAX_DILATION:
            yield (
                f"Conv with dilation {max(op.dilation)}, Warboy takes at most {MAX_DILATION}",
                "use a smaller dilation",
            )
