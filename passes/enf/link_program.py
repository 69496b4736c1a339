"""Resolve the last addresses and put the binary together.

lir -> enf. DRAM holds constants, then the segments of every run, then activations: addresses of activations move up by
the size of the programs. Keeps: every instruction. Raises EncodeError where a field does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from isa.encoding import encode_program
from isa.enf import DramTensor, Enf, HostStep, ModelTensor, NpuStep, Segment
from isa.errors import Loc, VerifyError
from isa.instructions import Instruction, LoadProgram
from isa.layout import LayoutKind, align
from isa.npu import NpuConfig
from isa.operands import DramRange, DramRangeOperand, DramWindow, DramWindowOperand, OperandValue
from passes.analysis.aliases import Aliases
from passes.analysis.footprint import dram_end
from passes.analysis.occupancy import occupancy, peak
from passes.analysis.turns import Turn, turns
from passes.enf.host_models import host_steps
from passes.ir.graph import Graph
from passes.ir.lir import Program, Run
from passes.ir.op import Runs, Value
from passes.ir.types import DType, InDram
from passes.ops.host import Converts, Lower, Unlower
from passes.options import CompileOptions

MOST_GAPS, SMALL_IMAGE = 2, 1 << 24  # an image is not much larger than what it holds: text may give any addresses


def link_program(program: Program, options: CompileOptions, furc_version: str) -> Enf:
    """The ENF of a program."""
    return _Linking(program, options.npu).enf(furc_version)


class _Linking:
    def __init__(self, program: Program, npu: NpuConfig) -> None:
        self.program, self.graph, self.npu = program, program.graph, npu
        self.aliases, self.producers = Aliases(self.graph), self.graph.producers()
        self.shift = sum(run.dram_bytes(npu) for run in program.runs)
        self.segments: list[tuple[Segment, bytes]] = []

    def enf(self, furc_version: str) -> Enf:
        graph, npu = self.graph, self.npu
        placed = (*graph.inputs, *graph.constants, *(v for op in graph.ops for v in op.results))
        steps = tuple(self._steps())
        return Enf(
            model_name=graph.name,
            furc_version=furc_version,
            target=npu.name,
            fingerprint=npu.fingerprint(),
            batch=graph.batch,
            inputs=tuple(_model_tensor(v) for v in graph.inputs),
            outputs=tuple(_model_tensor(v) for v in graph.outputs),
            steps=steps,
            image=self._image(),
            dram_bytes=dram_end(placed, npu) + self.shift,
            sram_peak_bytes=peak(occupancy(graph, npu))[0] * npu.num_slices,
            operators=tuple(self.program.operators),
            pixels=graph.pixels,
        )

    def _steps(self) -> Iterator[HostStep | NpuStep]:
        order = turns(self.graph)
        runs = self.program.placed(self.npu)
        for index, turn in enumerate(order):
            if turn.runs is Runs.HOST:
                yield from host_steps(turn.ops, self.graph, self._on_host)
            else:
                run, start = next(runs)
                yield self._npu_step(run, start, turn, order[index + 1 :])

    def _npu_step(self, run: Run, start: int, turn: Turn, later: list[Turn]) -> NpuStep:
        return NpuStep(
            inputs=tuple(self._dram_tensor(name, value) for name, value in self._read(turn).items()),
            outputs=tuple(self._dram_tensor(name, value) for name, value in self._made(turn, later).items()),
            segments=tuple(self._encoded(run, start)),
            operator_of=tuple(step.operator for step in run.steps),
        )

    def _encoded(self, run: Run, start: int) -> Iterator[Segment]:
        half = self.npu.instruction_memory_bytes // 2
        pieces = zip(pairwise([*run.segments, len(run.steps)]), run.segment_addresses(start), strict=True)
        for index, ((first, last), address) in enumerate(pieces):
            code = encode_program([self._moved(step.instruction) for step in run.steps[first:last]])
            segment = Segment(address, len(code), index % 2 * half)
            self.segments.append((segment, code))
            yield segment

    def _read(self, turn: Turn) -> dict[str, Value]:
        """DRAM tensors that the host writes before a turn, by the name it has them under."""
        read = dict.fromkeys(self.aliases.root(v) for op in turn.ops for v in op.operands())
        return {self._on_host(v).name: v for v in read if self._host_made(v)}

    def _host_made(self, value: Value) -> bool:
        op = self.producers.get(value)
        if op is None:
            return value in self.graph.inputs
        return isinstance(op, Converts) and op.feeds_npu

    def _made(self, turn: Turn, later: list[Turn]) -> dict[str, Value]:
        """DRAM tensors that a turn makes and the host reads later, by the name it has them under."""
        mine = {value for op in turn.ops for value in op.results}
        after = [v for t in later if t.runs is Runs.HOST for op in t.ops for v in op.activations()]
        wanted = {v.name: v for v in (*after, *self.graph.outputs) if v in mine}
        silent = [op for op in self.graph.ops if isinstance(op, Unlower) and not op.perm]
        shown = {op.result.name: op.x for op in silent if op.x in mine}
        return wanted | shown

    def _on_host(self, value: Value) -> Value:
        """What the host has of a tensor: it before it is re-laid, where it is an input of the model."""
        op = self.producers.get(value)
        return op.x if isinstance(op, Lower) and not op.perm else value

    def _dram_tensor(self, name: str, value: Value) -> DramTensor:
        place = self.aliases.root(value).type.place
        assert isinstance(place, InDram) and place.address is not None and value.type.dtype is DType.I8
        return DramTensor(name, self._address(place.address), place.order, value.type.shape4)

    def _address(self, address: int) -> int:
        """Activations lie behind the programs."""
        return address + (self.shift if address >= self.program.boundary else 0)

    def _moved(self, instruction: Instruction) -> Instruction:
        if isinstance(instruction, LoadProgram):
            return instruction
        if not any(isinstance(operand, DramWindowOperand | DramRangeOperand) for operand in instruction.places):
            return instruction
        values = [self._moved_value(value) for value in instruction.values]
        return type(instruction).of(values, instruction.signal, instruction.wait)

    def _moved_value(self, value: OperandValue) -> OperandValue:
        if isinstance(value, DramWindow | DramRange):
            return replace(value, address=self._address(value.address))
        return value

    def _image(self) -> bytes:
        """DRAM from address 0: constants, then encoded instructions."""
        parts = [(segment.address, code) for segment, code in self.segments]
        for value in self.graph.constants:
            if isinstance(value.type.place, InDram) and value.type.place.address is not None:
                parts.append((value.type.place.address, _dram_bytes(value, self.graph)))
        ends = [segment.address + segment.bytes for segment, _ in self.segments]
        size = align(max(ends, default=self.program.boundary), self.npu.dram_alignment_bytes)
        held = sum(len(data) for _, data in parts)
        if size > MOST_GAPS * held + SMALL_IMAGE:
            what = f"constants and programs of {held} bytes lie scattered over {size} bytes of DRAM"
            raise VerifyError("InvalidIr", what, at=Loc(self.graph.source), hint="place them one behind the other")
        image = bytearray(size)
        for address, data in parts:
            image[address : address + len(data)] = data
        return bytes(image)


def _dram_bytes(value: Value, graph: Graph) -> bytes:
    """A constant as it lies in DRAM: four-axis activations in their order, everything else as it is."""
    array = graph.constants[value]
    assert isinstance(value.type.place, InDram)
    if array.ndim == 4:
        axes = (0, 2, 1, 3) if value.type.place.order is LayoutKind.HCHCW else (0, 2, 3, 1)
        array = array.transpose(axes)
    return array.tobytes()


def _model_tensor(value: Value) -> ModelTensor:
    return ModelTensor(value.name, value.type.dtype.numpy.name, value.type.shape)
