"""The host's share of a run: what it does between the programs of the NPU, why, and what that costs.

Costs are a model, like those of the NPU: docs/timing.md has the constants and where they come from. A tensor that
crosses the edge is re-laid (Lower, Unlower) in one pass over its bytes; between uint8 and int8 that pass converts too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from isa.enf import Enf, HostOperator, HostStep, NpuStep
from isa.npu import NS_PER_MS, NpuConfig

LOWER, UNLOWER, RECAST = "Lower", "Unlower", "Recast"
RELAID = (LOWER, UNLOWER, RECAST)  # in one pass over the bytes, which a tensor takes once
EDGE = ("Quantize", "Dequantize", *RELAID)
REASONS = {LOWER: "the NPU reads its own order of axes", UNLOWER: "the NPU writes its own order of axes"}


class Moment(IntEnum):
    """When in its step the host works: before or after the program of an NPU step; a host step is all before."""

    BEFORE = 0
    AFTER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWork:
    """One operator on the host. tensor: the model's name of what it works on. reason: why it is there, with the limit
    that it breaks; remedy: what the user can do. step, moment: when it runs."""

    name: str
    nodes: tuple[str, ...]
    tensor: str
    shape: tuple[int, ...]
    reason: str
    remedy: str
    ms: float
    step: int
    moment: Moment

    @property
    def is_of_the_model(self) -> bool:
        """An operator of the model, not a conversion between it and the NPU."""
        return self.name not in EDGE and bool(self.nodes and self.reason)


def host_work(enf: Enf, npu: NpuConfig) -> tuple[HostWork, ...]:
    """In the order it is done."""
    edges = {name: operator for step in enf.host_steps for name, operator in _edges(step)}
    found: list[HostWork] = []
    for index, step in enumerate(enf.steps):
        if isinstance(step, HostStep):
            found += (_operator(operator, index, step.images, npu) for operator in step.operators)
        else:
            found += _layouts(step, index, edges, npu)
    return tuple(found)


def _edges(step: HostStep) -> Iterator[tuple[str, HostOperator]]:
    """The operators between the user's tensors and those of the NPU, by the names on both sides."""
    if all(operator.name in EDGE for operator in step.operators):
        for side in (step.inputs, step.outputs):
            if len(side) == len(step.operators):
                yield from zip(side, step.operators, strict=True)


def _operator(operator: HostOperator, step: int, images: int, npu: NpuConfig) -> HostWork:
    return HostWork(
        name=operator.name,
        nodes=operator.nodes,
        tensor=operator.tensor,
        shape=operator.shape,
        reason=operator.reason or REASONS.get(operator.name, ""),
        remedy=operator.remedy,
        ms=images * nanoseconds(operator, npu) / NS_PER_MS,
        step=step,
        moment=Moment.BEFORE,
    )


def nanoseconds(operator: HostOperator, npu: NpuConfig) -> float:
    """The edge by its elements; everything else by what it moves and multiplies."""
    elements = math.prod(max(extent, 1) for extent in operator.shape)  # an open one counts as one
    match operator.name:
        case "Quantize" | "QuantizeLinear":
            return npu.host_quantize_ns_per_element * elements
        case "Dequantize" | "DequantizeLinear":
            return npu.host_dequantize_ns_per_element * elements
        case name if name in RELAID:
            return npu.host_copy_ns_per_element * elements
        case _:
            return npu.host_copy_ns_per_element * operator.bytes + npu.host_ns_per_mac * operator.macs


def _layouts(step: NpuStep, index: int, edges: Mapping[str, HostOperator], npu: NpuConfig) -> Iterator[HostWork]:
    for name, tensors, moment in ((LOWER, step.inputs, Moment.BEFORE), (UNLOWER, step.outputs, Moment.AFTER)):
        for tensor in tensors:
            edge = edges.get(tensor.name)
            if edge is None or edge.name not in RELAID:
                yield HostWork(
                    name=name,
                    nodes=(),
                    tensor=tensor.name if edge is None else edge.tensor,  # the user knows that one
                    shape=tuple(tensor.shape) if edge is None else edge.shape,
                    reason=REASONS[name],
                    remedy="",
                    ms=npu.host_copy_ns_per_element * tensor.shape.elements / NS_PER_MS,
                    step=index,
                    moment=moment,
                )
