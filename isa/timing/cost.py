"""What each instruction costs on its unit, as formulas over NpuConfig and its fields. Never looks at data.

The formulas are furc's model (docs/timing.md); the constants in them are documented or fitted, see isa/targets.
Work is that of the busiest slice: the others wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from isa.encoding import WORD_BYTES, body_words
from isa.instructions import Instruction
from isa.layout import LayoutKind, Shape4, Window
from isa.npu import NpuConfig
from isa.operands import DramWindow


class Cost(NamedTuple):
    """Cycles an instruction keeps its unit busy, and what they are made of.

    cycles = overhead + max(mac, fetch, vector) on the tensor unit, overhead + transfer on DMA. macs counts useful
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

    def bound_by(self) -> str:
        """The largest part, in the words of `furc profile`."""
        parts = {"overhead": self.overhead, "mac": self.mac, "fetch": self.fetch, "vector": self.vector}
        return max(parts, key=lambda part: parts[part])


def _tensor(overhead: float, mac: float, fetch: float, vector: float, macs: int = 0) -> Cost:
    return Cost(overhead + max(mac, fetch, vector), overhead, mac, fetch, vector, 0.0, macs)


def cost(insn: Instruction, npu: NpuConfig) -> Cost:
    """The cost of an instruction on its unit."""
    return COSTS[insn.mnemonic](insn, npu)


def issue_cycles(insn: Instruction, npu: NpuConfig) -> float:
    """Cycles the command processor takes to hand an instruction to its unit: its words over the register interface."""
    words = 1 + (1 if insn.wait else 0) + body_words(insn.spec)
    return words * WORD_BYTES / npu.sfr_bytes_per_cycle + npu.control_delay_cycles


class ConvWork(NamedTuple):
    """What one convolution instruction asks of the busiest slice, free of encodings: also the compiler's cost model."""

    kind: LayoutKind  # of the input
    same_rows: bool  # input and output rows are spread alike, so that fetches stay near
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


