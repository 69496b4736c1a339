"""The host's share of a run: what it does before and after the NPU, why, and what that costs.

Costs are a model, like those of the NPU: docs/timing.md has the two constants and where they come from. A tensor that
crosses the edge is re-laid (Lower, Unlower) in one pass over its bytes; between uint8 and int8 that pass converts too.
"""

from __future__ import annotations

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
    head = [*_segment(enf.head, _shapes(enf), npu, before=True), *_layouts(enf.npu_inputs, enf.head, npu, before=True)]
    tail = [*_layouts(enf.npu_outputs, enf.tail, npu, before=False), *_segment(enf.tail, _shapes(enf), npu, False)]
    return (*head, *tail)


def _shapes(enf: Enf) -> dict[str, tuple[int, ...]]:
    edge = {t.name: tuple(t.shape) for t in (*enf.npu_inputs, *enf.npu_outputs)}
    return edge | {t.name: t.shape for t in (*enf.inputs, *enf.outputs)}


def _segment(
    segment: HostSegment, shapes: dict[str, tuple[int, ...]], npu: NpuConfig, before: bool
) -> Iterator[HostOperator]:
    users = segment.inputs if before else segment.outputs  # the names that the user knows
    for index, line in enumerate(segment.operators):
        name, _, inner = line.partition(" ")
        tensor = users[index] if len(users) == len(segment.operators) else inner
        shape = shapes.get(tensor, shapes.get(inner, ()))
        rate = npu.host_copy_ns_per_element if name == "Recast" else npu.host_quantize_ns_per_element
        yield HostOperator(
            name=name, tensor=tensor, shape=shape, reason=REASONS.get(name, "the NPU has no such operator"),
            ms=rate * _elements(shape) / NS_PER_MS, before=before,
        )  # fmt: skip


def _layouts(
    tensors: tuple[DramTensor, ...], segment: HostSegment, npu: NpuConfig, before: bool
) -> Iterator[HostOperator]:
    name = "Lower" if before else "Unlower"
    recast = {line.partition(" ")[2] for line in segment.operators if line.startswith("Recast ")}
    for tensor in tensors:
        if tensor.name not in recast:
            shape = tuple(tensor.shape)
            ms = npu.host_copy_ns_per_element * _elements(shape) / NS_PER_MS
            yield HostOperator(
                name=name, tensor=tensor.name, shape=shape, reason=REASONS[name], ms=ms, before=before
            )  # fmt: skip


def _elements(shape: tuple[int, ...]) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count
