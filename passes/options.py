"""What a compilation is asked for: one frozen record that every pass sees."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isa.npu import NpuConfig

VENDOR, BEST = "vendor", "best"  # manners of scheduling


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """npu: the machine to compile for. batch: images a run takes. use_program_loading: let the program exceed the
    instruction memory. strict: refuse operators on the host beyond quantize and dequantize.
    max_npu_segments: parts of a model that the NPU runs, the host between them; auto: any number, all: at any cost.
    operator_set: which list of operators the NPU takes, seed28 or sdk0.10.
    schedule: vendor, what the vendor's compiler does as far as its latencies tell, so what a card shows; best, the
    fastest of the programs with and without the liberties that follow, which the hardware would allow.
    free_columns: any number of channel columns, and none that a channel slice imposes. join_on_chip: channel
    concatenations that fit stay in SRAM. hoist: transfers, and what fills registers, as early as their data allows.
    fuse: operators in bands of rows together, where what is between them would go through DRAM.
    slices: how many slices layouts may use, all by default. together: images of a batch that the NPU runs at a time,
    all by default, a divisor of the batch. stagger: how far each of these groups is ahead of the next, in stretches of
    the graph (passes/dfg/unroll_batch.py), all by default. passes/plan.py chooses the last seven.
    """

    npu: NpuConfig
    batch: int = 1
    use_program_loading: bool = False
    strict: bool = False
    max_npu_segments: int | str = 1
    operator_set: str = "seed28"
    schedule: str = VENDOR
    free_columns: bool = False
    join_on_chip: bool = False
    hoist: bool = False
    fuse: bool = False
    slices: int | None = None
    together: int | None = None
    stagger: int | None = None

    @property
    def images_together(self) -> int:
        """Images that the NPU runs at a time."""
        return self.together if self.together is not None else self.batch

    @property
    def layout_slices(self) -> int:
        """Slices that layouts may use."""
        return self.slices if self.slices is not None else self.npu.num_slices

    def with_liberties(self) -> CompileOptions:
        """With all that its schedule allows: where nobody searches for the fastest."""
        if self.schedule == VENDOR:
            return self
        return replace(self, free_columns=True, join_on_chip=True, hoist=True, fuse=True)