def conv_cycles(work: ConvWork, npu: NpuConfig) -> Cost:
    """MAC, fetch and vector cycles of one weight tile.

    HCHCW: a row of mac_width output columns takes one tap a cycle for mac_height channels, the shift register serves
    the taps of a kernel row. HCHWC: mac_width input channels are reduced for one output column.
    """
    shared = min(work.channels_per_group, work.channels)
    sets = -(-work.channels // shared)  # channel sets that need an input of their own
    passes = sets * -(-shared // npu.mac_height)
    kh, kw = work.kernel
    pixels = work.images * work.rows
    if work.kind is LayoutKind.HCHCW:
        blocks = pixels * -(-work.width // npu.mac_width)
        steps = -(-work.k * kh * kw // work.up**2)
        span = (min(work.width, npu.mac_width) - 1) * work.stride_w // work.up + (kw - 1) * work.dilation_w + 1
        fetched_rows = -(-work.k * kh // work.up)
        fetch = blocks * fetched_rows * -(-span // npu.fetch_bytes_per_cycle)
    else:
        blocks = pixels * work.width
        dense = -(-kw * work.k // npu.mac_width) if work.dilation_w == 1 and work.up == 1 else kw * work.k
        steps = -(-kh * min(kw * -(-work.k // npu.mac_width), dense) // work.up**2)
        fetch = blocks * steps * npu.mac_width // npu.fetch_bytes_per_cycle
    mac = blocks * passes * steps * npu.mac_issue_cycles
    rate = 1.0 if work.same_rows else npu.fetch_bytes_per_cycle / npu.te_io_bytes_per_cycle
    outputs = pixels * work.width * work.channels
    partial = (0 if work.first else 4) + (1 if work.last else 4)
    vector = max(
        outputs / npu.vector_lanes,
        outputs * partial / npu.te_io_bytes_per_cycle,
        outputs / npu.table_ports if work.lookup and work.last else 0.0,
    )
    return _tensor(exec_overhead(npu, opens=work.opens), mac, fetch * sets * rate, vector)


def exec_overhead(npu: NpuConfig, *, opens: bool = True) -> float:
    """Cycles before the first result. opens: the instruction names other tensors than the one before it, so the
    tensor unit drains and its descriptors are set up anew."""
    warmup = npu.pipeline_warmup_cycles + npu.control_delay_cycles + npu.slice_hop_cycles
    return warmup + (npu.operator_setup_cycles if opens else 0.0)


def elementwise_cycles(elements: float, operands: int, lookups: bool, npu: NpuConfig) -> Cost:
    """Adding, multiplying or looking up `elements` results in the busiest slice."""
    vector = elements / (npu.table_ports if lookups else npu.vector_lanes)
    return _tensor(exec_overhead(npu), 0.0, operands * elements / npu.fetch_bytes_per_cycle, vector)


def pool_cycles(elements: float, kernel: tuple[int, int], stride_w: int, npu: NpuConfig) -> Cost:
    """Pooling `elements` results in the busiest slice: the shift register serves a kernel row, lanes take the taps."""
    kh, kw = kernel
    fetch = elements * kh * min(kw, stride_w) / npu.fetch_bytes_per_cycle
    return _tensor(exec_overhead(npu), 0.0, fetch, elements * kh * kw / npu.vector_lanes)


def move_cycles(elements: float, npu: NpuConfig) -> Cost:
    """Re-laying `elements` bytes of the busiest slice through the sub context."""
    return _tensor(exec_overhead(npu), 0.0, elements / npu.move_bytes_per_cycle, 0.0)


def preload_cycles(bytes_per_slice: int, npu: NpuConfig) -> Cost:
    """Writing a weight tile into the register files."""
    return _tensor(npu.pipeline_warmup_cycles, 0.0, bytes_per_slice / npu.te_io_bytes_per_cycle, 0.0)


def transfer_cycles(total: int, run: int, npu: NpuConfig) -> Cost:
    """Moving `total` bytes to or from DRAM in contiguous runs of `run` bytes, each in whole bulks."""
    bulks = -(-run // npu.dram_bulk_bytes)
    moved = -(-total // run) * bulks * npu.dram_bulk_bytes
    cycles = moved / (npu.dram_bytes_per_cycle * npu.dram_efficiency)
    return Cost(npu.dma_latency_cycles + cycles, npu.dma_latency_cycles, transfer=cycles, dram_bytes=moved)


def elements_per_slice(window: Window) -> int:
    """Elements of the box in the slice that holds most."""
    return window.shape.n * window.rows_per_slice() * window.channels_per_slice() * window.shape.w


def _conv(insn: Instruction, npu: NpuConfig) -> Cost:
    x, y, groups = insn.window("x"), insn.window("y"), insn.number("groups")
    ocn, kn, kh, kw = insn.number("ocn"), insn.number("kn"), insn.number("kh"), insn.number("kw")
    rows = y.rows_per_slice()
    work = ConvWork(
        kind=x.layout.kind,
        same_rows=x.layout.ho == y.layout.ho,
        images=y.shape.n,
        rows=rows,
        width=y.shape.w,
        channels=ocn,
        k=kn,
        kernel=(kh, kw),
        stride_w=insn.number("sw"),
        dilation_w=insn.number("dw"),
        up=insn.number("up"),
        channels_per_group=max(1, y.shape.c // groups),
        last=bool(insn.number("last")),
        first=bool(insn.number("first")),
        lookup=bool(insn.number("lookup")),
        opens=insn.number("oc0") == 0 and insn.number("k0") == 0,
    )
    per_slice = y.layout.channels(y.place.shape.c)
    made = sum(
        max(0, min(column * per_slice + min(insn.number("oc0") + ocn, per_slice), y.box.c0 + y.box.c)
            - max(column * per_slice + insn.number("oc0"), y.box.c0))
        for column in range(y.layout.co)
    )  # fmt: skip
    useful = y.shape.n * y.shape.h * y.shape.w * made * kn * kh * kw // insn.number("up") ** 2
    return conv_cycles(work, npu)._replace(macs=useful)


def _elementwise(operands: int, lookups: bool) -> Callable[[Instruction, NpuConfig], Cost]:
    return lambda insn, npu: elementwise_cycles(elements_per_slice(insn.window("y")), operands, lookups, npu)


def _pool(insn: Instruction, npu: NpuConfig) -> Cost:
    elements = elements_per_slice(insn.window("y"))
    return pool_cycles(elements, (insn.number("kh"), insn.number("kw")), insn.number("sw"), npu)


def _preload(insn: Instruction, npu: NpuConfig) -> Cost:
    return preload_cycles(insn.number("wbytes") + insn.number("vbytes"), npu)


def _dram_window(window: DramWindow, npu: NpuConfig) -> Cost:
    shape = window.box.shape(window.shape.w)
    return transfer_cycles(shape.elements, dram_run(window.order, window.shape, shape), npu)


def dram_run(order: LayoutKind, whole: Shape4, box: Shape4) -> int:
    """Bytes of a box that lie together in DRAM."""
    if order is LayoutKind.HCHCW:
        run, complete = box.c * box.w, box.c == whole.c
    else:
        run, complete = (whole.w * whole.c, True) if box.c == whole.c else (box.c, False)
    return run * box.h if complete else run


def _control(insn: Instruction, npu: NpuConfig) -> Cost:
    return Cost(npu.control_delay_cycles, npu.control_delay_cycles)


def _flat(insn: Instruction, npu: NpuConfig) -> Cost:
    size = insn.dram_range("src").bytes
    return transfer_cycles(size, size, npu)


COSTS: Mapping[str, Callable[[Instruction, NpuConfig], Cost]] = {
    "end": _control,
    "jump": _control,
    "load": lambda insn, npu: _dram_window(insn.dram_window("src"), npu),
    "loadw": _flat,
    "loadp": _flat,
    "store": lambda insn, npu: _dram_window(insn.dram_window("dst"), npu),
    "preload": _preload,
    "loadt": lambda insn, npu: preload_cycles(256, npu),
    "move": lambda insn, npu: move_cycles(elements_per_slice(insn.window("y")), npu),
    "pad": lambda insn, npu: move_cycles(elements_per_slice(insn.window("y")), npu),
    "conv": _conv,
    "add": _elementwise(2, False),
    "mul": _elementwise(2, False),
    "table": _elementwise(1, True),
    "maxpool": _pool,
    "avgpool": _pool,
}
