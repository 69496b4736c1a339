"""What instructions cost, as pure functions of named numbers and the constants of one target. Never looks at data.

docs/timing.md prints this file's functions. The constants in them are documented or fitted, see isa/targets. Work is
that of the busiest slice: the others wait for it.
"""

from __future__ import annotations

from typing import NamedTuple

from isa.layout import LayoutKind, Window, align
from isa.npu import NpuConfig
from isa.operands import DramWindow


class Cost(NamedTuple):
    """Cycles an instruction keeps its unit busy, and what they are made of.

    cycles = overhead + max(mac + fetch, vector) on the tensor unit, overhead + transfer on DMA. macs counts useful
    multiply-accumulates over all slices, dram_bytes the bytes that cross the DRAM interface.
    """

    cycles: float
    overhead: float = 0.0
    mac: float = 0.0
    fetch: float = 0.0
    vector: float = 0.0
    transfer: float = 0.0
    macs: int = 0
    dram_bytes: int = 0


def tensor_cost(overhead: float, fetch: float, vector: float, mac: float = 0.0, macs: int = 0) -> Cost:
    """Fetching and contracting take turns, the vector engine works beside them: the slower side counts."""
    return Cost(overhead + max(mac + fetch, vector), overhead, mac, fetch, vector, macs=macs)


def issuing_cycles(encoded_bytes: int, npu: NpuConfig) -> float:
    """Handing an encoded instruction to its unit, over the register interface."""
    return encoded_bytes / npu.sfr_bytes_per_cycle + npu.control_delay_cycles


def control_cycles(npu: NpuConfig, switches: bool = False) -> Cost:
    """What the command processor does itself. switches: it goes on in another program segment."""
    overhead = npu.control_delay_cycles + (npu.program_switch_cycles if switches else 0.0)
    return Cost(overhead, overhead)


class ConvWork(NamedTuple):
    """What one convolution instruction asks of the busiest slice, free of encodings: also the compiler's cost model."""

    kind: LayoutKind  # of the input
    images: int
    rows: int  # output rows in a slice
    width: int  # output columns
    channels: int  # output channels of the tile in a slice
    k: int  # input channels of the contraction
    kernel: tuple[int, int]
    stride_w: int
    dilation_w: int
    up: int
    channels_per_group: int  # output channels that share their input
    last: bool
    first: bool
    lookup: bool
    opens: bool  # the first tile of its operator
    macs: int  # that are useful, over all slices


