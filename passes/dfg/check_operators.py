"""Check the conditions under which Warboy accelerates an operator, and say what to do where they do not hold.

dfg -> dfg, unchanged. Raises LowerError UnsupportedOperator naming operator, node, value and limit; HostOperators where
nothing may be left on the host but is.
The conditions are rows of passes/dfg/legality.py; axes are limited by the fields of furc's own instructions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isa.errors import LowerError
from isa.operands import MAX_EXTENT, MAX_IMAGES
from passes.analysis.host_share import calls, host_operators
from passes.dfg.legality import Node, Shape, verdict
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs
from passes.ops.channels import L2Normalize, Reduce, Softmax
from passes.ops.concat import Concat
from passes.ops.conv import Conv2d, ConvTranspose2d, Gemm
from passes.ops.move import Movement
from passes.ops.pool import AveragePool, MaxPool
from passes.options import CompileOptions

ANY_SHAPE = Movement | Concat | Gemm | Softmax | L2Normalize | Reduce  # lowered to shapes that the machine addresses
ONNX_NAMES: dict[type[Op], str] = {
    Conv2d: "Conv", ConvTranspose2d: "ConvTranspose", MaxPool: "MaxPool", AveragePool: "AveragePool",
    Softmax: "Softmax", L2Normalize: "LpNormalization", Reduce: "ReduceL2",
}  # fmt: skip


def check_operators(graph: Graph, options: CompileOptions) -> Graph:
    """Raise for the first operator that the NPU cannot take; strict: for all that are on the host already."""
    if options.strict:
        _refuse_host(graph)
    for op in graph.ops:
        for problem, hint in problems_of(op):
            raise LowerError("UnsupportedOperator", problem, at=op.loc, hint=hint)
    return graph


def _refuse_host(graph: Graph) -> None:
    """Everything that ONNX Runtime would run, as one error."""
    found = [(operator, call) for call in calls(graph) for operator in host_operators(call, graph) if operator.reason]
    if found:
        first, call = found[0]
        count = "1 operator is" if len(found) == 1 else f"{len(found)} operators are"
        lines = [f"node '{operator.nodes[0]}': {operator.name}: {operator.reason}" for operator, _ in found[1:]]
        raise LowerError(
            "HostOperators", f"{count} left on the host; {first.name}: {first.reason}",
            at=replace(call.loc, nodes=first.nodes), hint=first.remedy or "compile without --strict", also=tuple(lines),
        )  # fmt: skip


def problems_of(op: Op) -> Iterator[tuple[str, str]]:
    """Why the NPU cannot take an op, each with what to do about it."""
    node = _as_node(op)
    if node is not None:
        yield from ((finding.problem, finding.remedy) for finding in verdict(*node))
    yield from _addressable(op)


def _as_node(op: Op) -> Node | None:
    """The op as the table knows it."""
    name = ONNX_NAMES.get(type(op))
    if name is None:
        return None
    attributes: dict[str, object] = {n: getattr(op, n) for n in ("group", "axis", "axes") if hasattr(op, n)}
    kernel = getattr(op, "kernel", None)
    if isinstance(kernel, Kernel):
        attributes |= {
            "kernel_shape": kernel.size, "strides": kernel.stride, "pads": kernel.pads, "dilations": kernel.dilation,
        }  # fmt: skip
    shapes: list[Shape] = [value.type.shape for value in op.operands()]
    return Node(name, attributes, shapes)


def _addressable(op: Op) -> Iterator[tuple[str, str]]:
    """Tensors larger than a window of the machine."""
    shape = op.results[0].type.shape4
    if op.runs is Runs.NPU and not isinstance(op, ANY_SHAPE) and (max(shape[1:]) > MAX_EXTENT or shape.n > MAX_IMAGES):
        yield (
            f"{op.mnemonic} makes {list(shape)}, the machine addresses {MAX_IMAGES} images and axes of {MAX_EXTENT}",
            "use a smaller input or batch, or cut the model before this node",
        )
