"""Turn the commands of gir into instructions, without tags yet.

gir -> lir. A convolution becomes a preload and a conv for each weight tile, banks alternating; every other command
is one instruction. Weight loads are issued as early as gir says and the DMA queue has room for them, so that a full
queue never holds up the tensor unit. Keeps: every value. Raises: nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from isa.enf import Operator
from isa.instructions import MOVE_AXES, NO_SRAM, Instruction, Unit, make
from isa.layout import Box, Place, Window
from isa.npu import NpuConfig
from isa.operands import DramRange, DramWindow, OperandValue, SramRange
from isa.timing.cost import cost
from passes.ir.dfg import HOST_OPS
from passes.ir.graph import Graph, Op, Value
from passes.ir.lir import Program, Step
from passes.ir.lowlevel import (
    Alloc,
    Load,
    LoadWeights,
    LowLevelAdd,
    LowLevelAveragePool,
    LowLevelBinary,
    LowLevelConv2d,
    LowLevelMaxPool,
    LowLevelMove,
    LowLevelMul,
    LowLevelPad,
    LowLevelSlice,
    LowLevelTable,
    Store,
    WindowOp,
)
from passes.ir.types import InDram, InSram, Striped
from passes.ir.windows import Windows
from passes.lower.cost_model import scratch_bytes, striped_bytes
from passes.lower.weight_tiles import packed_tiles, weight_tiles
from passes.options import CompileOptions

MAX_PREFETCHED = 16  # weight loads that run ahead of their readers: each holds a completion tag
Emitted = Iterator[Instruction]


def emit_instructions(graph: Graph, options: CompileOptions) -> Program:
    """The program of a gir graph, ending with `end`."""
    return _Emission(graph, options.npu).run()


class _Emission:
    def __init__(self, graph: Graph, npu: NpuConfig) -> None:
        self.graph, self.npu = graph, npu
        self.windows = Windows(graph)
        self.producers, self.users = graph.producers(), graph.users()
        self.operators: list[Operator] = []
        self.index: dict[Op, int] = {}
        self.bank = self.table_bank = 0
        self.queue = _LoadQueue(npu)
        self.steps: list[Step] = []

    def run(self) -> Program:
        for op in self.graph.ops:
            if isinstance(op, LoadWeights):
                [load] = _load_weights(self, op)
                self.queue.add(op.result, Step(load, self.operator(self._reader(op))))
            elif not isinstance(op, SILENT):
                self._emit(op)
        self.steps.append(Step(make("end"), -1))
        return Program(
            graph=self.graph, steps=self.steps, operators=self.operators, boundary=_boundary(self.graph, self.npu),
            segments=[0],
        )  # fmt: skip

    def _emit(self, op: Op) -> None:
        owner = self.operator(self._owner(op))
        packed = op.packed if isinstance(op, LowLevelConv2d | LowLevelTable) else None
        if packed is not None:
            self.steps += self.queue.until(packed)
        for instruction in EMITTERS[type(op)](self, op):
            self.steps += self.queue.ready()
            self.steps.append(Step(instruction, owner))
            self.queue.advance(instruction)

    def operator(self, op: Op) -> int:
        """The index of the operator that an op counts as in profiles."""
        if op not in self.index:
            self.index[op] = len(self.operators)
            name = f"LowLevel{op.kind}" if isinstance(op, LowLevelMove) else op.mnemonic
            self.operators.append(Operator(name, op.loc.nodes, tuple(op.result.type.shape)))
        return self.index[op]

    def _owner(self, op: Op) -> Op:
        """A load counts for the op that reads it, a store for the one that made the data."""
        if isinstance(op, Load):
            return self._reader(op)
        if isinstance(op, Store):
            maker = self.producers.get(op.x)
            while isinstance(maker, LowLevelSlice):
                maker = self.producers.get(maker.x)
            return maker if maker is not None and not isinstance(maker, Load) else op
        return op

    def _reader(self, op: Op) -> Op:
        reader = next(iter(self.users.get(op.result, ())), op)
        while isinstance(reader, LowLevelSlice):
            reader = next(iter(self.users.get(reader.result, ())), reader)
            if isinstance(reader, LowLevelSlice) and reader.result not in self.users:
                break
        return reader

    def window(self, value: Value) -> Window:
        """Where an SRAM value lies."""
        root, box = self.windows.of(value)
        assert isinstance(root.type.place, InSram) and root.type.place.offset is not None
        return Window(Place(root.type.place.offset, root.type.place.layout, root.type.shape4), box)

    def target(self, op: Op) -> Window:
        """Where an op writes."""
        root, box = self.windows.written(op)
        return Window(self.window(root).place, box)

    def dram(self, value: Value) -> DramWindow:
        """Where a DRAM value lies, whole."""
        root, box = self.windows.of(value)
        assert isinstance(root.type.place, InDram) and root.type.place.address is not None
        return DramWindow(root.type.place.address, root.type.place.order, root.type.shape4, box)


class _LoadQueue:
    """Weight loads that wait for their turn, on an estimate of when the DMA engine will get to them."""

    def __init__(self, npu: NpuConfig) -> None:
        self.npu = npu
        self.waiting: deque[tuple[Value, Step]] = deque()
        self.issued: dict[Value, int] = {}
        self.ahead: deque[Value] = deque()
        self.starts: deque[float] = deque()  # estimated, of issued loads
        self.now = self.dma_free = 0.0

    def add(self, value: Value, step: Step) -> None:
        self.waiting.append((value, step))

    def advance(self, instruction: Instruction) -> None:
        """Time passes while the tensor unit works."""
        if instruction.unit is Unit.MAIN:
            self.now += cost(instruction, self.npu).cycles
        elif instruction.unit in (Unit.DMA_IN, Unit.DMA_OUT):
            self.dma_free = max(self.dma_free, self.now) + cost(instruction, self.npu).transfer

    def ready(self) -> list[Step]:
        """Loads that the queue has room for now."""
        steps = []
        while self.waiting and len(self.ahead) < MAX_PREFETCHED:
            while self.starts and self.starts[0] <= self.now:
                self.starts.popleft()
            if len(self.starts) >= self.npu.io_queue_depth - 1:
                break
            steps.append(self._issue())
        return steps

    def until(self, value: Value) -> list[Step]:
        """Loads up to the one that makes a value: it is needed now."""
        steps = []
        while value not in self.issued:
            steps.append(self._issue())
        while self.ahead and self.ahead[0] is not value:
            self.ahead.popleft()
        if self.ahead:
            self.ahead.popleft()
        return steps

    def _issue(self) -> Step:
        value, step = self.waiting.popleft()
        start = max(self.dma_free, self.now)
        self.starts.append(start)
        self.dma_free = start + cost(step.instruction, self.npu).transfer
        self.issued[value] = 1
        self.ahead.append(value)
        return step


def _boundary(graph: Graph, npu: NpuConfig) -> int:
    """The DRAM address behind the constants."""
    ends = [
        v.type.place.address + v.type.elements * v.type.dtype.numpy.itemsize
        for v in graph.constants
        if isinstance(v.type.place, InDram) and v.type.place.address is not None
    ]
    unit = npu.dram_alignment_bytes
    return -(-max(ends, default=0) // unit) * unit


def _striped(value: Value, npu: NpuConfig) -> SramRange:
    assert isinstance(value.type.place, Striped) and value.type.place.offset is not None
    return SramRange(value.type.place.offset, striped_bytes(value.type.elements, npu))


def _load_weights(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LoadWeights)
    src = emission.dram(op.x)
    yield make("loadw", src=DramRange(src.address, src.bytes), dst=_striped(op.result, emission.npu))


def _load(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, Load)
    src = emission.dram(op.x)
    inner = Window(Place(0, emission.window(op.result).layout, src.shape), src.box)
    box = inner.sub(Box(*op.box)).box
    yield make("load", src=DramWindow(src.address, src.order, src.shape, box), dst=emission.target(op))


def _store(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, Store)
    root, box = emission.windows.written(op)
    dst = emission.dram(root)
    yield make("store", src=emission.window(op.x), dst=DramWindow(dst.address, dst.order, dst.shape, box))


def _conv(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelConv2d) and op.packed is not None
    npu, x, y = emission.npu, emission.window(op.x), emission.target(op)
    taps, k = op.kernel[0] * op.kernel[1], x.shape.c // op.group
    tiles = weight_tiles(y.layout.channels(y.place.shape.c), k, taps, npu, op.loc)
    places, total = packed_tiles(tiles, taps, y.layout.co)
    src = _striped(op.packed, npu)
    if op.lookup:
        emission.table_bank ^= 1
        yield make("loadt", src=src, start=total, bank=emission.table_bank)
    size = scratch_bytes(op, y, npu)
    common: dict[str, OperandValue] = {
        **_geometry(op), "x": x, "y": y, "up": op.up, "groups": op.group, "zx": op.x.type.q.z, "zy": op.zero,
        "lookup": int(op.lookup), "tbank": emission.table_bank if op.lookup else 0,
    }  # fmt: skip
    for tile, place in zip(tiles, places, strict=True):
        emission.bank ^= 1
        yield make(
            "preload", src=src, start=place.start, wbytes=place.wbytes, vbytes=place.vbytes, groups=y.layout.co,
            bank=emission.bank,
        )  # fmt: skip
        alone = tile.first and tile.last
        yield make(
            "conv", **common, acc=NO_SRAM if alone else SramRange(op.scratch, size), oc0=tile.oc0, ocn=tile.ocn,
            k0=tile.k0, kn=tile.kn, first=int(tile.first), last=int(tile.last), bank=emission.bank,
        )  # fmt: skip


def _geometry(op: WindowOp) -> dict[str, OperandValue]:
    return {
        "kh": op.kernel[0], "kw": op.kernel[1], "sh": op.stride[0], "sw": op.stride[1], "pt": op.pad[0],
        "pl": op.pad[1], "dh": op.dilation[0], "dw": op.dilation[1], "lo": op.lo, "hi": op.hi,
    }  # fmt: skip


def _binary(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelBinary)
    a, b, y = op.a.type.q, op.b.type.q, op.result.type.q
    yield make(
        "add" if isinstance(op, LowLevelAdd) else "mul", a=emission.window(op.a), b=emission.window(op.b),
        y=emission.target(op), sa=a.s, sb=b.s, sy=y.s, za=a.z, zb=b.z, zy=y.z, lo=op.lo, hi=op.hi,
    )  # fmt: skip


def _table(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelTable) and op.packed is not None
    emission.table_bank ^= 1
    yield make("loadt", src=_striped(op.packed, emission.npu), start=0, bank=emission.table_bank)
    yield make("table", x=emission.window(op.x), y=emission.target(op), tbank=emission.table_bank)


def _max_pool(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelMaxPool)
    yield make("maxpool", x=emission.window(op.x), y=emission.target(op), **_geometry(op))


def _average_pool(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelAveragePool)
    x, y = op.x.type.q, op.result.type.q
    yield make(
        "avgpool", x=emission.window(op.x), y=emission.target(op), **_geometry(op), sx=x.s, sy=y.s, zx=x.z, zy=y.z,
        padded=int(op.padded),
    )  # fmt: skip


def _move(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelMove)
    missing = MOVE_AXES - len(op.sizes)
    sizes, steps = (1,) * missing + op.sizes, (0,) * missing + op.steps
    loops: dict[str, OperandValue] = {f"size{i}": size for i, size in enumerate(sizes)}
    loops |= {f"step{i}": step for i, step in enumerate(steps)}
    yield make("move", x=emission.window(op.x), y=emission.target(op), start=op.start, **loops)


def _pad(emission: _Emission, op: Op) -> Emitted:
    assert isinstance(op, LowLevelPad)
    _, c, h, w = op.before
    yield make("pad", x=emission.window(op.x), y=emission.target(op), dc=c, dh=h, dw=w, value=op.value)


EMITTERS: Mapping[type[Op], Callable[[_Emission, Op], Emitted]] = {
    Load: _load,
    Store: _store,
    LowLevelConv2d: _conv,
    **dict.fromkeys(LowLevelConv2d.__subclasses__(), _conv),
    LowLevelAdd: _binary,
    LowLevelMul: _binary,
    LowLevelTable: _table,
    LowLevelMaxPool: _max_pool,
    LowLevelAveragePool: _average_pool,
    LowLevelMove: _move,
    LowLevelPad: _pad,
}
SILENT: tuple[type[Op], ...] = (*HOST_OPS, Alloc, LowLevelSlice)  # commands that are no instruction