def conv_cycles(work: ConvWork, npu: NpuConfig) -> Cost:
    """MAC, fetch and vector cycles of one weight tile.

    HCHCW: a row of mac_width output columns takes one tap a cycle for mac_height channels, the shift register serves
    the taps of a kernel row. HCHWC: mac_width input channels are reduced for one output column. Fetching and
    contracting take turns; each fetch serves channels_per_pass output channels. Input channels are kept in multiples
    of mac_width where they are more than mac_height.
    """
    shared = min(work.channels_per_group, work.channels)
    sets = -(-work.channels // shared)  # channel sets that need an input of their own
    passes = sets * -(-shared // npu.mac_height)
    fetches = sets * -(-shared // npu.channels_per_pass)
    kh, kw = work.kernel
    k = work.k if work.k <= npu.mac_height else align(work.k, npu.mac_width)
    pixels = work.images * work.rows
    if work.kind is LayoutKind.HCHCW:
        blocks = pixels * -(-work.width // npu.mac_width)
        steps = -(-k * kh * kw // work.up**2)
        span = (min(work.width, npu.mac_width) - 1) * work.stride_w // work.up + (kw - 1) * work.dilation_w + 1
        fetch: float = blocks * -(-k * kh // work.up) * -(-span // npu.te_io_bytes_per_cycle)
    else:
        blocks = pixels * work.width
        steps = -(-kh * kw * -(-k // npu.mac_width) // work.up**2)
        fetch = blocks * steps * npu.mac_width / npu.te_io_bytes_per_cycle
    mac = blocks * passes * steps
    outputs = pixels * work.width * work.channels
    partial = (0 if work.first else 4) + (1 if work.last else 4)
    vector = max(
        outputs / npu.vector_lanes,
        outputs * partial / npu.te_io_bytes_per_cycle,
        outputs / npu.table_ports if work.lookup and work.last else 0.0,
    )
    commands = CONV_COMMANDS if work.channels_per_group > 1 else WINDOW_COMMANDS
    overhead = exec_overhead(npu, commands if work.opens else 0)
    return tensor_cost(overhead, fetch * fetches, vector, mac, work.macs)


CONV_COMMANDS, WINDOW_COMMANDS, MOVE_COMMANDS = 3, 2, 1  # commands that set up an operator


def exec_overhead(npu: NpuConfig, commands: int = MOVE_COMMANDS) -> float:
    """Cycles before the first result. commands: that the tensor unit takes to set up an operator: a convolution three
    (weights, fetch, requantization), a depthwise convolution or a pool two, what moves elements one; a further tile
    of the same operator none."""
    warmup = npu.pipeline_warmup_cycles + npu.control_delay_cycles + npu.slice_hop_cycles
    return warmup + commands * npu.command_setup_cycles


def elementwise_cycles(elements: float, operands: int, lookups: bool, npu: NpuConfig) -> Cost:
    """Adding, multiplying or looking up `elements` results in the busiest slice."""
    vector = elements / (npu.table_ports if lookups else npu.vector_lanes)
    return tensor_cost(exec_overhead(npu), operands * elements / npu.te_io_bytes_per_cycle, vector)


def accumulate_cycles(elements: float, kept_bytes: int, npu: NpuConfig) -> Cost:
    """One more term of a sum of tensors. kept_bytes: of partial sums that each element is read from and written to,
    through the same port as those of a convolution."""
    vector = max(elements / npu.vector_lanes, elements * kept_bytes / npu.te_io_bytes_per_cycle)
    return tensor_cost(exec_overhead(npu), elements / npu.te_io_bytes_per_cycle, vector)


def across_channels_cycles(elements: float, passes: int, columns: int, lookups: bool, npu: NpuConfig) -> Cost:
    """Softmax and norms over channels, `elements` in the busiest slice, read once a pass. Assumed, like elementwise
    work: no trace of these is public. columns: slices that share the channels of a pixel; a pass ends when each has
    handed its part to the next, hop by hop. lookups: exponentials come from tables."""
    overhead = exec_overhead(npu) + passes * (columns - 1) * npu.slice_hop_cycles
    vector = passes * elements / npu.vector_lanes + (elements / npu.table_ports if lookups else 0.0)
    return tensor_cost(overhead, passes * elements / npu.te_io_bytes_per_cycle, vector)


def matmul_cycles(products: int, rows: int, depth: int, width: int, npu: NpuConfig) -> Cost:
    """`products` matrix products in the busiest slice, [rows, depth] times [depth, width]. Assumed by analogy with
    conv_cycles: mac_width columns and mac_height rows at a time, a step of depth each cycle. The right operand takes
    the place of weights, but lies in SRAM, spread over all slices: it comes through the slice network at the rate of
    the tensor unit's input, once for all rows that a slice makes of it, as the left operand does by its fetch unit.
    Fetching and contracting take turns."""
    blocks = -(-width // npu.mac_width)
    mac = float(products * -(-rows // npu.mac_height) * blocks * depth)
    right = products * depth * width / npu.te_io_bytes_per_cycle
    left = products * rows * depth * blocks / npu.te_io_bytes_per_cycle
    vector = products * rows * width / npu.vector_lanes
    overhead = exec_overhead(npu, CONV_COMMANDS)
    return tensor_cost(overhead, left + right, vector, mac)


def pool_cycles(elements: float, kernel: tuple[int, int], stride_w: int, npu: NpuConfig) -> Cost:
    """Pooling `elements` results in the busiest slice: the shift register serves a kernel row, lanes take the taps."""
    kh, kw = kernel
    fetch = elements * kh * min(kw, stride_w) / npu.te_io_bytes_per_cycle
    return tensor_cost(exec_overhead(npu, WINDOW_COMMANDS), fetch, elements * kh * kw / npu.vector_lanes)


def move_cycles(elements: float, npu: NpuConfig) -> Cost:
    """Re-laying `elements` bytes of the busiest slice through the sub context: each is read, then written."""
    return tensor_cost(exec_overhead(npu), 2 * elements / npu.te_io_bytes_per_cycle, 0.0)


def preload_cycles(bytes_per_slice: int, npu: NpuConfig) -> Cost:
    """Writing a weight tile into the register files."""
    return tensor_cost(npu.pipeline_warmup_cycles, bytes_per_slice / npu.fetch_bytes_per_cycle, 0.0)


def transfer_cycles(total: int, run: int, npu: NpuConfig) -> Cost:
    """Moving `total` bytes to or from DRAM in rows of `run` bytes, each padded to the alignment of DRAM accesses and to
    whole bulks, which are what DRAM hands out: of 32 bytes they are in that alignment already."""
    row = align(align(run, npu.dram_alignment_bytes), npu.dram_bulk_bytes)
    moved = -(-total // run) * row
    cycles = moved / (npu.dram_bytes_per_cycle * npu.dram_efficiency)
    return Cost(npu.dma_latency_cycles + cycles, npu.dma_latency_cycles, transfer=cycles, dram_bytes=moved)


def window_cycles(window: DramWindow, npu: NpuConfig) -> Cost:
    """Moving a box of a DRAM tensor."""
    box = window.box.shape(window.shape.w)
    return transfer_cycles(box.elements, box.w, npu)


def elements_per_slice(window: Window) -> int:
    """Elements of the box in the slice that holds most."""
    return window.images_per_slice() * window.rows_per_slice() * window.channels_per_slice() * window.shape.w
