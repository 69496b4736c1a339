"""The host's share of a run: what it does before and after the NPU, why, and what that costs.

Costs are a model, like those of the NPU: docs/timing.md has the constants and where they come from. A tensor that
crosses the edge is re-laid (Lower, Unlower) in one pass over its bytes; between uint8 and int8 that pass converts too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from isa.enf import DramTensor, Enf, HostSegment
from isa.npu import NpuConfig

NS_PER_MS = 1e6
# What the user can do about an operator is in the reason: these are the only ones a card's host has at the edges.
REASONS = {
    "Quantize": "the model takes float32, the NPU int8; feed uint8 to avoid it (furc quantize --input-type uint8)",
    "Dequantize": "the model gives float32, the NPU int8",
    "Recast": "the model has uint8 where the NPU has int8; one pass with the re-layout",
    "Lower": "the NPU reads its own order of axes",
    "Unlower": "the NPU writes its own order of axes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOperator:
    """One operator on the host. tensor: the model's name of what it works on; before: it runs before the NPU."""

    name: str
    tensor: str
    shape: tuple[int, ...]
    reason: str
    ms: float
    before: bool


def host_operators(enf: Enf, npu: NpuConfig) -> tuple[HostOperator, ...]:
    """In the order they run."""
    head, tail = _Side(enf, enf.head, npu, before=True), _Side(enf, enf.tail, npu, before=False)
    return (*head.operators(), *head.layouts(enf.npu_inputs), *tail.layouts(enf.npu_outputs), *tail.operators())


class _Side:
    """The host before or behind the NPU."""

    def __init__(self, enf: Enf, segment: HostSegment, npu: NpuConfig, *, before: bool) -> None:
        self.npu, self.before = npu, before
        self.shapes = {t.name: tuple(t.shape) for t in (*enf.npu_inputs, *enf.npu_outputs)}
        self.shapes |= {t.name: t.shape for t in (*enf.inputs, *enf.outputs)}
        users = segment.inputs if before else segment.outputs  # the names that the user knows
        self.lines = [line.partition(" ")[::2] for line in segment.operators]
        inner = [tensor for _, tensor in self.lines]
        self.known = dict(zip(inner, users, strict=True)) if len(users) == len(inner) else {}

    def operators(self) -> Iterator[HostOperator]:
        for name, tensor in self.lines:
            yield self._operator(name, tensor, self._rate(name))

    def _rate(self, name: str) -> float:
        """Nanoseconds an element."""
        npu = self.npu
        rates = {"Quantize": npu.host_quantize_ns_per_element, "Dequantize": npu.host_dequantize_ns_per_element}
        return rates.get(name, npu.host_copy_ns_per_element)

    def layouts(self, tensors: tuple[DramTensor, ...]) -> Iterator[HostOperator]:
        recast = {tensor for name, tensor in self.lines if name == "Recast"}
        for tensor in tensors:
            if tensor.name not in recast:
                yield self._operator(
                    "Lower" if self.before else "Unlower", tensor.name, self.npu.host_copy_ns_per_element
                )

    def _operator(self, name: str, tensor: str, ns_per_element: float) -> HostOperator:
        user = self.known.get(tensor, tensor)
        shape = self.shapes.get(user, self.shapes.get(tensor, ()))
        return HostOperator(
            name=name,
            tensor=user,
            shape=shape,
            reason=REASONS.get(name, "the NPU has no such operator"),
            ms=ns_per_element * math.prod(shape) / NS_PER_MS,
            before=self.before,
        )
