"""Check the conditions under which Warboy accelerates an operator, and say what to do where they do not hold.

dfg -> dfg, unchanged. Raises LowerError UnsupportedOperator naming operator, node, value and limit; HostOperators where
nothing may be left on the host but is.
Source of the limits: Furiosa SDK documentation 0.5 - 0.10, list of supported operators; strides, kernels, padding and
extents are limited by the fields of furc's own instructions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from isa.errors import LowerError
from isa.instructions import BY_MNEMONIC
from passes.analysis.host_share import calls, host_operators
from passes.ir.attributes import Kernel
from passes.ir.graph import Graph
from passes.ir.op import Op, Runs
from passes.ops.conv import Conv2d, ConvTranspose2d
from passes.ops.move import Movement
from passes.options import CompileOptions

MAX_GROUPS = 128
MAX_DILATION = 12
_FIELDS = {field.name: field for operand in BY_MNEMONIC["conv"].operands for field in operand.fields()}
MAX_STRIDE, MAX_KERNEL, MAX_PAD = _FIELDS["sw"].high, _FIELDS["kw"].high, _FIELDS["pl"].high
MAX_EXTENT, MAX_IMAGES = _FIELDS["y.c"].high, _FIELDS["y.n"].high


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
    yield from _documented(op)
    yield from _encodable(op)


def _encodable(op: Op) -> Iterator[tuple[str, str]]:
    """What no field of an instruction holds."""
    kernel = getattr(op, "kernel", None)
    if isinstance(kernel, Kernel):
        for what, value, limit in (
            ("stride", max(kernel.stride), MAX_STRIDE),
            ("kernel extent", max(kernel.size), MAX_KERNEL),
            ("padding", max(kernel.pads), MAX_PAD),
        ):
            if value > limit:
                yield f"{op.mnemonic} with {what} {value}, the machine takes at most {limit}", f"use a smaller {what}"
    shape = op.results[0].type.shape4
    if op.runs is Runs.NPU and not isinstance(op, Movement) and (max(shape[1:]) > MAX_EXTENT or shape.n > MAX_IMAGES):
        yield (
            f"{op.mnemonic} makes {list(shape)}, the machine addresses {MAX_IMAGES} images and axes of {MAX_EXTENT}",
            "use a smaller input or batch, or cut the model before this node",
        )


def _documented(op: Op) -> Iterator[tuple[str, str]]:
    if isinstance(op, Conv2d | ConvTranspose2d):
        depthwise = op.group == op.x.type.shape[1] == op.result.type.shape[1]
        if op.group > MAX_GROUPS and not depthwise:
            yield (
                f"Conv with {op.group} groups, Warboy takes at most {MAX_GROUPS}",
                "use fewer groups or a depthwise Conv",
            )
        if max(op.kernel.dilation) > MAX_DILATION:
            yield (
                f"Conv with dilation {max(op.kernel.dilation)}, Warboy takes at most {MAX_DILATION}",
                "use a smaller dilation",
            )
