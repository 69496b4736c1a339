"""Check the conditions under which Warboy accelerates an operator, and say what to do where they do not hold.

dfg -> dfg, unchanged. Raises LowerError UnsupportedOperator naming operator, node, value and limit.
Source of the limits: Furiosa SDK documentation 0.5 - 0.10, list of supported operators; strides, kernels, padding and
extents are limited by the fields of furc's own instructions."""

from __future__ import annotations

from collections.abc import Iterator

from isa.errors import LowerError
from isa.instructions import BY_MNEMONIC
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
    """Raise for the first operator that the NPU cannot take."""
    for op in graph.ops:
        for problem, hint in _problems(op):
            raise LowerError("UnsupportedOperator", problem, at=op.loc, hint=hint)
    return graph


def _problems(op: Op) -> Iterator[tuple[str, str]]:
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
