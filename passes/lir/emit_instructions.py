"""Turn the commands of gir into instructions, without tags yet.

gir -> lir. A convolution becomes a preload and a conv for each weight tile, banks alternating; every other command
is one instruction. Weight loads are issued as early as gir says and the DMA queue has room for them, so that a full
queue never holds up the tensor unit. Keeps: every value. Raises: nothing."""

from __future__ import annotations

from collections import deque

from isa import instructions as isa
from isa.enf import Operator
from isa.instructions import Instruction, Unit
from isa.layout import Place, Window
from isa.npu import NpuConfig
from isa.operands import DramWindow, SramRange
from isa.timing.cost import cost
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import dram_end, striped_bytes
from passes.analysis.turns import is_load_ahead, turns
from passes.ir.graph import Graph
from passes.ir.lir import Program, Run, Step
from passes.ir.op import Op, Runs, Value
from passes.ir.types import InDram, InSram, Striped
from passes.ops.commands import Load, Store
from passes.options import CompileOptions

MAX_PREFETCHED = 16  # weight loads that run ahead of their readers: each holds a completion tag


def emit_instructions(graph: Graph, options: CompileOptions) -> Program:
    """The program of a gir graph, a run for each turn of the NPU, each ending with `end`."""
    return _Emission(graph, options.npu).run()


class _Emission:
    """The instructions of every op, in order. It is their Site (passes/ir/op.py): it tells them where their values lie,
    by the types that place-tensors gave them, and which register bank is next."""

    def __init__(self, graph: Graph, npu: NpuConfig) -> None:
        self.graph, self.npu = graph, npu
        self.aliases = Aliases(graph)
        self.producers, self.users = graph.producers(), graph.users()
        self.operators: list[Operator] = []  # of profiles
        self.index: dict[Op, int] = {}  # in these
        self.command = {op: index for index, op in enumerate(graph.ops)}
        self._weight_bank = self._table_bank = 0
        self.queue = _LoadQueue(npu)

    def run(self) -> Program:
        runs = [self._run(turn.ops) for turn in turns(self.graph) if turn.runs is Runs.NPU]
        return Program(
            graph=self.graph, runs=runs, operators=self.operators, boundary=dram_end(self.graph.constants, self.npu)
        )

    def _run(self, ops: tuple[Op, ...]) -> Run:
        steps: list[Step] = []
        for op in ops:
            if is_load_ahead(op):  # of weights: it may be issued before its turn, or behind it
                [load] = op.instructions(self)
                self.queue.add(op.result, Step(load, self.operator(self._reader(op)), self.command[op]))
            else:
                self._emit(op, steps)
        steps.append(Step(isa.End(), -1))
        return Run(steps, [0])

    def _emit(self, op: Op, steps: list[Step]) -> None:
        """The instructions of an op, behind the loads of its weights, with loads for later ones in between."""
        owner = self.operator(self._owner(op))
        for packed in op.operands():
            if isinstance(packed.type.place, Striped):
                steps += self.queue.until(packed)
        for instruction in op.instructions(self):
            steps += self.queue.ready()
            steps.append(Step(instruction, owner, self.command[op]))
            self.queue.advance(instruction)

    def operator(self, op: Op) -> int:
        """The index of the operator that an op counts as in profiles."""
        if op not in self.index:
            self.index[op] = len(self.operators)
            self.operators.append(Operator(op.profiled_as, op.loc.nodes, tuple(op.result.type.shape)))
        return self.index[op]

    def _owner(self, op: Op) -> Op:
        """A load counts for the op that reads it, a store for the one that made the data."""
        if isinstance(op, Load):
            return self._reader(op)
        if isinstance(op, Store):
            maker = self.producers.get(op.x)
            while maker is not None and maker.runs is Runs.NOBODY and maker.activations():
                maker = self.producers.get(maker.activations()[0])
            return maker if maker is not None and not isinstance(maker, Load) else op
        return op

    def _reader(self, op: Op) -> Op:
        """The first op that computes on what another makes, past views of it."""
        reader = next(iter(self.users.get(op.result, ())), op)
        while reader.runs is Runs.NOBODY:
            after = next(iter(self.users.get(reader.result, ())), None)
            if after is None:
                break
            reader = after
        return reader

    def window(self, value: Value) -> Window:
        """Where an SRAM value lies."""
        root, box = self.aliases.of(value)
        assert isinstance(root.type.place, InSram) and root.type.place.offset is not None
        return Window(Place(root.type.place.offset, root.type.place.layout, root.type.shape4), box)

    def target(self, op: Op) -> Window:
        """Where an op writes."""
        root, box = self.aliases.written(op)
        return Window(self.window(root).place, box)

    def dram(self, value: Value) -> DramWindow:
        """Where a DRAM value lies, whole."""
        root, box = self.aliases.of(value)
        assert isinstance(root.type.place, InDram) and root.type.place.address is not None
        return DramWindow(root.type.place.address, root.type.place.order, root.type.shape4, box)

    def dram_target(self, op: Op) -> DramWindow:
        """Where an op writes in DRAM."""
        root, box = self.aliases.written(op)
        whole = self.dram(root)
        return DramWindow(whole.address, whole.order, whole.shape, box)

    def striped(self, value: Value | None) -> SramRange:
        """Where packed constants lie in every slice."""
        assert value is not None and isinstance(value.type.place, Striped) and value.type.place.offset is not None
        return SramRange(value.type.place.offset, striped_bytes(value.type.elements, self.npu))

    def weight_bank(self) -> int:
        self._weight_bank ^= 1
        return self._weight_bank

    def table_bank(self) -> int:
        self._table_bank ^= 1
        return self._table_bank


class _LoadQueue:
    """Weight loads that gir allows from here on. Each is issued when the DMA engine's queue has room for it, by an
    estimate of when the engine gets to those before it: the clock itself needs the whole program.

    now, dma_free, starts: in cycles of that estimate, in which the tensor unit's main context never waits.
    """

    def __init__(self, npu: NpuConfig) -> None:
        self.npu = npu
        self.waiting: deque[tuple[Value, Step]] = deque()  # not issued yet, in the order of their readers
        self.issued: set[Value] = set()
        self.ahead: deque[Value] = deque()  # issued, and not read yet
        self.starts: deque[float] = deque()  # of issued loads that are in the engine's queue
        self.now = self.dma_free = 0.0

    def add(self, value: Value, step: Step) -> None:
        """The load that makes a value may be issued from now on."""
        self.waiting.append((value, step))

    def advance(self, instruction: Instruction) -> None:
        """Time passes while the tensor unit works, and the DMA engine is taken while it transfers."""
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
        """Loads up to the one that makes a value, which is read now; what was loaded before it is taken to be read."""
        steps = []
        while value not in self.issued:
            steps.append(self._issue())
        while self.ahead and self.ahead[0] is not value:
            self.ahead.popleft()
        if self.ahead:
            self.ahead.popleft()
        return steps

    def _issue(self) -> Step:
        """The next load, whether there is room or not."""
        value, step = self.waiting.popleft()
        start = max(self.dma_free, self.now)
        self.starts.append(start)
        self.dma_free = start + cost(step.instruction, self.npu).transfer
        self.issued.add(value)
        self.ahead.append(value)
        return step
