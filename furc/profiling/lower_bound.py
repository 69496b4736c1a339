"""What no schedule could beat: the least that multiplying, fetching and DRAM each take, whatever runs beside them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from isa.enf import Enf
from isa.instructions import Conv, LoadWeights
from isa.npu import NpuConfig
from isa.timing.clock import Event


class LowerBound(NamedTuple):
    """Milliseconds of the NPU. mac_ms: every multiply-accumulate at the peak rate. fetch_ms: every input byte once for
    the output channels that a fetch serves, in the layout where the shift register serves all taps of a kernel row
    (isa/timing/formulas.py). dram_ms: inputs, outputs and weights that do not stay in SRAM, once, at the effective
    bandwidth."""

    mac_ms: float
    fetch_ms: float
    dram_ms: float

    @property
    def ms(self) -> float:
        return max(self)


def lower_bound(enf: Enf, npu: NpuConfig, events: Iterable[Event]) -> LowerBound:
    """Of a recorded run; the work of its operators, not how it was scheduled."""
    macs, fetches = 0, 0.0
    weights: dict[tuple[int, int], int] = {}
    for event in events:
        instruction, cost = event.instruction, event.cost
        macs += cost.macs
        if isinstance(instruction, Conv):
            fetches += cost.macs / (_macs_a_fetch(instruction, npu) * npu.num_slices)
        elif isinstance(instruction, LoadWeights) and cost.dram_bytes:
            weights[instruction.src.address, instruction.src.bytes] = cost.dram_bytes
    tensors = sum(tensor.shape.elements for step in enf.npu_steps for tensor in (*step.inputs, *step.outputs))
    moved = tensors + sum(weights.values())
    cycles = macs / npu.macs_per_cycle, fetches, moved / (npu.dram_bytes_per_cycle * npu.dram_efficiency)
    return LowerBound(*map(npu.milliseconds, cycles))


def _macs_a_fetch(conv: Conv, npu: NpuConfig) -> int:
    """Multiply-accumulates that one cycle of fetching feeds at best."""
    served = min(npu.channels_per_pass, max(1, conv.y.shape.c // conv.groups))
    return npu.te_io_bytes_per_cycle * served * conv.kw
