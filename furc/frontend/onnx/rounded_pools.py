"""Pools on the host that round their size up: ONNX's shape inference counts a last window that begins behind the
tensor, ONNX Runtime makes none. Such a pool is written without rounding, padded behind the tensor by what its last
window reads: the same numbers, and one shape. Where padding counts in a mean and a window reaches beyond it, rounding
stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from onnx import helper

from furc.frontend.onnx.node import Node

POOLS = ("AveragePool", "LpPool", "MaxPool")


class Axis(NamedTuple):
    """One axis of a pool. before, after: padding; reach: elements from a window's first to its last."""

    extent: int
    before: int
    after: int
    reach: int
    step: int

    @property
    def last(self) -> int:
        """The number of the last window, which begins in the tensor or in front of it."""
        last = self.inferred(self.after)
        return last - 1 if last * self.step >= self.extent + self.before else last

    @property
    def behind(self) -> int:
        """The padding that the last window reads."""
        return max(0, self.last * self.step + self.reach - self.before - self.extent)

    def inferred(self, after: int) -> int:
        """The number of the last window as ONNX's inference has it."""
        return -(-(self.extent + self.before + after - self.reach) // self.step)


def agree_on_shape(node: Node, shape: Sequence[int] | None) -> None:
    """Change the attributes of a node, in place. shape: of its input, None where it is not known.

    Raises LowerError UnsupportedOperator where no attributes say what is meant."""
    kernel = node.integers("kernel_shape", ())
    if node.op not in POOLS or not node.integer("ceil_mode", 0) or shape is None or len(shape) != 2 + len(kernel):
        return
    if min(shape[2:], default=0) < 1 or node.text("auto_pad", "NOTSET") != "NOTSET":
        return
    axes = _axes(node, shape[2:], kernel)
    behind = [axis.behind for axis in axes]
    if node.integer("count_include_pad", 0) and any(axis.behind > axis.after for axis in axes):
        behind = [min(axis.behind, axis.after) for axis in axes]
        if any(axis.inferred(pad) != axis.last for axis, pad in zip(axes, behind, strict=True)):
            raise node.unsupported(
                "AveragePool that counts padding has a window beyond it on one axis and none on another",
                "state pads that every window ends in",
            )
    else:
        _set(node, "ceil_mode", 0)
    _set(node, "pads", [*(axis.before for axis in axes), *behind])


def _axes(node: Node, extents: Sequence[int], kernel: Sequence[int]) -> list[Axis]:
    rank = len(kernel)
    pads = node.integers("pads", ()) or [0] * (2 * rank)
    steps, gaps = (node.integers(name, ()) or [1] * rank for name in ("strides", "dilations"))
    return [Axis(extents[i], pads[i], pads[rank + i], (kernel[i] - 1) * gaps[i] + 1, steps[i]) for i in range(rank)]


def _set(node: Node, name: str, value: int | list[int]) -> None:
    kept = [attribute for attribute in node.proto.attribute if attribute.name != name]
    del node.proto.attribute[:]
    node.proto.attribute.extend([*kept, helper.make_attribute(name, value)])
